"""Law 9: a dataset whose writer lies, with every checksum right, ends in an error of the loader and of `verify`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xxhash

from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.datasets import write_manifest
from maskmill.pipeline.storage.shard_table import write_shard_table
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.verification.verify_output import verify_output
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.receipt import ShardReceipt
from maskmill.schemas.rows import Compression, packed_row_schema
from tests.loader.datasets import write_dataset
from tests.storage.crafted import change_block
from tests.storage.damaged_rows import DAMAGE

ROOT = Path(__file__).parents[2]
READ = """
import json, resource, sys
from maskmill.schemas.errors import MaskmillError
from maskmill.pipeline.loader import MaskedBatches, Masking
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.verification.verify_output import verify_output

def load(url, masking):
    try:
        return len(list(MaskedBatches(url, global_batch_rows=8, masking=masking).epochs(2)))
    except MaskmillError as error:
        return str(error)

for url in sys.argv[1:]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {masking: load(url, "static" if masking == "static" else Masking()) for masking in ("static", "drawn")}
    try:
        parts = list(verify_output(open_store(url), lambda *_: None))
        found["verify"] = [str(one) for part in parts for one in part.findings]
    except MaskmillError as error:
        found["verify"] = [str(error)]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    print(json.dumps([url, found, grown]), flush=True)
