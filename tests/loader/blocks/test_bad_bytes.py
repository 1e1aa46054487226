"""Law 9: bad bytes never reach a batch; what is wrong is said by who must act."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from maskmill.pipeline.loader import Cache
from maskmill.pipeline.loader.fixed_rows import iter_fixed_batches
from maskmill.pipeline.storage.shard_table import read_shard_table
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError, ShardCorruptError, StaleArtifactError
from tests.loader.cache.caches import find_blocks
from tests.loader.datasets import BLOCK_ROWS, NUM_ROWS, STATIC_MASKING, write_dataset
from tests.loader.streams import MASKING, equal_batches, open_loader


@pytest.fixture
def damaged(dataset, tmp_path):
    """A copy of the dataset to break."""
    return shutil.copytree(dataset, tmp_path / "packed")


def find_block(folder, shard, block):
    """(offset, length) of a block in its shard's file."""
    from maskmill.schemas.manifest import PackedManifest, parse_manifest

    store = open_store(str(folder))
    manifest = parse_manifest(PackedManifest, store.read_bytes("manifest.json"), "")
    table = read_shard_table(store, manifest)
    index = int(table.first_block[shard]) + block
    return int(table.block_offsets[index]), int(table.block_lengths[index])


def flip_bit(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


@pytest.mark.parametrize("masking", [MASKING, "static"])
@pytest.mark.parametrize("place", [0, 0.5, 0.999])
@pytest.mark.parametrize("width", [1, 3])
def test_a_flipped_bit_ends_the_stream_before_its_block(dataset, damaged, masking, place, width):
    shard, block = 2, 7
    settings = {"masking": masking, "partitions": 1, "shuffle_blocks": width}
    whole = list(open_loader(dataset, **settings).epochs(1))
    offset, length = find_block(damaged, shard, block)
    flip_bit(damaged / "shard-00002.arrow", offset + int(length * place))
    served = []
    loader = open_loader(str(damaged), **settings)
    with pytest.raises(ShardCorruptError) as caught:
        served.extend(loader.epochs(1))
    assert caught.value.path == str(damaged / "shard-00002.arrow")
    assert caught.value.place == f"block {block}"
    assert "restore the file" in str(caught.value)
    assert all(map(equal_batches, served, whole))
    rows = {row for batch in served for row in batch.row_ids.tolist()}
    assert not rows & {(shard << 32) + row for row in range(block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS)}
    assert 0 < len(served) < len(whole)
    assert loader.state_dict() == served[-1].state


def test_fixed_batches_check_blocks_too(damaged):
    offset, _ = find_block(damaged, 3, 0)
    flip_bit(damaged / "shard-00003.arrow", offset + 40)
    with pytest.raises(ShardCorruptError, match=r"shard-00003.arrow, block 0"):
        list(iter_fixed_batches(str(damaged), MASKING, 8))


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_shard_cut_short_is_corrupt(damaged, size):
    path = damaged / "shard-00002.arrow"
    os.truncate(path, size if size >= 0 else path.stat().st_size + size)
    with pytest.raises(ShardCorruptError, match=r"shard-00002.arrow: .*length"):
        list(open_loader(str(damaged)).epochs(1))


def test_a_missing_shard_is_named(damaged):
    os.unlink(damaged / "shard-00004.arrow")
    with pytest.raises(ShardCorruptError, match=r"shard-00004.arrow: .*gone"):
        list(open_loader(str(damaged)).epochs(1))


def test_a_damaged_manifest_or_table_opens_no_dataset(damaged):
    flip_bit(damaged / "shards.arrow", 900)
    with pytest.raises(ShardCorruptError, match=r"shards.arrow"):
        open_loader(str(damaged))
    os.unlink(damaged / "shards.arrow")
    with pytest.raises(ShardCorruptError, match=r"shards.arrow: .*gone"):
        open_loader(str(damaged))
    text = (damaged / "manifest.json").read_text()
    (damaged / "manifest.json").write_text(text.replace('"block_rows": 4', '"block_rows": 5'))
    with pytest.raises(ShardCorruptError, match=r"manifest.json"):
        open_loader(str(damaged))
    os.unlink(damaged / "manifest.json")
    with pytest.raises(ConfigError, match="no dataset here"):
        open_loader(str(damaged))


def test_a_path_that_leaves_the_dataset_is_refused(tmp_path):
    for path in ("../shard-00000.arrow", "/etc/passwd", "s3://other/shard-00000.arrow"):
        write_dataset(
            str(tmp_path),
            change_receipts=lambda receipts, path=path: [receipts[0].model_copy(update={"path": path}), *receipts[1:]],
        )
        with pytest.raises(ShardCorruptError, match="leaves the dataset"):
            open_loader(str(tmp_path))


def test_a_newer_major_version_is_refused_in_words(tmp_path):
    write_dataset(str(tmp_path), schema_version="3.0")
    with pytest.raises(ConfigError, match=r"found 3\.0"):
        open_loader(str(tmp_path))


def test_a_table_that_contradicts_the_manifest_is_refused(tmp_path):
    write_dataset(str(tmp_path / "fewer"), change_receipts=lambda receipts: receipts[:-1])
    with pytest.raises(ShardCorruptError, match="number of rows"):
        open_loader(str(tmp_path / "fewer"))

    def move_a_row(receipts):
        return [receipts[0].model_copy(update={"rows": 22}), receipts[1].model_copy(update={"rows": 1}), *receipts[2:]]

    write_dataset(str(tmp_path / "moved"), change_receipts=move_a_row)
    with pytest.raises(ShardCorruptError, match="the number of blocks"):
        open_loader(str(tmp_path / "moved"))

    def shift_a_row(receipts):
        return [
            receipts[0].model_copy(update={"rows": 22}),
            *receipts[1:5],
            receipts[5].model_copy(update={"rows": 10}),
            receipts[6],
        ]

    write_dataset(str(tmp_path / "shifted"), change_receipts=shift_a_row)
    with pytest.raises(ShardCorruptError, match="a block and the table of shards disagree on the number of rows"):
        list(open_loader(str(tmp_path / "shifted")).epochs(1))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"global_batch_rows": NUM_ROWS + 1}, f"smaller than one global batch; expected at least {NUM_ROWS + 1} rows"),
        ({"world_size": 3}, "the world size does not divide the global batch; expected one of 1, 2, 4, 8"),
        ({"global_batch_rows": 0}, "no such global_batch_rows; expected a whole number from 1 to "),
        ({"global_batch_rows": -8}, "no such global_batch_rows"),
        ({"global_batch_rows": True}, "no such global_batch_rows"),
        ({"global_batch_rows": 8.0}, "no such global_batch_rows"),
        ({"global_batch_rows": "8"}, "no such global_batch_rows"),
        ({"global_batch_rows": 10**12}, "no such global_batch_rows"),
        ({"global_batch_rows": 1 << 24, "world_size": 3}, "smaller than one global batch"),
        ({"world_size": 0}, "no such world_size"),
        ({"world_size": 2.0}, "no such world_size"),
        ({"rank": 0.0}, "no such rank"),
        ({"seed": 1.5}, "no such seed"),
        ({"shuffle_blocks": 1.5}, "no such shuffle_blocks"),
        ({"cache": "/folder"}, "no such cache"),
        ({"rank": 2, "world_size": 2}, "no such rank"),
        ({"rank": -1, "world_size": 2}, "no such rank"),
        ({"partitions": 3}, "the partitions do not divide"),
        ({"partitions": 0}, "no such partitions"),
        ({"shuffle_blocks": 0}, "shuffle_blocks"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"micro_batch_rows": 3}, "expected a divisor of 8"),
        ({"micro_batch_rows": 0}, "no such micro_batch_rows"),
        ({"micro_batch_rows": 4.0}, "no such micro_batch_rows"),
        ({"masking": "dynamic"}, 'a Masking or "static"'),
    ],
)  # fmt: skip
def test_settings_that_give_no_equal_batches_are_refused(dataset, settings, words):
    with pytest.raises(ConfigError) as caught:
        open_loader(dataset, **settings)
    assert words in str(caught.value)


