"""Two words are one only where all their bytes and their source are the same."""

from __future__ import annotations

import numpy as np

from maskmill.pipeline.wordpiece.counting.word_table import (
    COUNT,
    LENGTH_SHIFT,
    WordTable,
    add_tokens,
    clear_table,
    make_table,
    widen_table,
)


def token(start: int, length: int, source: int = 0, count: int = 1) -> tuple[int, int, int, int]:
    """A token whose hash is that of every other."""
    return (77, start, length << LENGTH_SHIFT | source, count)


ARENA = np.array([1, 2, 1, 3, 1, 2], np.uint64)
TOKENS = np.array(
    [
        token(0, 16),
        token(2, 16),  # another second piece
        token(4, 16),  # the first again
        token(0, 8),  # shorter
        token(0, 7),
        token(0, 16, source=1),
        token(0, 16, source=1, count=5),
    ],
    np.int64,
)
COUNTS = [2, 1, 1, 1, 6]


def counts_of(table: WordTable) -> list[int]:
    return table.records[: table.used[0], COUNT].tolist()


def test_equal_hashes_do_not_make_words_equal() -> None:
    table = make_table(8, 16)
    assert add_tokens(table, TOKENS, ARENA, 0) == len(TOKENS)
    assert counts_of(table) == COUNTS
    assert table.used.tolist() == [5, 2 + 2 + 1 + 1 + 2]


def test_a_full_table_says_where_it_stopped_and_goes_on_wider() -> None:
    for max_words, max_pieces in [(1, 100), (2, 100), (4, 100), (100, 2), (100, 5), (100, 7)]:
        table = make_table(max_words, max_pieces)
        stopped = add_tokens(table, TOKENS, ARENA, 0)
        assert stopped < len(TOKENS)
        assert table.used[0] <= max_words
        assert table.used[1] <= max_pieces
        assert add_tokens(table, TOKENS, ARENA, stopped) == stopped
        table = widen_table(table, 8, 16)
        assert add_tokens(table, TOKENS, ARENA, stopped) == len(TOKENS)
        assert counts_of(table) == COUNTS


def test_a_cleared_table_knows_nothing() -> None:
    table = make_table(8, 16)
    add_tokens(table, TOKENS, ARENA, 0)
    clear_table(table)
    assert counts_of(table) == []
    add_tokens(table, TOKENS[:1], ARENA, 0)
    assert counts_of(table) == [1]