"""
SMALL = (8,) * 3
Receipts = list[ShardReceipt]


@dataclass
class Honest:
    """A dataset to copy and change.

    Attributes:
        folder: Where it is.
        manifest: Its manifest.
        receipts: Of its shards.
    """

    folder: Path
    manifest: PackedManifest
    receipts: Receipts

    def copy(self, name: str, change: Callable[[Any, Receipts], Receipts], **changes: Any) -> str:
        """A copy with other receipts or another manifest, every checksum right."""
        url = str(self.folder.parent / name)
        shutil.copytree(self.folder, url)
        store = open_store(str(self.folder.parent))
        receipts = [one.model_copy(update={"path": one.path.replace(self.folder.name, name)}) for one in self.receipts]
        num_shards, checksum = write_shard_table(store, name, change(store, receipts))
        changes |= {"num_shards": num_shards, "shards_checksum": checksum}
        write_manifest(store, name, self.manifest.model_copy(update=changes))
        return url


def write_honest(folder: Path) -> Honest:
    kept: Receipts = []

    def keep(receipts: Receipts) -> Receipts:
        kept.extend(receipts)
        return receipts

    manifest = write_dataset(str(folder), shard_rows=SMALL, change_receipts=keep)
    return Honest(folder, manifest, kept)


def change_first(**changes: Any) -> Callable[[Any, Receipts], Receipts]:
    return lambda _, receipts: [receipts[0].model_copy(update=changes), *receipts[1:]]


def leave_gap(store: Any, receipt: ShardReceipt, block: int, num_bytes: int) -> ShardReceipt:
    """Move a block and those behind it, in the file too where there is a store to write it to."""
    offsets = receipt.block_offsets
    moved = [offset + num_bytes * (number >= block) for number, offset in enumerate(offsets)]
    changes: dict[str, Any] = {"block_offsets": moved, "size_bytes": receipt.size_bytes + num_bytes}
    if store is not None:
        data = store.read_bytes(receipt.path)
        data = data[: offsets[block]] + bytes(num_bytes) + data[offsets[block] :]
        store.write_bytes(receipt.path, data)
        changes["checksum"] = xxhash.xxh3_128_hexdigest(data)
    return receipt.model_copy(update=changes)


def write_bomb(codec: Compression) -> Callable[[Any, Receipts], Receipts]:
    """The first shard has the same block twice, which is small only while it is compressed."""

    def change(store: Any, receipts: Receipts) -> Receipts:
        block = many_segments(packed_row_schema(32, 300, 2))
        written = write_blocks(store, receipts[0].path, block.schema, [block] * 2, compression=codec)
        others = [write_again(store, receipt, codec) for receipt in receipts[1:]]
        return [written, *others]

    return change


def write_again(store: Any, receipt: ShardReceipt, codec: Compression) -> ShardReceipt:
    table = pa.ipc.open_file(store.read_bytes(receipt.path)).read_all()
    return write_blocks(
        store, receipt.path, table.schema, table.to_batches(), first_row_id=receipt.first_row_id, compression=codec
    )


def many_segments(schema: pa.Schema) -> pa.RecordBatch:
    """Four rows with five million values each in a column that no loader reads; compressed it is 10 KB."""
    values = {"input_ids": [[2, *[7] * 30, 3]] * 4, "sequence_lengths": [[32]] * 4, "segment_lengths": [[32]] * 4}
    values["segment_document"] = [[0] * 5_000_000] * 4
    columns = [pa.array(values.get(field.name, [[]] * 4), field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


TABLES: dict[str, tuple[Callable[[Any, Receipts], Receipts], str]] = {
    "fewer lengths": (lambda _, r: [r[0].model_copy(update={"block_lengths": r[0].block_lengths[:1]}), *r[1:]],
                      "differ in number"),
    "more checksums": (change_first(block_checksums=[1, 2, 3]), "differ in number"),
    "no offsets": (change_first(block_offsets=[]), "differ in number"),
    "offsets beyond the file": (change_first(block_offsets=[1 << 40, 1 << 41]), "overlap or leave their file"),
    "offsets of 2^63": (change_first(block_offsets=[1 << 63, (1 << 64) - 8]), "overlap or leave their file"),
    "offsets that fall": (lambda _, r: [r[0].model_copy(update={"block_offsets": r[0].block_offsets[::-1]}), *r[1:]],
                          "overlap or leave their file"),
    "blocks that overlap": (change_first(block_offsets=[1008, 1008]), "overlap or leave their file"),
    "a gap of 32 TiB": (lambda _, r: [leave_gap(None, r[0], 1, 1 << 45), *r[1:]], "a gap between them"),
    "a gap of 8 bytes": (lambda store, r: [leave_gap(store, r[0], 1, 8), *r[1:]], "a gap between them"),
    "a gap before the first": (lambda _, r: [leave_gap(None, r[0], 0, 1 << 21), *r[1:]], "longer than its blocks"),
    "a gap behind the last": (change_first(size_bytes=1 << 45), "longer than its blocks"),
    "a file of no blocks": (change_first(rows=0, size_bytes=1 << 45, block_offsets=[], block_lengths=[],
                                         block_checksums=[]), "longer than its blocks"),
    "blocks of 4 GiB": (change_first(block_lengths=[(1 << 32) - 1] * 2), "overlap or leave their file"),
    "rows of 2^63": (change_first(rows=(1 << 63) + 8), "too large in rows"),
    "rows beyond the document shard": (change_first(first_row_id=(1 << 32) - 4), "beyond those of their document"),
    "a size of 2^63": (change_first(size_bytes=1 << 63), "too large in size_bytes"),
    "a path twice": (lambda _, r: [r[0], r[1].model_copy(update={"path": r[0].path}), r[2]], "path of an earlier"),
    "a path that is long": (change_first(path="a" * 5000), "more than 1024 bytes"),
    "a path with dots": (change_first(path="./shard-00000.arrow"), "leaves the dataset"),
    "an invalid checksum": (change_first(checksum="x"), "an invalid checksum"),
}  # fmt: skip
LONGER = "longer than its rows can be"
BOMBS = {
    "a bomb": (Compression.ZSTD, Compression.ZSTD, "more values than its rows allow"),
    "a bomb in LZ4": (Compression.LZ4, Compression.LZ4, LONGER),
    "a bomb that is said to be none": (Compression.ZSTD, Compression.NONE, "its compression differs from the dataset"),
}
ROWS = [name for name in DAMAGE if ":" not in name or name.startswith(("sequences", "positions"))]
"""Other columns of lists are as these, and each is damaged in the tests of `packed_blocks`."""


def change_shards(damage: Any, blocks: dict[int, int]) -> Callable[[Any, Receipts], Receipts]:
    """Damage a block of some shards."""
    return lambda store, receipts: [
        change_block(store, receipt, blocks[shard], damage) if shard in blocks else receipt
        for shard, receipt in enumerate(receipts)
    ]


def write_all(root: Path) -> dict[str, str]:
    """Every dataset, by its name."""
    honest = write_honest(root / "honest")
    urls = {"honest": str(honest.folder)}
    for number, name in enumerate(ROWS):
        urls[name] = honest.copy(f"rows-{number}", change_shards(DAMAGE[name][0], {1: 0}))
    for number, (name, (change, _)) in enumerate(TABLES.items()):
        urls[name] = honest.copy(f"table-{number}", change)
    for number, (name, (codec, said, _)) in enumerate(BOMBS.items()):
        urls[name] = honest.copy(f"bomb-{number}", write_bomb(codec), compression=said)
    return urls


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the loader and `verify` say of each dataset, by its name; all are read by one process."""
    root = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # of some hundred files
        urls = write_all(root)
    done = subprocess.run(
        [sys.executable, "-c", READ, *urls.values()], capture_output=True, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MALLOC_PERTURB_": "165"},
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    name_of = {url: name for name, url in urls.items()}
    read = {name_of[url]: {**said, "grown": grown} for url, said, grown in lines}
    assert done.returncode == 0, f"{list(urls)[len(read)]}: {done.returncode} {done.stderr[-2000:]}"
    return read


def test_an_honest_dataset_is_read(found: dict[str, Any]) -> None:
    assert (found["honest"]["static"], found["honest"]["drawn"]) == (6, 6)
    assert not any("is invalid" in one for one in found["honest"]["verify"])


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_lie_are_refused_by_loader_and_verify(found: dict[str, Any], name: str) -> None:
    of_masks = ("positions", "mask ids", "labels", "position", "shown id", "label")
    assert "shard-00001.arrow, block 0" in str(found[name]["static"])
    if not any(word in name for word in of_masks):  # a loader that draws masks reads no values of stored ones
        assert "shard-00001.arrow, block 0" in str(found[name]["drawn"])
    assert any("shard-00001.arrow: block 0" in one for one in found[name]["verify"]), found[name]["verify"]


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_lie_open_no_dataset(found: dict[str, Any], name: str) -> None:
    words = TABLES[name][1]
    assert words in found[name]["static"]
    assert found[name]["static"] == found[name]["drawn"]
    assert any(words in one for one in found[name]["verify"]), found[name]["verify"]


@pytest.mark.parametrize("name", BOMBS)
def test_blocks_decompress_to_no_more_than_their_rows(found: dict[str, Any], name: str) -> None:
    words = BOMBS[name][2]
    assert words in found[name]["static"]
    assert words in found[name]["drawn"]
    assert any(words in one for one in found[name]["verify"]), found[name]["verify"]
    assert found[name]["grown"] < 100 << 10  # KiB; the block would take 160 MB


def test_verify_goes_on_behind_a_damaged_shard(tmp_path: Path) -> None:
    honest = write_honest(tmp_path / "honest")
    url = honest.copy("packed", change_shards(DAMAGE["no ids"][0], {0: 1, 2: 0}))
    os.unlink(tmp_path / "packed" / "shard-00001.arrow")
    (verified,) = verify_output(open_store(url), lambda *_: None)
    for shard in range(3):
        assert any(finding.path.endswith(f"shard-0000{shard}.arrow") for finding in verified.findings)
