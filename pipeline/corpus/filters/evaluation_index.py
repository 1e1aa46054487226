"""Every n-gram of the evaluation text, to look up those of documents.

A 64-bit hash finds an n-gram among all, in a sorted array; then its own words are compared, so that equal hashes of
different words match nothing. The whole is one file in `work/`, which workers map into memory where it is local:

    (N,) uint64 hashes, sorted | (N,) uint64 offsets into the words | (N,) uint32 bytes | (N,) uint32 files | the words
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import xxhash
from numba import njit

from maskmill.pipeline.corpus.filters.characters import code_points
from maskmill.pipeline.corpus.filters.compared_words import Hashes, find_words, hash_ngrams, spell_words, tables
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ConfigError, ShardCorruptError
from maskmill.schemas.layout import EVALUATION_INDEX

MAX_WORD_BYTES = 1 << 28
"""Of all evaluation text, as it is compared: its index is about six times as large, and building it takes twelve."""
BITS_PER_NGRAM = 16
MIN_BITS, MAX_BITS = 16, 32
ENTRY = (("hashes", np.uint64), ("offsets", np.uint64), ("lengths", np.uint32), ("files", np.uint32))
ENTRY_BYTES = sum(np.dtype(kind).itemsize for _, kind in ENTRY)


@dataclass(frozen=True)
class EvaluationFile:
    """What was read of one evaluation file.

    Attributes:
        path: Its name.
        texts: Texts in it.
        whole: Those with fewer words than an n-gram, which are compared whole.
        too_short: Those with too few words to compare.
    """

    path: str
    texts: int
    whole: int
    too_short: int


@dataclass(frozen=True)
class IndexPlace:
    """What workers are told of the index: enough to read it and to know that it is the right one.

    Attributes:
        files: The evaluation files.
        sizes: Words of the n-grams in it.
        num_ngrams: N.
        checksum: xxh3-128 of the file.
    """

    files: tuple[EvaluationFile, ...]
    sizes: tuple[int, ...]
    num_ngrams: int
    checksum: str


@dataclass(frozen=True)
class Occurrence:
    """An n-gram of a document that is in evaluation text.

    Attributes:
        start: Where it begins in the document, in characters.
        stop: Where it ends.
        file: The evaluation file.
        ngram: Its words, as they are compared.
    """

    start: int
    stop: int
    file: str
    ngram: str


@dataclass(frozen=True)
class EvaluationIndex:
    """The arrays of the index; see the module."""

    place: IndexPlace
    hashes: Hashes
    offsets: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint32]
    files: npt.NDArray[np.uint32]
    words: npt.NDArray[np.uint8]

    @cached_property
    def _bits(self) -> tuple[npt.NDArray[np.uint8], int]:
        """One bit for each hash, by its first bits: most n-grams of documents are told to be others by it."""
        wanted = max(1, self.place.num_ngrams * BITS_PER_NGRAM).bit_length()
        num_bits = min(max(wanted, MIN_BITS), MAX_BITS)
        bits = np.zeros(1 << (num_bits - 3), np.uint8)
        _set_bits(self.hashes, 64 - num_bits, bits)
        return bits, 64 - num_bits

    def find(self, text: str) -> list[Occurrence]:
        """Every n-gram of a text that is in evaluation text, once for each evaluation file, in order."""
        return sorted(self.iter_found(text), key=lambda one: (one.start, one.stop, one.file))

    def iter_found(self, text: str, *, once: bool = False) -> Iterator[Occurrence]:
        """The same one by one, those of one length after those of another, each in order.

        Args:
            text: What is looked through.
            once: Only the first n-gram of each length for each evaluation file.
        """
        classes, lower = tables()
        codes = code_points(text)
        starts, stops, hashed = find_words(codes, classes, lower)
        bits, shift = self._bits
        for size in self.place.sizes:
            ngrams = hash_ngrams(hashed, size)
            seen: set[int] = set()
            for start in _find_candidates(ngrams, bits, shift).tolist():
                chosen = slice(start, start + size)
                entry = int(np.searchsorted(self.hashes, ngrams[start]))
                spelt = b""
                while entry < len(self.hashes) and self.hashes[entry] == ngrams[start]:
                    file, entry = int(self.files[entry]), entry + 1
                    if once and file in seen:
                        continue
                    spelt = spelt or spell_words(codes, starts[chosen], stops[chosen], lower).tobytes()
                    ngram = spelt.decode("utf-32-le")
                    if ngram.encode() == self.spell(entry - 1):
                        seen.add(file)
                        path = self.place.files[file].path
                        yield Occurrence(int(starts[start]), int(stops[start + size - 1]), path, ngram)

    def spell(self, entry: int) -> bytes:
        """The words of an n-gram of the index."""
        start = int(self.offsets[entry])
        return self.words[start : start + int(self.lengths[entry])].tobytes()


@njit(cache=True, nogil=True)
def _set_bits(hashes: Hashes, shift: int, bits: npt.NDArray[np.uint8]) -> None:
    for hashed in hashes:
        place = hashed >> np.uint64(shift)
        bits[place >> np.uint64(3)] |= np.uint8(1) << np.uint8(place & np.uint64(7))


@njit(cache=True, nogil=True)
def _find_candidates(hashes: Hashes, bits: npt.NDArray[np.uint8], shift: int) -> npt.NDArray[np.int64]:
    """Places of the hashes whose bit is set."""
    found = np.empty(len(hashes), np.int64)
    num_found = 0
    for number in range(len(hashes)):
        place = hashes[number] >> np.uint64(shift)
        if bits[place >> np.uint64(3)] >> np.uint8(place & np.uint64(7)) & np.uint8(1):
            found[num_found] = number
            num_found += 1
    return found[:num_found]


def write_index(
    output: Store, texts: Iterable[tuple[int, str]], paths: Sequence[str], ngram: int, min_words: int
) -> IndexPlace:
    """Write the index of some texts, each with the number of its file.

    Raises:
        ConfigError: There is too much evaluation text, or none that is long enough.
    """
    classes, lower = tables()
    counts = [[0, 0, 0] for _ in paths]
    hashes, offsets, lengths, files = (list[npt.NDArray[np.generic]]() for _ in range(4))
    words = bytearray()
    sizes: set[int] = set()
    for file, text in texts:
        codes = code_points(text)
        starts, stops, hashed = find_words(codes, classes, lower)
        counts[file][0] += 1
        size = min(ngram, len(starts))
        if size < min_words:
            counts[file][2] += 1
            continue
        counts[file][1] += size < ngram
        sizes.add(size)
        spelt = spell_words(codes, starts, stops, lower)
        # Bytes of the words up to each, by those of each character.
        widths = 1 + (spelt >= 0x80) + (spelt >= 0x800) + (spelt >= 0x10000)
        ends = np.concatenate([[0], np.cumsum(widths)])
        firsts = np.concatenate([[0], np.cumsum(stops - starts + 1)])  # of each word in what is spelt, spaces too
        begins, stopped = ends[firsts[:-1]], ends[firsts[1:] - 1]
        ngrams = hash_ngrams(hashed, size)
        hashes.append(ngrams)
        offsets.append((begins[: len(ngrams)] + len(words)).astype(np.uint64))
        lengths.append((stopped[size - 1 :] - begins[: len(ngrams)]).astype(np.uint32))
        files.append(np.full(len(ngrams), file, np.uint32))
        words += spelt.tobytes().decode("utf-32-le").encode()
        if len(words) > MAX_WORD_BYTES:
            raise ConfigError(
                "there is too much evaluation text",
                path="filters.decontamination.paths",
                expected=f"at most {MAX_WORD_BYTES >> 20} MiB",
                action="leave out what is no evaluation text",
            )
    if not hashes:
        raise ConfigError(
            "no evaluation text is long enough to compare",
            path="filters.decontamination.paths",
            expected=f"texts of at least {min_words} words",
            found=f"{sum(count[0] for count in counts)} shorter ones",
            action="check the files and text_field, or lower min_words",
        )
    columns = [np.concatenate(parts) for parts in (hashes, offsets, lengths, files)]
    order = np.lexsort((columns[1], columns[3], columns[0]))
    columns = [column[order] for column in columns]
    kept = _keep_first(*columns, np.frombuffer(words, np.uint8))
    columns = [np.ascontiguousarray(column[kept]) for column in columns]
    digest = xxhash.xxh3_128()
    with output.open_output(EVALUATION_INDEX) as target:
        for part in (*columns, np.frombuffer(words, np.uint8)):
            data = part.view(np.uint8).data
            digest.update(data)
            target.write(data)
    described = (EvaluationFile(path, *count) for path, count in zip(paths, counts, strict=True))
    return IndexPlace(tuple(described), tuple(sorted(sizes)), len(columns[0]), digest.hexdigest())


@njit(cache=True, nogil=True)
def _keep_first(
    hashes: Hashes,
    offsets: npt.NDArray[np.uint64],
    lengths: npt.NDArray[np.uint32],
    files: npt.NDArray[np.uint32],
    words: npt.NDArray[np.uint8],
) -> npt.NDArray[np.bool_]:
    """Whether each n-gram is the first of its words in its file; all of a hash and file follow each other."""
    kept = np.zeros(len(hashes), np.bool_)
    group = np.empty(len(hashes), np.int64)  # those kept of the same hash and file, nearly always one
    num_kept = 0
    for entry in range(len(hashes)):
        if entry and (hashes[entry] != hashes[entry - 1] or files[entry] != files[entry - 1]):
            num_kept = 0
        is_new = True
        for other in group[:num_kept]:
            same = lengths[other] == lengths[entry]
            if same:
                for place in range(lengths[entry]):
                    same &= words[offsets[other] + np.uint64(place)] == words[offsets[entry] + np.uint64(place)]
            is_new &= not same
        if is_new:
            kept[entry] = True
            group[num_kept] = entry
            num_kept += 1
    return kept


_opened: dict[tuple[str, IndexPlace], EvaluationIndex] = {}


def open_index(output: Store, place: IndexPlace) -> EvaluationIndex:
    """Open the index, once in a process for all units of a run.

    Raises:
        ShardCorruptError: It is not what was written.
    """
    key = (output.url, place)
    if key not in _opened:
        _opened.clear()
        _opened[key] = _read_index(output, place)
    return _opened[key]


def _read_index(output: Store, place: IndexPlace) -> EvaluationIndex:
    try:
        data = memoryview(output.map_file(EVALUATION_INDEX))
    except FileNotFoundError:
        data = memoryview(b"")
    found = xxhash.xxh3_128_hexdigest(data)
    if found != place.checksum:
        raise ShardCorruptError(
            "the index of the evaluation text is not what was written",
            path=output.locate(EVALUATION_INDEX),
            expected=f"xxh3-128 {place.checksum}",
            found=found,
            action="run the same command again",
        )
    columns: dict[str, npt.NDArray[np.generic]] = {}
    start = 0
    for name, kind in ENTRY:
        columns[name] = np.frombuffer(data, kind, place.num_ngrams, start)
        start += columns[name].nbytes
    return EvaluationIndex(place, **columns, words=np.frombuffer(data, np.uint8, offset=start))  # type: ignore[arg-type]  # each of its kind
