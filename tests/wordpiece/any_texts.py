"""Text of every script there is, and what `tokenizers` makes of it: the oracle of the counting laws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product

import pyarrow as pa
from hypothesis import strategies as st

from maskmill.pipeline.wordpiece.counting.count_words import WordCounter
from maskmill.pipeline.wordpiece.files.normalise import Normalisation

NORMALISATIONS = [
    Normalisation(lowercase, strip_accents, handle_chinese_chars)
    for lowercase, strip_accents, handle_chinese_chars in product((True, False), (None, True, False), (True, False))
]
BLOCKS = {
    "ascii and its controls": (0x00, 0x7F),
    "latin": (0x80, 0x24F),
    "combining marks": (0x300, 0x36F),
    "greek and cyrillic": (0x370, 0x52F),
    "hebrew": (0x590, 0x5FF),
    "arabic": (0x600, 0x6FF),
    "devanagari and its neighbours": (0x900, 0xDFF),
    "thai and lao": (0xE00, 0xEFF),
    "tibetan": (0xF00, 0xFFF),
    "hangul jamo": (0x1100, 0x11FF),
    "balinese to vedic, with their viramas": (0x1B00, 0x1CFF),
    "marks of every class": (0x1DC0, 0x1DFF),
    "latin and greek extended": (0x1E00, 0x1FFF),
    "spaces, joiners, punctuation": (0x2000, 0x206F),
    "marks for symbols": (0x20D0, 0x20FF),
    "letterlike and mathematical": (0x2100, 0x22FF),
    "cjk punctuation, kana, tone marks": (0x3000, 0x30FF),
    "cjk": (0x4E00, 0x4FFF),
    "hangul": (0xAC00, 0xAFFF),
    "private use": (0xE000, 0xE0FF),
    "cjk compatibility and presentation forms": (0xF900, 0xFFFF),
    "ideographs' reading marks": (0x16FE0, 0x16FFF),
    "musical symbols": (0x1D150, 0x1D1FF),
    "emoji": (0x1F300, 0x1FAFF),
    "cjk of plane 2": (0x20000, 0x200FF),
    "unassigned": (0x50000, 0x500FF),
    "tags and selectors": (0xE0000, 0xE01FF),
    "private use of the last plane": (0x10FF00, 0x10FFFF),
}
# Characters whose order canonical ordering decides and that outlive the stripping of accents, and marks to order.
ORDERED = "\u302e\u302f\U00016ff0\U0001d165\U0001d16d\U0001d15e\u1b44\u1baa\u0c3c\u0d3b\u0301\u0316\u0345\u034f\u0e38"

_of_one_block = st.sampled_from(sorted(BLOCKS)).flatmap(
    lambda name: st.text(st.characters(min_codepoint=BLOCKS[name][0], max_codepoint=BLOCKS[name][1]), max_size=8)
)
_pieces = st.one_of(
    _of_one_block,
    st.text(st.sampled_from(ORDERED + "aA \n.\u4e2d\x00\x85\u00a0"), max_size=8),
    st.text(max_size=6),
    st.sampled_from([" ", "\t", "word", "Word", "x" * 9, "[MASK]", "\r\n"]),
)
any_texts = st.lists(_pieces, max_size=10).map("".join)
"""Pieces of text of one script each, joined."""


def count_by_tokenizers(texts: Iterable[str], normalisation: Normalisation) -> dict[str, int]:
    """How often each word occurs, by `tokenizers` over whole texts."""
    normalizer, pre_tokenizer = normalisation.build_normalizer(), normalisation.build_pre_tokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)))
    return dict(counts)


def as_dict(table: pa.Table) -> dict[str, int]:
    """Words of one source and their counts, which must be sorted by the words' bytes and distinct."""
    words = table["word"].to_pylist()
    assert words == sorted(set(words), key=str.encode)
    assert set(table["source"].to_pylist()) <= {0}
    return dict(zip(words, table["count"].to_pylist(), strict=True))


def count_all(texts: list[str], normalisation: Normalisation) -> dict[str, int]:
    """How often each word occurs, by a `WordCounter`."""
    counter = WordCounter(normalisation)
    counter.add(pa.array(texts, pa.string()))
    return as_dict(counter.finish())
