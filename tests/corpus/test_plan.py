"""The plan leaves no hash and no file without a unit, and gives none to two."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maskmill.pipeline.corpus.hash_documents import assign_to_intervals
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.plan import (
    MAX_BUCKETS,
    MIB,
    Buckets,
    plan_buckets,
    plan_shard_bytes,
    plan_sort_units,
)
from maskmill.pipeline.corpus.plan_map_units import (
    ALONE_BYTES,
    MAX_FILES_PER_UNIT,
    _ends_group,
    plan_group_bytes,
    plan_map_units,
)
from maskmill.schemas.run_file import DocumentsSection, InputSection

INPUT = InputSection(paths=["a"], text_document="line")
BUCKETS = st.builds(Buckets, st.integers(1, 256), st.integers(0, 256))
FILES = st.lists(st.integers(0, 40 * MIB), max_size=30, min_size=1).map(
    lambda sizes: [InputFile("", f"{number}.txt", size) for number, size in enumerate(sizes)]
)
PROBES = np.unique(
    np.concatenate(
        [
            np.array([0, 2**64 - 1], np.uint64),
            *(  # the edges of all intervals up to 64, the hashes beside them, and some of finer ones
                np.array([-(-k * 2**32 // n) * 2**32 + d for k in range(1, n) for d in (-1, 0)], np.uint64)
                for n in (*range(2, 65), 512, 1000)
            ),
        ]
    )
)


@given(BUCKETS, st.integers(0, 3000), st.integers(0, 3000), st.floats(0.001, 0.5))
@example(Buckets(512, 0), 512, 0, 0.0)
@example(Buckets(512, 0), 511, 0, 0.0)
@example(Buckets(512, 0), 513, 0, 0.0)
@example(Buckets(1, 1), 1, 64, 0.5)
@example(Buckets(64, 3), 1000, 63, 0.05)
def test_every_hash_belongs_to_one_shard_and_its_unit_reads_its_bucket(
    buckets: Buckets, train_mib: int, held_out_mib: int, held_out_share: float
) -> None:
    units = plan_sort_units((train_mib * MIB, held_out_mib * MIB), MIB, buckets, held_out_share)
    assert [unit.unit for unit in units] == list(range(len(units)))
    for held_out, num_buckets, offset, mib in (
        (False, buckets.train, 0, train_mib),
        (True, buckets.held_out, buckets.train, held_out_mib),
    ):
        ours = [unit for unit in units if unit.held_out is held_out]
        assert bool(ours) == bool(num_buckets)
        if not ours:
            continue
        num_shards = ours[0].num_shards
        assert {(unit.num_shards, unit.num_buckets) for unit in ours} == {
            (num_shards, buckets.train + buckets.held_out)
        }
        assert [shard for unit in ours for shard in range(unit.first_shard, unit.stop_shard)] == list(range(num_shards))
        most = plan_buckets(10**15, MIB, held_out_share)
        most_buckets = most.held_out if held_out else most.train
        if mib > most_buckets:
            assert 2 / 3 * mib <= num_shards <= 4 / 3 * mib
            assert num_shards % most_buckets == 0
        else:
            assert num_shards == max(1, mib)
        assert len(ours) == min(num_shards, num_buckets)
        if num_shards % num_buckets == 0:
            assert all(len(unit.buckets) == 1 for unit in ours)
        elif num_shards > num_buckets:
            assert all(len(unit.buckets) <= 3 for unit in ours)
        unit_of_shard = np.repeat(np.arange(len(ours)), [unit.stop_shard - unit.first_shard for unit in ours])
        unit_of_probe = unit_of_shard[assign_to_intervals(PROBES, num_shards)]
        bucket_of_probe = offset + assign_to_intervals(PROBES, num_buckets)
        reads = np.zeros((len(ours), MAX_BUCKETS), np.bool_)
        for position, unit in enumerate(ours):
            assert list(unit.buckets) == list(range(unit.buckets[0], unit.buckets[-1] + 1))
            assert offset <= unit.buckets[0] <= unit.buckets[-1] < offset + num_buckets
            reads[position, list(unit.buckets)] = True
            # No bucket is read for nothing: it overlaps the unit's interval [first, stop) / num_shards.
            for bucket in unit.buckets:
                number = bucket - offset
                assert number * num_shards < unit.stop_shard * num_buckets
                assert (number + 1) * num_shards > unit.first_shard * num_buckets
        assert reads[unit_of_probe, bucket_of_probe].all()


@given(FILES, st.floats(0.001, 512), st.floats(0, 0.5))
@example([InputFile("", "a.txt", 10**14)], 64.0, 0.005)
@example([InputFile("", "a.txt", 10**14)], 64.0, 0.5)
@example([InputFile("", "a.txt", 10**14)], 64.0, 1e-9)
@example([InputFile("", "a.txt", 0)], 64.0, 0.0)
def test_buckets_are_at_most_512(files: list[InputFile], shard_mb: float, held_out: float) -> None:
    buckets = plan_buckets(sum(file.assumed_text_bytes for file in files), int(shard_mb * MIB), held_out)
    assert buckets.train >= 1
    assert (buckets.held_out >= 1) == (held_out > 0)
    assert buckets.train + buckets.held_out <= MAX_BUCKETS
    share = buckets.held_out / (buckets.train + buckets.held_out)
    assert abs(share - held_out) * (buckets.train + buckets.held_out) <= 1 + held_out * held_out * buckets.train


@given(FILES, st.integers(MIB, 64 * MIB), BUCKETS)
def test_every_file_is_read_by_one_unit_in_order(files: list[InputFile], shard_bytes: int, buckets: Buckets) -> None:
    units = plan_map_units(files, shard_bytes, buckets, [INPUT])
    assert [unit.unit for unit in units] == list(range(len(units)))
    assert [file for unit in units for file in unit.inputs] == files
    for unit in units:
        assert unit.inputs[0] is files[unit.first_file]
        assert unit.paths == tuple(file.path for file in unit.inputs)
        assert unit.sizes_bytes == tuple(file.size_bytes for file in unit.inputs)
        assert not unit.is_part
        assert (unit.num_buckets, unit.num_held_out_buckets) == (buckets.train, buckets.held_out)
        assert sum(unit.sizes_bytes[:-1]) * 4 < shard_bytes  # without its last file it was not full
    assert all(sum(unit.sizes_bytes) * 4 >= shard_bytes for unit in units[:-1])


@given(
    st.lists(st.integers(0, 6 * MIB), min_size=1, max_size=300),
    st.data(),
    st.integers(MIB, 64 * MIB),
    st.integers(1, 9),
)
def test_added_files_change_no_units_but_those_beside_them(
    sizes: list[int], data: st.DataObject, shard_bytes: int, buckets: int
) -> None:
    files = [InputFile("", f"{number:04d}.txt", size) for number, size in enumerate(sizes)]
    added = data.draw(st.sets(st.integers(0, 2 * len(files)), min_size=1, max_size=3))
    new = [InputFile("", f"{place // 2:04d}{'.' if place % 2 else '-'}a.txt", MIB) for place in added]

    def groups(of: list[InputFile]) -> set[tuple[str, ...]]:
        in_order = sorted(of, key=lambda file: file.path)
        return {
            unit.paths for unit in plan_map_units(in_order, shard_bytes, Buckets(buckets, 0), [INPUT], appendable=True)
        }

    ends = {file.path for file in files if _ends_group(file) or file.assumed_text_bytes >= ALONE_BYTES}
    follows = {file.path: after for file, after in zip(files, [*files[1:], None], strict=True)}
    for group in groups(files) - groups(
        files + new
    ):  # it has a new file in it, before it, or behind it if there is room
        after = follows[group[-1]]
        has_room = after is None or after.assumed_text_bytes >= ALONE_BYTES
        stop = group[-1] if not has_room else after.path if after else "~"
        others = sorted(file.path for file in new if file.path < stop)
        assert others
        between = [file.path for file in files if others[-1] < file.path < group[0]]
        assert not ends.intersection(between)
    for file in files:
        if file.assumed_text_bytes >= ALONE_BYTES:
            assert (file.path,) in groups(files)


def test_many_tiny_files_come_to_many_units() -> None:
    files = [InputFile("", f"{number:06d}.txt", number % 2) for number in range(100_000)]
    units = plan_map_units(files, 64 * MIB, Buckets(1, 0), [INPUT])
    assert max(len(unit.inputs) for unit in units) == MAX_FILES_PER_UNIT
    assert len(units) == -(-100_000 // MAX_FILES_PER_UNIT)
    assert sum(len(unit.inputs) for unit in units) == 100_000


def test_a_large_corpus_of_small_files_comes_to_100_000_units() -> None:
    """With units of 16 MiB each would have too few documents for every bucket."""
    files = [InputFile("", f"{number:06d}.jsonl", 10**9) for number in range(10)]
    for assumed_bytes, expected in ((10**13, 10**8), (10**12, 16 * MIB)):
        group_bytes = plan_group_bytes(DocumentsSection(), 64 * MIB, assumed_bytes)
        assert group_bytes == expected * 4
    group_bytes = plan_group_bytes(DocumentsSection(), 64 * MIB, 10**13)
    assert len(plan_map_units([InputFile("", "a.txt", 10**7)] * 1000, group_bytes, Buckets(1, 0), [INPUT])) == 100
    assert plan_group_bytes(DocumentsSection(appendable=True), 1, 10**13) == 64 * MIB
    assert len(plan_map_units(files, group_bytes, Buckets(1, 0), [INPUT])) == 10 * 4


def test_a_receipt_is_tied_to_the_files_and_the_buckets() -> None:
    digests = [
        plan_map_units([InputFile("", path, size)], MIB, Buckets(train, held_out), [INPUT])[0].digest()
        for path, size, train, held_out in [
            ("a", 1, 1, 1),
            ("b", 1, 1, 1),
            ("a", 2, 1, 1),
            ("a", 1, 2, 1),
            ("a", 1, 1, 2),
        ]
    ]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    ("text_mib", "shard_mib"), [(1, 16), (127, 16), (128, 16), (160, 20), (511, 63.875), (512, 64), (10**7, 64)]
)
def test_a_small_corpus_gets_eight_shards_of_16_mib_or_more(text_mib: int, shard_mib: float) -> None:
    assert plan_shard_bytes(text_mib * MIB, None) == shard_mib * MIB
    assert plan_shard_bytes(text_mib * MIB, 48.5) == 48.5 * MIB
