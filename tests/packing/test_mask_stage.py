"""The mask stage: shards of finished rows with other copies, byte for byte those that packing writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskmill import MaskedBatches, mask
from maskmill.pipeline.dataset import open_dataset
from maskmill.pipeline.loader.cache.cache_settings import Cache
from maskmill.pipeline.packing import mask_stage
from maskmill.pipeline.storage.leases import hold_output
from maskmill.pipeline.storage.shard_table import SHARD_TABLE
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError, ShardCorruptError, StaleArtifactError
from maskmill.schemas.events import StageDone, UnitDone
from maskmill.schemas.masking import Masking
from maskmill.schemas.rows import Compression
from tests.loader.datasets import NUM_ROWS, SHARD_ROWS, write_dataset
from tests.loader.streams import hash_batches

ALONE = {"workers": 1}
WANTED = Masking(rate=0.2, selection="bernoulli", seed=3)


def read_version(url: str, folder: str) -> dict[str, bytes]:
    """The Arrow files of a version, by name."""
    store = open_store(url).below(folder)
    return {name: store.read_bytes(name) for name in store.list() if name.endswith(".arrow")}


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"compression": Compression.ZSTD, "rows_per_shard": 10},
        {"compression": Compression.LZ4, "seq_len": 64, "block_rows": 1},
        {"vocab_size": 70_000, "rows_per_shard": 1},
        {"pairs": "nsp"},
    ],
)
@pytest.mark.parametrize("copies", [0, 1, 3])
@pytest.mark.parametrize("base", ["tmp", "memory"])
def test_the_shards_are_those_of_rows_packed_with_these_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str, copies: int, layout: dict[str, Any]
) -> None:
    monkeypatch.setattr(mask_stage, "BLOCKS_AT_ONCE", 3)
    folder = f"memory://{tmp_path.name}-{copies}" if base == "memory" else str(tmp_path)
    write_dataset(f"{folder}/given", **layout)
    write_dataset(f"{folder}/wanted", copies=copies, stored_masking=WANTED, **layout)
    events: list[Any] = []
    masked = mask(f"{folder}/given", WANTED, copies, events.append, engine=ALONE)
    found = read_version(f"{folder}/given", masked.manifest.shards_folder)
    expected = read_version(f"{folder}/wanted", "")
    shards = {name: data for name, data in expected.items() if name != SHARD_TABLE}
    assert {name: data for name, data in found.items() if name != SHARD_TABLE} == shards
    done = [event for event in events if isinstance(event, UnitDone)]
    assert sum(event.counts["rows"] for event in done) == NUM_ROWS
    assert [event.units for event in events if isinstance(event, StageDone)] == [len(shards)]
    assert [row.row_id for row in open_dataset(f"{folder}/given")] == [
        (shard << 32) + row for shard, rows in enumerate(SHARD_ROWS) for row in range(rows)
    ]


def test_a_unit_holds_few_blocks_of_its_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(f"{tmp_path}/given", shard_rows=(400,), block_rows=1)
    longest = max(open_dataset(tmp_path / "given")._shards.block_lengths.tolist())
    read, lengths = Store.read_range, []

    def measure(store: Store, path: str, offset: int, length: int) -> bytes:
        lengths.append(length)
        return read(store, path, offset, length)

    monkeypatch.setattr(Store, "read_range", measure)
    mask(tmp_path / "given", WANTED, engine=ALONE)
    assert len(lengths) == 400 / mask_stage.BLOCKS_AT_ONCE
    assert max(lengths) <= mask_stage.BLOCKS_AT_ONCE * longest


def test_words_that_are_not_known_are_refused(tmp_path: Path) -> None:
    write_dataset(f"{tmp_path}/given")
    with pytest.raises(ConfigError, match="the words of this dataset are not known"):
        mask(tmp_path / "given", Masking(strategy="whole_word"), engine=ALONE)


@pytest.mark.parametrize("damage", ["nothing", "a shard is gone", "the table has changed", "the table is gone"])
def test_copies_are_removed_by_going_back_to_the_shards_of_packing_if_these_are_whole(
    tmp_path: Path, damage: str
) -> None:
    url = f"{tmp_path}/given"
    write_dataset(url, copies=0)
    rows = [row.input_ids.tolist() for row in open_dataset(url)]
    mask(url, WANTED, 2, engine=ALONE)
    if damage == "a shard is gone":
        (tmp_path / "given" / "shard-00002.arrow").unlink()
    elif damage == "the table has changed":
        (tmp_path / "given" / SHARD_TABLE).write_bytes((tmp_path / "given" / SHARD_TABLE).read_bytes() + b"\0")
    elif damage == "the table is gone":
        (tmp_path / "given" / SHARD_TABLE).unlink()
    events: list[Any] = []
    masked = mask(url, copies=0, on_event=events.append, engine=ALONE)
    assert any(isinstance(event, UnitDone) for event in events) is (damage != "nothing")
    assert bool(masked.manifest.shards_folder) is (damage != "nothing")
    assert [row.input_ids.tolist() for row in open_dataset(url)] == rows
    assert mask(url, copies=0, engine=ALONE).is_unchanged
    with pytest.raises(ConfigError, match="no stored masks"):
        MaskedBatches(url, global_batch_rows=4, masking="static")


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_shard_that_is_not_what_was_written_is_refused(tmp_path: Path, is_gone: bool) -> None:
    write_dataset(f"{tmp_path}/given")
    path = tmp_path / "given" / "shard-00002.arrow"
    before = (tmp_path / "given" / "manifest.json").read_bytes()
    if is_gone:
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[2000] ^= 1
        path.write_bytes(data)
    with pytest.raises(ShardCorruptError, match=r"shard-00002\.arrow"):
        mask(tmp_path / "given", WANTED, engine=ALONE)
    assert (tmp_path / "given" / "manifest.json").read_bytes() == before


def test_a_remote_dataset_and_its_cached_blocks(moto_url: str, tmp_path: Path) -> None:
    url, cache = f"{moto_url}/given", Cache(str(tmp_path / "cache"))
    write_dataset(url)

    def load() -> MaskedBatches:
        return MaskedBatches(url, global_batch_rows=4, masking="static", cache=cache)

    old = hash_batches(list(load().epochs(1)))
    waiting = load()
    mask(url, WANTED, 1, engine=ALONE)
    assert hash_batches(list(load().epochs(1))) == hash_batches(
        list(MaskedBatches(url, global_batch_rows=4, cache=cache).epochs(1))
    )
    assert hash_batches(list(load().epochs(1))) != old
    with pytest.raises(StaleArtifactError, match="the dataset was replaced while it was read"):
        list(waiting.epochs(1))
    reader = open_dataset(url)
    mask(url, WANTED, 2, engine=ALONE, remove_old=True)
    with pytest.raises(StaleArtifactError, match="the dataset was replaced while it was read"):
        list(reader)
    store = open_store(url)
    kept = {path.partition("/")[0] for path in store.list()}
    assert kept == {"manifest.json", open_dataset(url).manifest.shards_folder}


@pytest.mark.parametrize("name", ["shards.arrow", "work/receipts/mask/000001.json", "a.arrow"])
def test_a_shard_with_the_name_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    write_dataset(
        f"{tmp_path}/given",
        change_receipts=lambda receipts: [receipts[0].model_copy(update={"path": f"given/{name}"}), *receipts[1:]],
    )
    before = (tmp_path / "given" / "manifest.json").read_bytes()
    with pytest.raises(ShardCorruptError, match="a shard has another name than packing gives it"):
        mask(tmp_path / "given", WANTED, engine=ALONE)
    assert (tmp_path / "given" / "manifest.json").read_bytes() == before


def test_another_driver_of_the_same_dataset_is_refused_also_behind_a_link(tmp_path: Path) -> None:
    write_dataset(f"{tmp_path}/packed")
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "rows").symlink_to(tmp_path / "packed")
    with hold_output(open_store(str(tmp_path))):
        for path in (tmp_path / "packed", tmp_path / "elsewhere" / "rows"):
            with pytest.raises(ConfigError, match="another driver is at work here"):
                mask(path, WANTED, engine=ALONE)
