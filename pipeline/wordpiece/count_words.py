"""Count the words of raw text as a WordPiece trainer wants them: normalised and pre-tokenised.

Normalising is slow (4 MB/s) and text repeats itself, so it is done once for each distinct chunk:

    texts --split on space, tab, LF, CR--> chunks, counted --normalise, pre-tokenise--> words, counted

Splitting there changes nothing: BERT's normaliser works on characters in place and its pre-tokeniser parts words
at these four bytes. (At no other whitespace: U+000B, U+000C, U+001C to U+001F and U+0085 are deleted, which
joins their neighbours.) An ASCII chunk goes through a table of what `tokenizers` makes of each ASCII character;
every other chunk goes through `tokenizers` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipeline.wordpiece.byte_table import COUNT, START, STOP, ByteTable, clear_table, make_table, widen_table
from pipeline.wordpiece.count_chunks import ALONE, LETTER, add_words, count_chunks, fold_ascii_chunks
from pipeline.wordpiece.normalise import Normalisation
from schemas.errors import ConfigError, InputDataError

WORD_COUNTS_SCHEMA = pa.schema([("word", pa.string()), ("count", pa.int64())])

_FIRST_SIZE = 1 << 12  # strings a table starts with
_MEAN_STRING_BYTES = 16  # pool bytes reserved for each string; a full pool ends a table early
_WORDS_A_BATCH = 1 << 16


def _view_buffers(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of a string or binary array without nulls, and its offsets into them."""
    is_wide = pa.types.is_large_string(texts.type) or pa.types.is_large_binary(texts.type)
    _, offset_buffer, data_buffer = texts.buffers()
    if len(texts) == 0 or offset_buffer is None:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    all_offsets = np.frombuffer(offset_buffer, np.dtype(np.int64 if is_wide else np.int32))
    offsets = all_offsets[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    return np.frombuffer(data_buffer or b"", np.uint8), offsets


class WordCounter:
    """Counts the words of texts in bounded memory.

    Special tokens are not known here: `[MASK]` in a text is three words.

    Args:
        normalisation: What makes words of text.
        max_chunks: Distinct whitespace-delimited chunks held before they are folded into words.
        max_words: Distinct words held before they are handed to `spill`.
        spill: Takes partial tables (as `finish` returns them) when words exceed `max_words`; sum them with
            `merge_counts`. Without it, exceeding `max_words` is a ConfigError.
    """

    def __init__(
        self,
        normalisation: Normalisation,
        *,
        max_chunks: int = 1 << 20,
        max_words: int = 1 << 22,
        spill: Callable[[pa.Table], None] | None = None,
    ) -> None:
        self._normalizer = normalisation.build_normalizer()
        self._pre_tokenizer = normalisation.build_pre_tokenizer()
        self._kinds, self._mapped = self._probe_ascii()
        self._max_chunks = max_chunks
        self._max_words = max_words
        self._spill = spill
        self._chunks = make_table(min(_FIRST_SIZE, max_chunks), _FIRST_SIZE * _MEAN_STRING_BYTES)
        self._words = make_table(min(_FIRST_SIZE, max_words), _FIRST_SIZE * _MEAN_STRING_BYTES)
        self.num_bytes = 0
        """Bytes of text added so far."""

    def add(self, texts: pa.Array | pa.ChunkedArray | Sequence[bytes]) -> None:
        """Count the words of some texts.

        Args:
            texts: A string or binary array (nulls are skipped), or UTF-8 bytes objects.

        Raises:
            InputDataError: If a text is not UTF-8; found when its chunks are folded.
            ConfigError: If the words exceed `max_words` and there is nowhere to spill.
        """
        if isinstance(texts, pa.ChunkedArray):
            for array in texts.chunks:
                self.add(array)
            return
        if not isinstance(texts, pa.Array):
            texts = pa.array(texts, pa.large_binary())
        data, offsets = _view_buffers(texts.drop_null() if texts.null_count else texts)
        self.num_bytes += int(offsets[-1] - offsets[0])
        text, position = 0, int(offsets[0])
        while text < len(offsets) - 1:
            before = (text, position)
            text, position = count_chunks(data, offsets, text, position, self._chunks)
            if text < len(offsets) - 1:
                wanted_bytes = int(offsets[text + 1]) - position if before == (text, position) else 0
                self._make_chunk_room(wanted_bytes)

    def finish(self) -> pa.Table:
        """The counts since the start or the last spill: word, count, sorted by the word's UTF-8 bytes."""
        self._fold_chunks()
        return self._take_words()

    def _probe_ascii(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Ask `tokenizers` what becomes of each ASCII character between two letters."""
        kinds = np.zeros(128, np.uint8)
        mapped = np.zeros(128, np.uint8)
        for code in range(128):
            words = self._split_chunk(f"x{chr(code)}x")
            if len(words) == 3:
                kinds[code], mapped[code] = ALONE, ord(words[1])
            elif len(words) == 1 and len(words[0]) == 3:
                kinds[code], mapped[code] = LETTER, ord(words[0][1])
        return kinds, mapped

    def _split_chunk(self, chunk: str) -> list[str]:
        normalised = self._normalizer.normalize_str(chunk)
        return [word for word, _ in self._pre_tokenizer.pre_tokenize_str(normalised)]

    def _make_chunk_room(self, wanted_bytes: int) -> None:
        """Widen the table of chunks while it is small, fold it into words when it is not."""
        held = int(self._chunks.used[0])
        if held and 2 * len(self._chunks.records) > self._max_chunks:
            self._fold_chunks()
        size = min(2 * len(self._chunks.records), self._max_chunks)
        if size > len(self._chunks.records) or wanted_bytes > len(self._chunks.pool):
            pool_bytes = max(size * _MEAN_STRING_BYTES, wanted_bytes)
            self._chunks = widen_table(self._chunks, size, pool_bytes + len(self._chunks.pool))

    def _make_word_room(self, num_strings: int, num_bytes: int) -> None:
        """Make sure that this many more words fit: widen the table, or spill it when it is at its limit."""
        table = self._words
        if 2 * len(table.records) > self._max_words and table.used[0]:
            if self._spill is None:
                raise ConfigError(
                    "there are more distinct words than may be held and nowhere to put them",
                    path="WordCounter.max_words",
                    expected=f"at most {self._max_words} distinct words",
                    found=f"{int(table.used[0])} and more to come",
                    action="give WordCounter a spill function or raise max_words",
                )
            self._spill(self._take_words())
            table = self._words
        held = int(table.used[0])
        size = max(2 * len(table.records) if held else len(table.records), num_strings)
        pool_bytes = max(size * _MEAN_STRING_BYTES, int(table.used[1]) + 2 * num_bytes)
        self._words = widen_table(table, size, max(pool_bytes, len(table.pool)))

    def _fold_chunks(self) -> None:
        """Turn the counted chunks into counted words and forget them."""
        chunks = self._chunks
        others = np.empty(int(chunks.used[0]), np.int64)
        chunk, num_others = 0, 0
        while True:
            chunk, num_others, bound = fold_ascii_chunks(
                chunks, chunk, self._kinds, self._mapped, self._words, others, num_others
            )
            if chunk == chunks.used[0]:
                break
            length = int(chunks.records[chunk, STOP] - chunks.records[chunk, START])
            self._make_word_room(bound, length)
        words: list[str] = []
        counts: list[int] = []
        for other in others[:num_others]:
            _, start, stop, count = chunks.records[other].tolist()
            chunk_bytes = chunks.pool[start:stop].tobytes()
            try:
                split = self._split_chunk(chunk_bytes.decode())
            except UnicodeDecodeError as error:
                raise InputDataError(
                    "text is not UTF-8",
                    expected="UTF-8",
                    found=repr(chunk_bytes[max(0, error.start - 20) : error.start + 20]),
                    action="convert the text to UTF-8 before it is counted",
                ) from error
            words += split
            counts += [count] * len(split)
            if len(words) >= _WORDS_A_BATCH:
                self._add_words(words, counts)
                words, counts = [], []
        self._add_words(words, counts)
        clear_table(chunks)

    def _add_words(self, words: list[str], counts: list[int]) -> None:
        data, offsets = _view_buffers(pa.array(words, pa.large_string()))
        weights = np.array(counts, np.int64)
        word = 0
        while True:
            word = add_words(data, offsets, weights, word, self._words)
            if word == len(words):
                return
            self._make_word_room(1, int(offsets[word + 1] - offsets[word]))

    def _take_words(self) -> pa.Table:
        table = _read_table(self._words)
        clear_table(self._words)
        return table


def _read_table(table: ByteTable) -> pa.Table:
    """The strings of a table and their counts, sorted by bytes."""
    num_strings, pool_used = table.used.tolist()
    offsets = np.append(table.records[:num_strings, START], pool_used)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(table.pool[:pool_used].copy())]
    strings = pa.Array.from_buffers(pa.large_string(), num_strings, buffers)
    counts = pa.array(table.records[:num_strings, COUNT].copy())
    return _sort_words(pa.table({"word": strings, "count": counts}))


def _sort_words(words: pa.Table) -> pa.Table:
    """Sort distinct words by their UTF-8 bytes, which is by code point."""
    order = pc.sort_indices(words["word"].cast(pa.large_binary()))
    return words.take(order).cast(WORD_COUNTS_SCHEMA)


def merge_counts(tables: Sequence[pa.Table]) -> pa.Table:
    """Add up tables of (word, count); returns distinct words sorted by their UTF-8 bytes.

    Everything is held in memory: for more words than fit, merge one partition of the words at a time
    (`partition_of_words`).
    """
    wide = pa.schema([("word", pa.large_string()), ("count", pa.int64())])
    rows = pa.concat_tables([table.select(["word", "count"]).cast(wide) for table in tables])
    if rows.num_rows == 0:
        return WORD_COUNTS_SCHEMA.empty_table()
    if _is_merged(rows["word"]):
        return rows.cast(WORD_COUNTS_SCHEMA)
    summed = rows.group_by("word", use_threads=False).aggregate([("count", "sum")])
    return _sort_words(summed.rename_columns(["word", "count"]))


def _is_merged(words: pa.ChunkedArray) -> bool:
    """Whether words are distinct and sorted by their bytes already: what `WordCounter` and a merge give."""
    keys = words.cast(pa.large_binary())
    return words.null_count == 0 and bool(pc.all(pc.less(keys[:-1], keys[1:])).as_py())


def partition_of_words(words: pa.Array | pa.ChunkedArray, num_partitions: int) -> npt.NDArray[np.int64]:
    """The partition of each word, from 0: xxh3-64 of its UTF-8 bytes modulo `num_partitions`."""
    hash_word = xxhash.xxh3_64_intdigest
    return np.array([hash_word(word) % num_partitions for word in words.cast(pa.large_binary()).to_pylist()], np.int64)