def test_stored_masks_must_be_there(tmp_path):
    write_dataset(str(tmp_path), copies=0)
    with pytest.raises(ConfigError, match="no stored masks"):
        open_loader(str(tmp_path), masking="static")
    assert len(list(open_loader(str(tmp_path)).epochs(1))) == NUM_ROWS // 8


def test_more_stored_masks_than_the_manifest_allows_are_refused(tmp_path):
    """They would be written past the end of their place in memory."""
    write_dataset(str(tmp_path), masking=STATIC_MASKING.model_copy(update={"rate": 0.1}))
    with pytest.raises(ShardCorruptError, match=r"block \d+: .*column mask_0_positions: a list column has more values"):
        list(open_loader(str(tmp_path), masking="static").epochs(1))


class Corrupting:
    """Answers of a remote store with a bit flipped, as often as asked, in every block."""

    def __init__(self, monkeypatch, times):
        self.asked = {}
        read_range = Store.read_range

        def read(store, path, offset, length):
            data = read_range(store, path, offset, length)
            if not path.startswith("shard-"):
                return data
            count = self.asked[path, offset] = self.asked.get((path, offset), 0) + 1
            return data[:-1] + bytes([data[-1] ^ 1]) if count <= times else data

        monkeypatch.setattr(Store, "read_range", read)


