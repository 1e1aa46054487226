"""One request of several blocks: what of it is kept where the store or the disk fails in the middle."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.block_states import Request, Stage, WantedBlock
from maskmill.pipeline.loader.cache.download_blocks import Downloads
from maskmill.pipeline.storage.datasets import fingerprint_rows
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import TransientStorageError
from tests.loader.cache.caches import find_blocks, open_dataset

SHARD = 2


@pytest.fixture
def cache(remote, tmp_path):
    dataset = open_dataset(remote, tmp_path / "c")
    opened = BlockCache(str(tmp_path / "c"), 1 << 30, fingerprint_rows(dataset.manifest), dataset.shards)
    opened.ledger.open_pins()
    opened.downloads = Downloads(dataset.store, dataset.shards, opened)
    first, stop = dataset.shards.first_block[SHARD : SHARD + 2].tolist()
    opened.blocks = list(range(stop - first))
    opened.lengths = dataset.shards.block_lengths[first:stop].tolist()
    yield opened
    opened.ledger.close()


def download(cache, blocks, announced=None):
    request = Request(WantedBlock(SHARD, blocks[0]), blocks, 0)
    outcomes = cache.downloads.download(request, lambda _, block: announced is None or block in announced)
    return {block: stage for block, (stage, _) in outcomes.items()}


def size_on_disk(cache):
    return sum(os.path.getsize(path) for path in find_blocks(cache.folder))


def break_after(monkeypatch, num_pieces, error):
    """The first answer of a store ends so, after so many pieces if any; returns what is asked for: (offset, sizes)."""
    iter_pieces, asked = Store.iter_pieces, []

    def begin(store, path, offset, sizes):
        asked.append((offset, list(sizes)))
        for place, piece in enumerate(iter_pieces(store, path, offset, sizes)):
            if len(asked) == 1 and place == num_pieces:
                raise error
            yield piece

    monkeypatch.setattr(Store, "iter_pieces", begin)
    return asked


@pytest.mark.parametrize("came", [0, 1, 3])
def test_what_came_before_a_connection_broke_is_kept_and_not_asked_for_again(cache, monkeypatch, came):
    asked = break_after(monkeypatch, came, TransientStorageError("gone", path="shard"))
    stages = download(cache, cache.blocks)
    assert list(stages.values()) == [Stage.CACHED] * came + [Stage.POSTPONED] * (len(cache.blocks) - came)
    assert size_on_disk(cache) == sum(cache.lengths[:came])
    assert set(download(cache, cache.blocks).values()) == {Stage.CACHED}
    assert size_on_disk(cache) == sum(cache.lengths)
    assert [len(sizes) for _, sizes in asked] == [len(cache.blocks), len(cache.blocks) - came]


def test_files_hold_neighbours_and_one_request_passes_over_a_block(cache, monkeypatch):
    assert len(cache.blocks) >= 5
    asked = break_after(monkeypatch, len(cache.blocks), None)
    wanted = [block for block in cache.blocks if block != 2]
    assert set(download(cache, wanted).values()) == {Stage.CACHED}
    assert [len(sizes) for _, sizes in asked] == [len(cache.blocks)]
    assert cache.find(SHARD, 2, look=True) is None
    assert cache.find(SHARD, 1) == (0, 2)
    assert cache.find(SHARD, 3) == (3, len(cache.blocks) - 3)
    assert size_on_disk(cache) == sum(cache.lengths) - cache.lengths[2]


@pytest.mark.parametrize("taken", [0, 2])
def test_a_disk_that_fills_up_in_the_middle_keeps_no_half_file(cache, monkeypatch, taken):
    write, calls = os.write, []

    def fill_up(descriptor, data):
        calls.append(len(data))
        if len(calls) > taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    monkeypatch.setattr("maskmill.pipeline.loader.cache.block_writer.os.write", fill_up)
    with pytest.warns(RuntimeWarning, match=os.strerror(errno.ENOSPC)):
        stages = download(cache, cache.blocks)
    # The one in hand is held in memory; others went by, or were not drawn.
    assert [block for block, stage in stages.items() if stage is Stage.IN_MEMORY] == [taken]
    assert set(stages.values()) == {Stage.POSTPONED, Stage.IN_MEMORY}
    assert not any(".block" in name for _, _, names in os.walk(cache.folder) for name in names)
    assert len(calls) == taken + 1
    assert set(download(cache, cache.blocks).values()) == {Stage.IN_MEMORY}  # the disk is left alone for a while
    assert len(calls) == taken + 1


def test_a_disk_that_fails_is_not_tried_again_behind_a_gap(cache, monkeypatch):
    asked = break_after(monkeypatch, None, None)

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("maskmill.pipeline.loader.cache.block_writer.os.write", fail)
    find = cache.find
    cache.find = lambda shard, block, **how: (2, 1) if block == 2 else find(shard, block, **how)  # another brought it
    with pytest.warns(RuntimeWarning, match=os.strerror(errno.EIO)):
        stages = download(cache, cache.blocks)
    assert [block for block, stage in stages.items() if stage is Stage.IN_MEMORY] == [0]
    assert len(asked) == 1


def test_where_there_is_no_room_what_somebody_reads_is_held_in_memory_and_nothing_else(cache):
    cache.ledger.max_bytes = 100
    stages = download(cache, cache.blocks, announced={0, 3})
    assert {block for block, stage in stages.items() if stage is Stage.IN_MEMORY} == {0, 3}
    assert {stage for block, stage in stages.items() if block not in (0, 3)} == {Stage.POSTPONED}


@pytest.mark.parametrize(("times", "stage"), [(1, Stage.CACHED), (2, Stage.IN_MEMORY)])
def test_a_damaged_block_in_the_middle_is_asked_for_once_more_and_its_neighbours_are_kept(
    cache, monkeypatch, times, stage
):
    """One that is damaged twice is handed on as it is: whoever reads it says what is wrong with it."""
    read_range, damaged = Store.read_range, 2
    start = sum(cache.lengths[:damaged])
    again = []

    def damage(store, path, offset, length):
        data = bytearray(read_range(store, path, offset, length))
        if not path.startswith("shard-"):
            return bytes(data)
        again.append((offset, length))
        if len(again) <= times:
            data[start if len(again) == 1 else 0] ^= 1
        return bytes(data)

    monkeypatch.setattr(Store, "read_range", damage)
    stages = download(cache, cache.blocks)
    assert stages == dict.fromkeys(cache.blocks, Stage.CACHED) | {damaged: stage}
    assert again == [(again[0][0], sum(cache.lengths)), (again[0][0] + start, cache.lengths[damaged])]
    assert size_on_disk(cache) == sum(cache.lengths) - (cache.lengths[damaged] if stage is Stage.IN_MEMORY else 0)
    if stage is Stage.IN_MEMORY:
        assert (cache.find(SHARD, 0), cache.find(SHARD, 4)) == ((0, 2), (3, len(cache.blocks) - 3))


def test_room_is_given_back_for_what_did_not_come(cache, monkeypatch):
    settled = []
    settle = cache.ledger.settle
    monkeypatch.setattr(cache.ledger, "settle", lambda *numbers: settled.append(numbers) or settle(*numbers))
    break_after(monkeypatch, 2, TransientStorageError("gone", path="shard"))
    download(cache, cache.blocks)
    assert settled == [(int(np.sum(cache.lengths)), sum(cache.lengths[:2]))]
