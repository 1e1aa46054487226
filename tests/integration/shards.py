"""Reading what a run wrote with pyarrow alone, as rows of plain Python values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

Row = dict[str, Any]


def read_shards(folder: Path, pattern: str = "shard-*.arrow") -> list[list[Row]]:
    """The rows of every Arrow file of a folder, in the order of their names."""
    return [read_rows(path) for path in sorted(folder.glob(pattern))]


def read_rows(path: Path) -> list[Row]:
    """The rows of an Arrow file."""
    rows: list[Row] = pa.ipc.open_file(path.read_bytes()).read_all().to_pylist()
    return rows


def read_manifest(folder: Path) -> dict[str, Any]:
    """A dataset's manifest."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def iter_segments(row: Row) -> Iterator[tuple[int, int, list[int]]]:
    """The segments of a packed row: document, tokens before it in the document, and its places in the row.

    Checks what packing promises of a row of one-segment sequences: `[CLS]` tokens `[SEP]`, padding only at the end.
    """
    assert row["sequence_lengths"] == row["segment_lengths"]
    place = 0
    for length, document, offset in zip(
        row["segment_lengths"], row["segment_document"], row["segment_offset"], strict=True
    ):
        yield document, offset, row["input_ids"][place : place + length]
        place += length