def one_by_one(url):
    """A loader that asks for blocks one at a time: its cache cannot hold the shards."""
    return open_loader(url, partitions=8, cache=Cache(fetch="block"))


def test_a_block_damaged_on_its_way_is_fetched_once_more(dataset, remote, monkeypatch):
    expected = list(open_loader(dataset, partitions=8).epochs(1))
    answers = Corrupting(monkeypatch, times=1)
    served = list(one_by_one(remote).epochs(1))
    assert len(served) == len(expected)
    assert all(map(equal_batches, served, expected))
    assert max(answers.asked.values()) == 2


def test_a_block_damaged_twice_is_corrupt_and_not_kept(remote, cache_home, monkeypatch):
    answers = Corrupting(monkeypatch, times=2)
    with pytest.raises(ShardCorruptError, match=r"memory://.*shard-0000\d.arrow, block \d+: .*expected xxh3"):
        next(iter(one_by_one(remote)))
    assert max(answers.asked.values()) == 2
    for path in find_blocks(cache_home):
        assert os.path.getsize(path)


def test_a_remote_shard_cut_short_or_gone_is_corrupt(remote):
    store = open_store(remote)
    data = store.read_bytes("shard-00002.arrow")
    store.write_bytes("shard-00002.arrow", data[: len(data) // 2])
    with pytest.raises(ShardCorruptError, match=r"shard-00002.arrow, block \d+"):
        list(open_loader(remote).epochs(1))
    store.delete("shard-00002.arrow")
    with pytest.raises(ShardCorruptError, match=r"shard-00002.arrow: .*gone"):
        list(open_loader(remote).epochs(1))


@pytest.mark.parametrize("place", [0, 0.5, 0.999])
def test_a_bit_flipped_in_the_cache_is_mended_from_the_store(dataset, remote, cache_home, place):
    expected = list(open_loader(dataset).epochs(1))
    list(open_loader(remote).epochs(1))
    for path in find_blocks(cache_home):
        flip_bit(path, int(os.path.getsize(path) * place))
    served = list(open_loader(remote).epochs(1))
    assert len(served) == len(expected)
    assert all(map(equal_batches, served, expected))


def test_a_bit_flipped_in_the_cache_and_in_the_store_is_corrupt(remote, cache_home, monkeypatch):
    """Whatever the cache and the store say, no row of such a block is given out."""
    list(open_loader(remote).epochs(1))
    for path in find_blocks(cache_home):
        flip_bit(path, os.path.getsize(path) // 2)
    answers = Corrupting(monkeypatch, times=9)
    with pytest.raises(ShardCorruptError, match=r"memory://.*shard-0000\d.arrow, block \d+: .*found [0-9a-f]{16}"):
        next(iter(open_loader(remote).epochs(1)))
    assert max(answers.asked.values()) == 2


@pytest.mark.parametrize("size", [0, 100, -1, 1])
def test_a_block_of_another_length_in_the_cache_is_fetched_again(dataset, remote, cache_home, size):
    list(open_loader(remote).epochs(1))
    for path in find_blocks(cache_home):
        os.truncate(path, size if size > 1 or not size else os.path.getsize(path) + size)
    served = list(open_loader(remote).epochs(1))
    expected = list(open_loader(dataset).epochs(1))
    assert len(served) == len(expected)
    assert all(map(equal_batches, served, expected))


def test_a_damaged_table_in_the_cache_is_fetched_again(remote, cache_home):
    open_loader(remote)
    (path,) = [f"{root}/shards.arrow" for root, _, names in os.walk(cache_home) if "shards.arrow" in names]
    good = Path(path).read_bytes()
    for damaged in (good[:-5], good[:900] + b"x" + good[901:], b""):
        Path(path).write_bytes(damaged)
        open_loader(remote)
        assert Path(path).read_bytes() == good


def test_a_damaged_remote_table_opens_no_dataset(remote, cache_home):
    store = open_store(remote)
    good = store.read_bytes("shards.arrow")
    store.write_bytes("shards.arrow", good[:900] + b"x" + good[901:])
    with pytest.raises(ShardCorruptError, match=r"memory://.*shards.arrow: "):
        open_loader(remote)
    store.delete("shards.arrow")
    with pytest.raises(ShardCorruptError, match=r"memory://.*shards.arrow: .*gone"):
        open_loader(remote)
    assert not any("shards.arrow" in name for _, _, names in os.walk(cache_home) for name in names)


def test_stale_is_not_corrupt():
    assert not issubclass(StaleArtifactError, ShardCorruptError)
