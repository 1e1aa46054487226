"""Records that units exchange: none is lost, memory is bounded, and bad bytes are refused."""

from __future__ import annotations

import uuid
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.corpus.near_duplicates import records
from maskmill.pipeline.corpus.near_duplicates.records import Partition, Written, records_path, write_records
from maskmill.pipeline.corpus.number_places import number_places
from maskmill.pipeline.engine.receipts import write_receipt
from maskmill.pipeline.engine.units import UnitDescription, UnitOutcome
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ConfigError, ShardCorruptError, StaleArtifactError
from tests.corpus.run_stages import make_context


def write_some(num_partitions: int) -> tuple[Store, Written]:
    output = make_context({"a.txt": b"x"}, {}, f"memory://{uuid.uuid4().hex}").output
    table = np.arange(80, dtype=np.uint64).reshape(-1, 4)
    details = write_records(output, "sign", 0, num_partitions, [(table, np.arange(20) % num_partitions)])
    write_receipt(output, UnitDescription(stage="sign", unit=0), UnitOutcome([], {}, details))
    return output, Written(stage="sign", first_unit=0, stop_unit=1, num_partitions=num_partitions)


def test_each_partition_has_its_records() -> None:
    output, written = write_some(3)
    for number in range(3):
        found = np.concatenate(list(Partition(output, written, number).read()))
        assert found[:, 0].tolist() == [4 * row for row in range(number, 20, 3)]


def test_records_that_changed_or_are_gone_are_refused() -> None:
    output, written = write_some(2)
    path = records_path("sign", 0)
    data = bytearray(output.read_bytes(path))
    place = data.index(np.uint64(76).tobytes())
    data[place] ^= 1
    output.write_bytes(path, bytes(data))
    with pytest.raises(ShardCorruptError, match="bytes of a block have changed"):
        list(Partition(output, written, 1).read())
    output.delete(path)
    with pytest.raises(StaleArtifactError, match="records of near duplicates are gone"):
        list(Partition(output, written, 1).read())


def test_more_lines_than_numbers_are_refused_in_words() -> None:
    for file, line in ((0, 1 << 40), (1 << 24, 1)):
        table = pa.table({"file": pa.array([file], pa.uint32()), "line": pa.array([line], pa.uint64())})
        with pytest.raises(ConfigError, match="too much input to look for near duplicates"):
            number_places(table)
    most = pa.table({"file": pa.array([2**24 - 1], pa.uint32()), "line": pa.array([2**40 - 1], pa.uint64())})
    assert number_places(most).tolist() == [2**64 - 1]


@given(sizes=st.lists(st.integers(0, 12), max_size=12), limit=st.integers(1, 20), is_hashed=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_unit_holds_a_bounded_number_of_records(sizes: list[int], limit: int, is_hashed: bool) -> None:
    """Each pass is read in chunks of bounded size, equal values are in one pass, and no record is lost or repeated."""
    output = make_context({"a.txt": b"x"}, {}, f"memory://{uuid.uuid4().hex}").output
    values = iter(range(1000))
    pieces = [np.array([[next(values) % 7 << 31, value, 0, 0] for value in range(size)], np.uint64) for size in sizes]
    pieces = [piece.reshape(-1, 4) for piece in pieces]
    with patch.object(records, "MAX_PASS_RECORDS", limit), patch.object(records, "MAX_RUN_RECORDS", 4):
        details = write_records(output, "sign", 0, 1, ((piece, np.zeros(len(piece), np.int64)) for piece in pieces))
        write_receipt(output, UnitDescription(stage="sign", unit=0), UnitOutcome([], {}, details))
        source = Written(stage="sign", first_unit=0, stop_unit=1, num_partitions=1)
        passes = [list(read()) for read in Partition(output, source, 0).passes(0, is_hashed=is_hashed)]
    largest = max([4, *sizes]) + 4
    assert all(len(chunk) < limit + largest for chunks in passes for chunk in chunks)
    found = [sorted(tuple(row) for chunk in chunks for row in chunk.tolist()) for chunks in passes]
    assert sorted(row for one in found for row in one) == sorted(
        tuple(row) for piece in pieces for row in piece.tolist()
    )
    seen = [{row[0] for row in one} for one in found]
    assert sum(map(len, seen)) == len(set().union(*seen))
