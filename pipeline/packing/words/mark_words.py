"""Carry the words that a segmenter finds in Chinese and Japanese text over to the tokens of documents.

    text          学習モデルを使う。
    segmenter     学習 | モデル | を | 使う | 。
    tokens        学  習  モデ  ##ルを  使  う  。
    starts word   *   .   *     .       *   .   *

A segmenter decides at the characters of Han, Hiragana and Katakana, and where a run of them ends. Everywhere else a
word starts with a piece that continues none, so text in other scripts has the same words as without a segmenter. Where
the segmenter starts a word in the middle of a token, none starts.

The text is segmented as it is written, not as the tokenizer normalises it: a Japanese word without its sound marks,
which count as accents, is another word.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.packing.encoded_documents import EncodedDocuments
from maskmill.pipeline.packing.words.lay_tokens import load_layer
from maskmill.pipeline.packing.words.segmenter import Segmenter
from maskmill.pipeline.wordpiece.encoding.encode import Encoder
from maskmill.pipeline.wordpiece.encoding.slice_texts import iter_contents
from maskmill.schemas.errors import ShardCorruptError

_LETTERS = (
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),  # marks of repetition and closing, zero
    (0x3021, 0x3029),  # numerals
    (0x3031, 0x3035),  # marks of repetition of kana
    (0x3038, 0x303B),
    (0x3041, 0x309F),  # Hiragana and its sound marks
    (0x30A1, 0x30FA),  # Katakana
    (0x30FC, 0x30FF),  # its long vowel and marks of repetition, but not its hyphen and dot, which are punctuation
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # Katakana of half width
    (0x16FE3, 0x16FE3),
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)
"""First and last code points of Han, Hiragana and Katakana."""
_MARKS = ((0x0300, 0x036F), (0x20D0, 0x20FF), (0x302A, 0x302F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
"""Those of marks that belong to the character before them, whatever it is."""
_ANY_LETTER = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _LETTERS) + "]")


def mark_words(
    encoder: Encoder,
    segmenter: Segmenter,
    texts: pa.ChunkedArray,
    encoded: EncodedDocuments,
    is_continuation: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Mark the tokens that start a word, a slice of documents at a time.

    Args:
        encoder: By which the documents were encoded.
        segmenter: Finds the words.
        texts: Arrow strings (N,).
        encoded: Their ids, T in all.
        is_continuation: For every token id, whether it continues a word; (vocab,).

    Returns:
        Whether a word starts at a token, bool (T,).

    Raises:
        ShardCorruptError: The ids of a document are not those of its text.
    """
    starts: npt.NDArray[np.bool_] = ~is_continuation[encoded.ids]
    first = 0
    for contents in iter_contents(texts):
        offsets = encoded.offsets[first : first + len(contents) + 1].tolist()
        for index, content in enumerate(contents):
            own = slice(offsets[index], offsets[index + 1])
            if content.isascii() or own.start == own.stop or not _ANY_LETTER.search(text := content.decode()):
                continue
            places = _locate_tokens(encoder, text, encoded.ids[own], first + index)
            starts[own] = _mark_tokens(places, find_letters(text), segmenter.mark_starts(text), starts[own])
        first += len(contents)
    return starts


def find_letters(text: str) -> npt.NDArray[np.bool_]:
    """Whether each code point of a text is of Han, Hiragana or Katakana, or a mark that belongs to one; `(N,)`."""
    code_points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    is_letter, is_mark = _are_in(code_points, _LETTERS), _are_in(code_points, _MARKS)
    bearer = np.maximum.accumulate(np.where(is_mark, 0, np.arange(len(text))))
    found: npt.NDArray[np.bool_] = is_letter[bearer]
    return found


def _are_in(code_points: npt.NDArray[Any], ranges: tuple[tuple[int, int], ...]) -> npt.NDArray[np.bool_]:
    """Whether each code point is in one of some ranges, ascending and inclusive."""
    edges = np.array([edge for first, last in ranges for edge in (first, last + 1)])
    inside: npt.NDArray[np.bool_] = np.searchsorted(edges, code_points, side="right") % 2 == 1
    return inside


def _mark_tokens(
    places: npt.NDArray[np.int64],
    is_letter: npt.NDArray[np.bool_],
    starts_word: npt.NDArray[np.bool_],
    starts_piece: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Whether each of the T tokens of a document starts a word.

    Args:
        places: The code point at which each begins, `(T,)`.
        is_letter: Whether the segmenter decides at a code point, `(N,)`.
        starts_word: Whether it says that a word starts there, `(N,)`.
        starts_piece: Whether a token continues no other, `(T,)`.
    """
    inside = is_letter[places]
    behind = is_letter[places - 1] & (places > 0)
    is_new = np.append(True, places[1:] != places[:-1])  # or one more token of the same character
    found = starts_word[places] & is_new
    marked: npt.NDArray[np.bool_] = np.where(inside, found, starts_piece | (behind & found))
    return marked


def _locate_tokens(encoder: Encoder, text: str, ids: npt.NDArray[Any], document: int) -> npt.NDArray[np.int64]:
    """The code point at which each token of a document begins, `(T,)`."""
    layer = load_layer(encoder.tokenizer_json)
    places = None if layer is None else layer.lay(text, ids)
    if places is not None:
        return places
    found, places = encoder.locate_tokens(text)
    if not np.array_equal(found, ids):
        raise ShardCorruptError(
            "the token ids of a document are not those that tokenizers gives its text",
            path="pack.word_boundaries",
            place=f"document {document} of its shard",
            expected=f"{len(found)} ids",
            found=f"{len(ids)}, or others",
            action="delete encoded/ if there is one, and report this: the fast encoder gives other ids",
        )
    return places
