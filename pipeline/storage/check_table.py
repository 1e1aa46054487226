"""Validate a table of shards before it is used, for any kind of dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from maskmill.pipeline.storage.arrow_views import view_lists, view_numbers
from maskmill.pipeline.storage.packed_blocks import PackedBlocks
from maskmill.pipeline.storage.paths import check_inside
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.manifest import PackedManifest

ROWS_OF_A_DOCUMENT_SHARD = 1 << 32
_HEAD_BYTES = _ALIGNMENT = 8
_MAX_PATH_BYTES = 1024
_MAX_SCHEMA_BYTES = 1 << 20
"""Of what a file has beside its blocks and their places: the schema of 100 static copies, twice, takes 62 KB."""
_PLACE_BYTES = 24  # of a block, in the footer
_BLOCK_FAULTS = (
    "blocks that overlap or leave their file",
    "blocks with a gap between them",
    "a file that is much longer than its blocks",
)
_CHECKSUM = "^[0-9a-f]{32}$"
_SUSPICIOUS = r"^$|^/|/$|//|(^|/)\.|\\|\x00|://"
"""Matches every path that leaves a dataset; calling `check_inside` for each of 100,000 paths takes 0.3 s."""


def check_lines(table: pa.RecordBatch, path: str, dataset: str) -> None:
    """Check the lines of a table, all at once.

    Args:
        table: A record batch of `SHARD_TABLE_SCHEMA`, validated.
        path: Its file, for messages.
        dataset: The dataset, for messages.

    Raises:
        ShardCorruptError: A number is out of range, its lists of blocks do not go together, blocks do not
            follow one another in their file, or a path is not a plain relative one or occurs twice.
    """
    _check_paths(table, path, dataset)
    for name in ("rows", "tokens", "text_bytes", "size_bytes"):
        _refuse(view_numbers(table.column(name)) >= 1 << 63, f"a number that is too large in {name}", path)
    first_row_id, rows = view_numbers(table.column("first_row_id")), view_numbers(table.column("rows"))
    most = np.uint64(ROWS_OF_A_DOCUMENT_SHARD)
    inside = first_row_id % most
    _refuse((rows > most) | (rows > most - inside), "rows numbered beyond those of their document shard", path)
    _check_blocks(table, path)


def _check_blocks(table: pa.RecordBatch, path: str) -> None:
    """Every block has an offset, a length and a checksum, and begins where the one before ends, inside its file."""
    first, offsets = view_lists(table.column("block_offsets"), np.uint64)
    length_first, lengths = view_lists(table.column("block_lengths"), np.uint32)
    checksum_first, _ = view_lists(table.column("block_checksums"), np.uint64)
    same = (first == length_first) & (first == checksum_first)
    _refuse(~same[1:], "offsets, lengths and checksums of blocks that differ in number", path)
    if first[0]:
        _refuse(np.ones(1, np.bool_), "blocks before those of the first shard", path)
    sizes = view_numbers(table.column("size_bytes"))
    shard, fault = _find_wrong_blocks(first, offsets, lengths, sizes)
    _refuse(np.arange(len(table)) == shard, _BLOCK_FAULTS[fault], path)


@njit(cache=True, nogil=True)
def _find_wrong_blocks(first: Any, offsets: Any, lengths: Any, sizes: Any) -> tuple[int, int]:
    """The first shard of which a block is wrong, or -1, and what is; a loop: arrays of 10^8 blocks take gigabytes."""
    for shard in range(len(sizes)):
        end, size, others = np.uint64(_HEAD_BYTES), sizes[shard], sizes[shard]
        for block in range(first[shard], first[shard + 1]):
            offset, length = offsets[block], np.uint64(lengths[block])
            if length == 0 or offset % np.uint64(_ALIGNMENT) or offset < end or offset > size or length > size - offset:
                return shard, 0
            if block > first[shard] and offset > end:
                return shard, 1
            end = offset + length
            others -= length
        if others > np.uint64(_MAX_SCHEMA_BYTES) + np.uint64(_PLACE_BYTES) * np.uint64(first[shard + 1] - first[shard]):
            return shard, 2
    return -1, 0


def _check_paths(table: pa.RecordBatch, path: str, dataset: str) -> None:
    paths, checksums = table.column("path"), table.column("checksum")
    for shard in paths.filter(pc.match_substring_regex(paths, _SUSPICIOUS)):
        check_inside(shard.as_py(), dataset)
    is_long = view_numbers(pc.binary_length(paths)) > _MAX_PATH_BYTES
    _refuse(is_long, f"a path of more than {_MAX_PATH_BYTES} bytes", path)
    wrong = np.zeros(len(paths), np.bool_)  # not by `np.asarray`, which lets Arrow import pandas
    wrong[view_numbers(pc.indices_nonzero(pc.invert(pc.match_substring_regex(checksums, _CHECKSUM))))] = True
    _refuse(wrong, "an invalid checksum", path)
    if len(pc.unique(paths)) < len(paths):
        again = np.ones(len(paths), np.bool_)
        again[np.unique(view_numbers(paths.dictionary_encode().indices), return_index=True)[1]] = False
        _refuse(again, "the path of an earlier shard", path)


def check_packed(
    manifest: PackedManifest,
    rows: npt.NDArray[np.int64],
    first_block: npt.NDArray[np.int64],
    block_lengths: npt.NDArray[np.uint32],
    path: str,
) -> None:
    """Compare the table of a packed dataset with its manifest.

    Args:
        manifest: Of the dataset.
        rows: `(K,)`, of each shard.
        first_block: `(K + 1,)`, of each shard.
        block_lengths: `(N,)`, bytes.
        path: The table's file, for messages.

    Raises:
        ShardCorruptError: They do not go together, or a block is longer than any of such rows may be.
    """
    block_rows, most_bytes = manifest.block_rows, PackedBlocks(manifest).most_bytes
    what = expected = found = None
    if not np.array_equal(np.diff(first_block), -(-rows // block_rows)):
        what = "the number of blocks in the table of shards does not match its rows"
        expected = f"{block_rows} rows in every block but the last of a shard"
    elif int(rows.sum()) != manifest.counts.rows:
        what = "the table of shards and the manifest disagree on the number of rows"
        expected, found = f"{manifest.counts.rows}", f"{int(rows.sum())}"
    elif block_lengths.max(initial=0) > most_bytes:
        what = "the table of shards has a block that is longer than its rows can be"
        expected, found = f"at most {most_bytes} bytes", f"{block_lengths.max()}"
    if what:
        raise ShardCorruptError(what, path=path, expected=expected, found=found, action="write the dataset again")


def _refuse(is_wrong: npt.NDArray[np.bool_], what: str, path: str) -> None:
    """Refuse a table of which some lines are wrong."""
    if is_wrong.any():
        raise ShardCorruptError(
            "the table of shards is invalid",
            path=path,
            place=f"shard {int(np.argmax(is_wrong))}",
            found=what,
            action="write the dataset again",
        )
