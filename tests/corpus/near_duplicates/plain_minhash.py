"""MinHash in plain Python, over sets of shingles, and words found with regular expressions."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterable
from itertools import combinations

from maskmill.pipeline.corpus.near_duplicates.signatures import Permutations

MASK = (1 << 64) - 1
WORD_FACTOR, WORD_SEED = 0x9E3779B97F4A7C15, 0x2545F4914F6CDD1D
SHINGLE_FACTOR = 0xD6E8FEB86659FD93
WITHOUT_SPACES = re.compile(
    "(CJK (UNIFIED|COMPATIBILITY) IDEOGRAPH|HIRAGANA LETTER|KATAKANA LETTER|HANGUL SYLLABLE|THAI CHARACTER|LAO LETTER"
    "|KHMER LETTER|MYANMAR LETTER|IDEOGRAPHIC ITERATION MARK)"
)


def split_words(text: str) -> list[str]:
    """Words as the documentation describes them."""
    visible = [character for character in text if unicodedata.category(character) != "Cf"]
    kinds = "".join(map(_kind_of, visible))
    return ["".join(map(_lower, visible[found.start() : found.end()])) for found in re.finditer("WM*|[LM]+", kinds)]


def _kind_of(character: str) -> str:
    category = unicodedata.category(character)[0]
    if category not in "LN":
        return category if category == "M" else "-"
    return "W" if WITHOUT_SPACES.match(unicodedata.name(character, "")) else "L"


def _lower(character: str) -> str:
    lowered = character.lower()
    return lowered if len(lowered) == 1 else character


def list_shingles(words: list[str], size: int) -> set[tuple[str, ...]]:
    """Runs of so many words; of fewer words, all of them."""
    return {tuple(words[start : start + size]) for start in range(max(1, len(words) - size + 1))} if words else set()


def measure_jaccard(one: str, other: str, size: int) -> float:
    """The share of the shingles of both that are in either."""
    first, second = (list_shingles(split_words(text), size) for text in (one, other))
    return len(first & second) / max(1, len(first | second))


def plant_edit(words: list[str], similarity: float, size: int, rng: random.Random) -> tuple[str, float]:
    """A text with words at random places replaced, and the Jaccard similarity that it has to the one before.

    Args:
        words: Of a text.
        similarity: About what it should be.
        size: Words of a shingle.
        rng: Chooses the places.
    """
    kept_shingles = 2 * similarity / (1 + similarity)
    share = 1 - kept_shingles ** (1 / size)
    edited = [f"new{rng.randrange(10**9)}" if rng.random() < share else word for word in words]
    before, after = list_shingles(words, size), list_shingles(edited, size)
    return " ".join(edited), len(before & after) / len(before | after)


def hash_shingle(shingle: Iterable[str]) -> int:
    """32 bits of a shingle."""
    hashed = WORD_SEED
    for word in shingle:
        own = WORD_SEED
        for character in word:
            own = (own ^ ord(character)) * WORD_FACTOR & MASK
            own ^= own >> 32
        hashed = (hashed ^ own) * SHINGLE_FACTOR & MASK
        hashed ^= hashed >> 32
    return hashed & 0xFFFFFFFF


def sign(words: list[str], size: int, permutations: Permutations) -> list[int]:
    """The least hash of all shingles under each permutation."""
    hashes = [hash_shingle(shingle) for shingle in list_shingles(words, size)]
    return [
        min((factor * one + addend) % (1 << 32) for one in hashes)
        for factor, addend in zip(permutations.factors.tolist(), permutations.addends.tolist(), strict=True)
    ]


def join_texts(texts: list[str], bands: int, rows: int, size: int, seed: int = 0) -> list[int]:
    """For each text the number of the first one of its cluster: all pairs are compared."""
    permutations = Permutations.of(seed, bands * rows)
    words = [split_words(text) for text in texts]
    signatures = [sign(own, size, permutations) if len(own) >= size else own for own in words]
    parent = list(range(len(texts)))

    def find(number: int) -> int:
        while parent[number] != number:
            number = parent[number]
        return number

    for one, other in combinations(range(len(texts)), 2):
        is_short = len(words[one]) < size, len(words[other]) < size
        if is_short == (True, True):
            is_joined = bool(words[one]) and words[one] == words[other]
        elif any(is_short):
            is_joined = False
        else:
            starts = range(0, bands * rows, rows)
            is_joined = any(signatures[one][at : at + rows] == signatures[other][at : at + rows] for at in starts)
        if is_joined:
            first, second = sorted((find(one), find(other)))
            parent[second] = first
    return [find(number) for number in range(len(texts))]
