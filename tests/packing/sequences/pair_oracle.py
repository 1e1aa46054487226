"""The pair builders of BERT and ALBERT in plain Python, on lists of tokens, with named draws for each chunk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

WORD = 2**64
GOLDEN = 0x9E3779B97F4A7C15
COUNTERS = {"short": 0, "target": 1, "split": 2, "kind": 3, "document": 4, "start": 5}
FIRST_TRUNCATION = 6

Token = tuple[int, int]
"""A document and a place in it."""
Document = list[list[Token]]
"""Its sentences."""


def absorb(key: int, word: int) -> int:
    z = ((key ^ word) + GOLDEN) % WORD
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB % WORD
    return z ^ z >> 31


def hash_32(key: int, counter: int) -> int:
    x = (key + 0x9E3779B1 * counter) % 2**32
    x = (x ^ x >> 16) * 0x7FEB352D % 2**32
    x = (x ^ x >> 15 ^ key >> 32) * 0x846CA68B % 2**32
    return x ^ x >> 16


@dataclass(frozen=True)
class Draws:
    """The draws of one chunk."""

    key: int

    @classmethod
    def of(cls, seed: int, shard: int, document: int, chunk: int, duplicate: int) -> Draws:
        key = 0
        for word in (0x706169725F647277, seed, duplicate, shard, document, chunk):
            key = absorb(key, word)
        return cls(key)

    def pick(self, name: str, low: int, high: int) -> int:
        """A number from low to high, both included."""
        return low + hash_32(self.key, COUNTERS[name]) * (high - low + 1) // 2**32

    def chance(self, name: str, numerator: int, denominator: int) -> bool:
        return hash_32(self.key, COUNTERS[name]) * denominator < numerator * 2**32

    def coins(self) -> Iterator[bool]:
        counter = FIRST_TRUNCATION
        while True:
            yield hash_32(self.key, counter) < 2**31
            counter += 1


@dataclass
class Made:
    """What became of the documents."""

    pairs: list[tuple[list[Token], list[Token], int]] = field(default_factory=list)
    unpaired: list[Token] = field(default_factory=list)
    truncated: int = 0
    num_truncated: int = 0
    singles: int = 0


def make_pairs(
    documents: list[Document], which: str, longest: int, seed: int, shard: int, duplicates: int, single: bool = False
) -> Made:
    """All pairs, one duplicate and document after the other.

    Args:
        documents: Of one shard, with their sentences.
        which: `nsp` or `sop`.
        longest: Tokens of a pair at most.
        seed: Of the draws.
        shard: Number of the document shard.
        duplicates: How often to begin anew.
        single: ALBERT's quirk, for `sop`.
    """
    made = Made()
    for duplicate in range(duplicates):
        for number, document in enumerate(documents):
            others = [other for at, other in enumerate(documents) if at != number and other]
            _pair_document(made, document, others, which, longest, (seed, shard, number, duplicate), single)
    return made


def _pair_document(
    made: Made,
    document: Document,
    others: list[Document],
    which: str,
    longest: int,
    place: tuple[int, int, int, int],
    single: bool,
) -> None:
    seed, shard, number, duplicate = place
    queue = deque(document)
    of_document = Draws.of(seed, shard, number, 0, duplicate)
    target = of_document.pick("target", 2, longest) if of_document.chance("short", 1, 10) else longest
    may_be_single = bool(others) and (which == "nsp" or single)
    chunk_number = 0
    while queue:
        chunk: list[list[Token]] = []
        while queue and (sum(map(len, chunk)) < target or (len(chunk) < 2 and not may_be_single)):
            chunk.append(queue.popleft())
        if len(chunk) < 2 and not may_be_single:
            made.unpaired += [token for sentence in chunk for token in sentence]
            return
        draws = Draws.of(seed, shard, number, chunk_number, duplicate)
        chunk_number += 1
        cut = 1 if len(chunk) == 1 else draws.pick("split", 1, len(chunk) - 1)
        a = [token for sentence in chunk[:cut] for token in sentence]
        own_b = [token for sentence in chunk[cut:] for token in sentence]
        heads = draws.chance("kind", 1, 2)
        if len(chunk) == 1 or (which == "nsp" and others and heads):
            other = others[draws.pick("document", 0, len(others) - 1)]
            b: list[Token] = []
            for sentence in other[draws.pick("start", 0, len(other) - 1) :]:
                b += sentence
                if len(b) >= target - len(a):
                    break
            queue.extendleft(reversed(chunk[cut:]))
            label = 1
            made.singles += len(chunk) == 1
        elif which == "sop" and heads:
            a, b, label = own_b, a, 1
        else:
            b, label = own_b, 0
        lost = _shorten(a, b, longest, draws.coins(), {token[0] for token in a[:1]})
        made.truncated += lost[0]
        made.num_truncated += lost[1]
        made.pairs.append((a, b, label))


def _shorten(a: list[Token], b: list[Token], longest: int, coins: Iterator[bool], own: set[int]) -> tuple[int, bool]:
    """Drop tokens of the longer one; returns how many of the own document were dropped, and whether any was."""
    lost = 0
    is_cut = len(a) + len(b) > longest
    while len(a) + len(b) > longest:
        longer = a if len(a) > len(b) else b
        dropped = longer.pop(0 if next(coins) else -1)
        lost += dropped[0] in own
    return lost, is_cut
