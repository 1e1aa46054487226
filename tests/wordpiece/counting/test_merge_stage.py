"""Words that no unit would leave are refused before they reach a table of words."""

from __future__ import annotations

import pyarrow as pa
import pytest

from maskmill.pipeline.wordpiece.counting.counted_words import CountedWords
from maskmill.pipeline.wordpiece.counting.merge_stage import _SourceNumbers
from maskmill.pipeline.wordpiece.counting.word_counts import MAX_SOURCES
from maskmill.pipeline.wordpiece.counting.word_files import WORD_FILE_SCHEMA
from maskmill.schemas.errors import ShardCorruptError


def make_rows(sources: list[str], counts: list[int]) -> pa.RecordBatch:
    return pa.record_batch([["word"] * len(sources), sources, counts], schema=WORD_FILE_SCHEMA)


def test_more_sources_than_a_table_has_bits_for_are_refused() -> None:
    names = [str(number) for number in range(1 << 16)]
    with pytest.raises(ShardCorruptError, match=f"more than {MAX_SOURCES} sources"):
        _SourceNumbers(False).add_rows(CountedWords(), make_rows(names, [1] * len(names)))
    assert _SourceNumbers(True).add_rows(CountedWords(), make_rows(names[:5000], [1] * 5000)) == 5000


@pytest.mark.parametrize("count", [0, -1, -(1 << 63)])
def test_counts_below_one_are_refused(count: int) -> None:
    with pytest.raises(ShardCorruptError, match="less than once"):
        _SourceNumbers(False).add_rows(CountedWords(), make_rows(["a", "b"], [1, count]))
