from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.packing.rows.order_rows import mix_64, order_rows, row_order_key

UINT64 = st.integers(0, 2**64 - 1)
UINT32 = st.integers(0, 2**32 - 1)
GAMMA = 0x9E3779B97F4A7C15


def mix_plainly(value: int) -> int:
    """SplitMix64's finaliser in Python's unbounded integers."""
    value ^= value >> 30
    value = value * 0xBF58476D1CE4E5B9 % 2**64
    value ^= value >> 27
    value = value * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def key_plainly(document: int, start: int, seed: int) -> int:
    key = mix_plainly((seed + GAMMA) % 2**64)
    key = mix_plainly((key + document + GAMMA) % 2**64)
    return mix_plainly((key + start + GAMMA) % 2**64)


def test_mix_gives_the_first_published_outputs_of_splitmix64() -> None:
    states = np.array([GAMMA * step % 2**64 for step in (1, 2, 3)], np.uint64)
    assert [hex(value) for value in mix_64(states).tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


@given(st.lists(st.tuples(UINT64, UINT32), max_size=20), st.integers(-(2**70), 2**70))
def test_keys_are_those_of_plain_integer_arithmetic(rows: list[tuple[int, int]], seed: int) -> None:
    documents = np.array([document for document, _ in rows], np.uint64)
    starts = np.array([start for _, start in rows], np.uint32)
    expected = [key_plainly(document, start, seed) for document, start in rows]
    assert row_order_key(documents, starts, seed).tolist() == expected


@given(st.lists(st.tuples(UINT64, UINT32), unique=True, max_size=30), st.randoms(), UINT64)
def test_the_order_is_the_same_whatever_order_rows_come_in(
    rows: list[tuple[int, int]], random: object, seed: int
) -> None:
    def in_order(given_rows: list[tuple[int, int]]) -> list[tuple[int, int]]:
        documents = np.array([document for document, _ in given_rows], np.uint64)
        starts = np.array([start for _, start in given_rows], np.uint32)
        return [given_rows[index] for index in order_rows(documents, starts, seed)]

    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    expected = sorted(rows, key=lambda row: (key_plainly(*row, seed), *row))
    assert in_order(rows) == in_order(shuffled) == expected


def test_rows_with_one_key_stand_by_document_then_start(monkeypatch) -> None:
    monkeypatch.setattr(
        "maskmill.pipeline.packing.rows.order_rows.row_order_key",
        lambda document, *_: np.zeros(len(document), np.uint64),
    )
    documents = np.array([2, 1, 2**63, 1], np.uint64)
    starts = np.array([0, 9, 0, 3], np.uint32)
    assert order_rows(documents, starts, 0).tolist() == [3, 1, 0, 2]


def test_another_seed_gives_another_order() -> None:
    documents, starts = np.arange(100, dtype=np.uint64), np.zeros(100, np.uint32)
    orders = {tuple(order_rows(documents, starts, seed).tolist()) for seed in range(5)}
    assert len(orders) == 5
    assert tuple(range(100)) not in orders


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=40), UINT64)
def test_rows_that_begin_alike_are_ordered_by_their_key_mixed_once_more_each(
    rows: list[tuple[int, int]], seed: int
) -> None:
    documents = np.array([document for document, _ in rows], np.uint64)
    starts = np.array([start for _, start in rows], np.uint32)
    keys = []
    for number, row in enumerate(rows):
        key = key_plainly(*row, seed)
        for _ in range(rows[:number].count(row)):
            key = mix_plainly((key + GAMMA) % 2**64)
        keys.append(key)
    expected = sorted(range(len(rows)), key=lambda index: (keys[index], *rows[index], index))
    assert order_rows(documents, starts, seed).tolist() == expected
