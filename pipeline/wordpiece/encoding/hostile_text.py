"""Text on which tokenizers are known to disagree, made in code: what an encoder is proven on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

_NUM_CODE_POINTS = 0x110000
_SURROGATES = range(0xD800, 0xE000)
_CODES_A_TEXT = 1024
_CONTEXTS = ("{}", "a{}b")
_LOW_CONTEXT = "\u00c9{}\u4e2d"  # for planes 0 and 1 alone: the rest is ideographs, unassigned or private
_LOW_CODES = 0x20000
_RANDOM_TEXTS = 4000

FRAGMENTS = (
    # whitespace: what separates, what BERT deletes, what only Unicode calls space
    *" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u00a0\u1680\u2000\u2007\u2028\u2029\u202f\u205f\u3000",
    # controls, zero-width characters, byte order marks, replacement, private use, the last code point
    *"\x00\x01\x07\x08\x7f\x80\u00ad\u200b\u200c\u200d\u200e\u2060\ufeff\ufffd\ue000\U0010ffff",
    # accents composed and apart, marks that reorder, spacing marks, Hangul tone marks and jamo
    *("\u00e9", "e\u0301", "q\u0307\u0323", "q\u0323\u0307", "\u0344", "\u0903", "\u0915\u094d\u0937"),
    *("\u302e", "\ud55c\uad6d", "\u1112\u1161\u11ab", "\u0e01\u0e33", "\u0f77", "\U0001d16f"),
    # case: dotted and dotless i, final sigma, sharp s, titlecase digraphs, ligatures, full width
    *("\u0130", "I\u0307", "\u0131", "\u039f\u03a3", "\u03a3\u03a3", "\u1e9e", "\u01c5", "\ufb01", "\uff21"),
    # ideographs in and outside BERT's blocks, kana, marks on them
    *("\u4e2d\u6587", "\U00020000", "\U0002f800", "\u30c6\u30b9\u30c8", "\u304c", "\u304b\u3099", "\u3007"),
    # emoji: sequences, flags, skin tones, keycaps, variation selectors, tags
    *(
        "\U0001f469\u200d\U0001f4bb",
        "\U0001f1e9\U0001f1ea",
        "\U0001f44d\U0001f3fd",
        "1\ufe0f\u20e3",
        "\u2764\ufe0f",
    ),
    # punctuation: ASCII, symbols that BERT counts as punctuation, quotes, dashes, other scripts'
    *"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    *"\u00a1\u00ab\u00bb\u00b7\u2018\u2019\u201c\u2013\u2014\u2026\u060c\u061f\u0964\u3002\uff0c\u20ac\u00a9",
    # special tokens whole, broken and in other cases; pieces spelt out
    *("[MASK]", "[mask]", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[ MASK ]", "[MASK", "MASK]", "##ing", "[unused1]"),
    # right to left, with points and tatweel; digits of other scripts
    *("\u05e9\u05c1\u05dc\u05d5\u05dd", "\u0645\u064f\u062d\u0640\u0645\u062f", "\u0663\u0967\u2463\u00b2\u00bd"),
    *("word", "Word", "WORD", "the", "don't", "U.S.A.", "3.14", "a", "x" * 30),
)


def list_hostile_texts(pieces: Sequence[str]) -> Iterator[str]:
    """Make the texts, a few thousand characters each.

    They are: every code point alone and within a word, each set off by spaces (which part words exactly, so one
    text stands for a thousand); words around the length beyond which a word is unknown; every piece of the
    vocabulary alone and within words; and fragments at random, the same ones every time.

    Args:
        pieces: The vocabulary.
    """
    return (make() for make in list_makers(pieces))


def list_makers(pieces: Sequence[str]) -> Iterator[Callable[[], str]]:
    """Functions that make the texts: making all takes 0.8 s, and a caller may need only a part."""
    codes = [*range(_SURROGATES.start), *range(_SURROGATES.stop, _NUM_CODE_POINTS)]
    for start in range(0, len(codes), _CODES_A_TEXT):
        chosen = codes[start : start + _CODES_A_TEXT]
        for context in (*_CONTEXTS, _LOW_CONTEXT)[: 3 if codes[start] < _LOW_CODES else 2]:
            yield partial(_join_codes, context, chosen)
    for length in (99, 100, 101, 102, 1000):
        for letter in ("a", "\u00e9", "e\u0301", "\u0130", "\u3042", "\U0001d400", "\u200b", "\u0307"):
            yield partial(str, f"{letter * length} b {letter * (length // 2)}")
    for start in range(0, len(pieces), _CODES_A_TEXT):
        for context in ("{}", "x{}s", "Un{}-"):
            yield partial(_join, context, pieces[start : start + _CODES_A_TEXT])
    for fragment in (*FRAGMENTS, ""):
        yield partial(str, fragment)
    chooser = random.Random(0)  # noqa: S311 - test texts, not secrets
    for _ in range(_RANDOM_TEXTS):
        yield partial(str, "".join(chooser.choices(FRAGMENTS, k=chooser.randint(2, 24))))


def _join_codes(context: str, codes: Sequence[int]) -> str:
    return _join(context, map(chr, codes))


def _join(context: str, parts: Iterable[str]) -> str:
    return " ".join(map(context.format, parts))
