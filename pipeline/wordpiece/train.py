"""Train a WordPiece vocabulary from counted words: deterministic, in 64 bits, with Hugging Face's ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipeline.wordpiece.count_words import merge_counts
from pipeline.wordpiece.merge_pieces import merge_pieces
from schemas.errors import ConfigError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_NUM_CODE_POINTS = 0x110000


@dataclass(frozen=True)
class TrainedVocabulary:
    """A vocabulary and what its limits cost."""

    pieces: list[str]
    """The piece of each id: special tokens, characters, `##` characters, then merges in the order made."""
    num_merges: int
    """Merges done; a merge that spelt an existing piece made none."""
    num_words: int
    """Distinct words trained on."""
    words_cut: int
    """Distinct words beyond `max_words`."""
    word_occurrences_cut: int
    """How often those occur in the corpus."""
    characters_kept: str
    """The alphabet, by code point."""
    characters_cut: str
    """Characters beyond `limit_alphabet`, by code point: a word that holds one encodes as [UNK]."""
    character_occurrences: int
    """Characters in the words trained on, each word as often as it occurs."""
    character_occurrences_cut: int
    """Those of them that are in `characters_cut`."""


@njit(cache=True, nogil=True)
def _decode_words(data, offsets, codes, lengths):  # type: ignore[no-untyped-def]
    """Decode valid UTF-8 into code points; returns how many."""
    written = 0
    for word in range(len(lengths)):
        before = written
        index = offsets[word]
        while index < offsets[word + 1]:
            byte = np.int32(data[index])
            if byte < 0x80:
                code, size = byte, 1
            elif byte < 0xE0:
                code, size = byte & 0x1F, 2
            elif byte < 0xF0:
                code, size = byte & 0x0F, 3
            else:
                code, size = byte & 0x07, 4
            for following in range(index + 1, index + size):
                code = (code << 6) | (np.int32(data[following]) & 0x3F)
            codes[written] = code
            written += 1
            index += size
        lengths[word] = written - before
    return written


@njit(cache=True, nogil=True)
def _count_characters(codes, lengths, weights, occurrences, continues):  # type: ignore[no-untyped-def]
    """Add up how often each character occurs and mark those that occur past the start of a word."""
    index = 0
    for word in range(len(lengths)):
        for place in range(lengths[word]):
            occurrences[codes[index]] += weights[word]
            if place > 0:
                continues[codes[index]] = True
            index += 1


@njit(cache=True, nogil=True)
def _replace_by_ids(codes, lengths, first_ids, later_ids):  # type: ignore[no-untyped-def]
    """Turn code points into piece ids in place, leaving out the cut ones; returns how many remain."""
    read = 0
    write = 0
    for word in range(len(lengths)):
        before = write
        for place in range(lengths[word]):
            piece = first_ids[codes[read]] if place == 0 else later_ids[codes[read]]
            read += 1
            if piece >= 0:
                codes[write] = piece
                write += 1
        lengths[word] = write - before
    return write


def _cut_rare_words(words: pa.Table, max_words: int | None) -> tuple[pa.Table, int, int]:
    """Keep the `max_words` most frequent words; of equal ones those that sort first by code point."""
    if max_words is None or words.num_rows <= max_words:
        return words, 0, 0
    counts = words["count"].to_numpy()
    kept = np.sort(np.argsort(-counts, kind="stable")[:max_words])
    occurrences_cut = int(counts.sum()) - int(counts[kept].sum())
    return words.take(pa.array(kept)), words.num_rows - max_words, occurrences_cut


def _choose_alphabet(
    occurrences: npt.NDArray[np.int64], limit: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split the code points that occur into kept and cut: the highest counts, ties to the smaller."""
    present = np.flatnonzero(occurrences)
    order = present[np.argsort(-occurrences[present], kind="stable")]
    limit = len(order) if limit is None else limit
    return np.sort(order[:limit]), np.sort(order[limit:])


def _spell(codes: npt.NDArray[np.int64]) -> str:
    return "".join(map(chr, codes.tolist()))


def train_wordpiece(
    words: pa.Table,
    vocab_size: int,
    *,
    min_frequency: int = 2,
    limit_alphabet: int | None = None,
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
    max_words: int | None = None,
) -> TrainedVocabulary:
    """Train a WordPiece vocabulary (Schuster and Nakajima 2012, by pair counts as `tokenizers` does it).

    The result, ids included, is that of `tokenizers`' `WordPieceTrainer` when that is given the kept characters
    and then the `##` characters, both by code point, as special tokens after `special_tokens`: that takes away
    everything random in it. Pair counts are 64-bit where the peer's are 32-bit. The order of `words` does not
    matter.

    Args:
        words: Columns word (string) and count (int64), counts at least 1.
        vocab_size: Pieces asked for; fewer come out where no pair reaches `min_frequency` any more.
        min_frequency: The lowest pair count that is merged.
        limit_alphabet: Keep this many characters, the most frequent ones. None: keep all.
        special_tokens: The first ids, in this order.
        max_words: Train on this many distinct words, the most frequent ones. None: on all.

    Returns:
        The vocabulary and what the limits cost.

    Raises:
        ConfigError: If the special tokens and the alphabet alone are more than `vocab_size`.
    """
    words = merge_counts([words])
    words, words_cut, word_occurrences_cut = _cut_rare_words(words, max_words)
    text = words["word"].cast(pa.large_binary()).combine_chunks()
    weights = np.ascontiguousarray(words["count"].to_numpy(), np.int64)
    _, offset_buffer, data_buffer = text.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[text.offset : text.offset + len(text) + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)
    codes = np.empty(int(offsets[-1] - offsets[0]) if len(text) else 0, np.int32)
    lengths = np.zeros(len(text), np.int32)
    codes = codes[: _decode_words(data, offsets, codes, lengths)]

    occurrences = np.zeros(_NUM_CODE_POINTS, np.int64)
    continues = np.zeros(_NUM_CODE_POINTS, np.bool_)
    _count_characters(codes, lengths, weights, occurrences, continues)
    kept, cut = _choose_alphabet(occurrences, limit_alphabet)

    ids = {piece: number for number, piece in enumerate(dict.fromkeys(special_tokens))}
    first_ids = np.full(_NUM_CODE_POINTS, -1, np.int32)
    later_ids = np.full(_NUM_CODE_POINTS, -1, np.int32)
    for code in kept.tolist():
        first_ids[code] = ids.setdefault(chr(code), len(ids))
    for code in kept[continues[kept]].tolist():
        later_ids[code] = ids.setdefault("##" + chr(code), len(ids))
    if len(ids) > vocab_size:
        raise ConfigError(
            "the vocabulary is too small for the corpus's characters",
            path="tokenizer.vocab_size",
            expected=f"at least {len(ids)}: {len(special_tokens)} special tokens and "
            f"{len(ids) - len(special_tokens)} pieces for {len(kept)} characters",
            found=str(vocab_size),
            action="raise tokenizer.vocab_size or lower tokenizer.limit_alphabet",
        )
    num_symbols = _replace_by_ids(codes, lengths, first_ids, later_ids)
    pieces, num_merges = merge_pieces(codes[:num_symbols], lengths, weights, list(ids), vocab_size, min_frequency)
    return TrainedVocabulary(
        pieces=pieces,
        num_merges=num_merges,
        num_words=len(text),
        words_cut=words_cut,
        word_occurrences_cut=word_occurrences_cut,
        characters_kept=_spell(kept),
        characters_cut=_spell(cut),
        character_occurrences=int(occurrences.sum()),
        character_occurrences_cut=int(occurrences[cut].sum()),
    )
