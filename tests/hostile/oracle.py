"""Right rows, independent of the loader: what plain pyarrow reads of the blocks, after Arrow's own full validation."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from maskmill.schemas.rows import packed_row_schema

IGNORED = -100
Key = tuple[bytes, bytes, bytes]
"""Input ids, labels (of static masks) and numbers of sequences of one row."""


def find_wrong_rows(folder: Path, batches: Iterable[Any], *, static: bool) -> str:
    """What is wrong with served batches: rows that are not stored as they are, or that are stored and not valid.

    Args:
        folder: The packed dataset.
        batches: Of the loader.
        static: Whether stored masks were asked for.
    """
    try:
        valid, reasons = _read_valid_rows(folder, static)
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        return f"rows were served of a file that Arrow refuses: {type(error).__name__} {str(error)[:200]}"
    rows_by_id: dict[int, bytes] = {}
    for batch in batches:
        ids, labels = batch.input_ids.numpy(), batch.labels.numpy()
        if not static:
            ids, labels = np.where(labels == IGNORED, ids, labels), np.full_like(labels, IGNORED)
        rows = zip(ids, labels, batch.segment_ids.numpy(), batch.row_ids.tolist(), strict=True)
        for row_ids, row_labels, segments, row in rows:
            key = _key(row_ids, row_labels, segments)
            if rows_by_id.setdefault(row, key[2]) != key[2]:
                return f"two rows have the number {row}"
            if key not in valid:
                return f"row {row} is not as any valid row is stored" + "".join(f"; stored: {r}" for r in reasons[:3])
    return ""


def find_invalid_block(output: Path, part: str) -> str:
    """The first block of a part, trained on or held out, that Arrow's full validation refuses, or that has nulls."""
    for path in sorted(output.glob(f"{part}*/shard-*.arrow")):
        where = path.relative_to(output)
        try:
            reader = pa.ipc.open_file(path)
            for block in range(reader.num_record_batches):
                batch = reader.get_batch(block)
                batch.validate(full=True)
                if any(column.null_count for column in batch.columns):
                    return f"{where} block {block}: nulls"
        except (pa.ArrowException, OSError, ValueError, EOFError) as error:
            return f"{where}: {type(error).__name__} {str(error)[:150]}"
    return ""


@functools.lru_cache(maxsize=2)
def _read_valid_rows(folder: Path, static: bool) -> tuple[set[Key], list[str]]:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    vocab_size = manifest["vocabulary"]["vocab_size"]
    schema = packed_row_schema(manifest["seq_len"], vocab_size, manifest["copies"])
    copies = manifest["copies"] if static else 0
    valid: set[Key] = set()
    reasons: list[str] = []
    for name, block, data in _iter_blocks(folder):
        batch = pa.ipc.read_record_batch(pa.ipc.read_message(data), schema)
        batch.validate(full=True)
        for place, row in enumerate(batch.to_pylist()):
            for copy in range(copies) if copies else (None,):
                key, reason = _key_of(row, vocab_size, schema.field("input_ids").type.list_size, copy)
                if key is None:
                    reasons.append(f"{name} block {block} row {place}: {reason}")
                else:
                    valid.add(key)
    return valid, reasons


def _iter_blocks(folder: Path) -> Iterator[tuple[str, int, bytes]]:
    """Every block that the table of shards names."""
    table = pa.ipc.open_file(folder / "shards.arrow").read_all()
    table.validate(full=True)
    for line in table.to_pylist():
        data = (folder / line["path"]).read_bytes()
        for block, (offset, length) in enumerate(zip(line["block_offsets"], line["block_lengths"], strict=True)):
            yield line["path"], block, data[offset : offset + length]


def _key_of(row: dict[str, Any], vocab_size: int, seq_len: int, copy: int | None) -> tuple[Key | None, str]:
    ids, lengths = row["input_ids"], row["sequence_lengths"]
    if ids is None or lengths is None or len(ids) != seq_len or None in ids or None in lengths:
        return None, "a null, or a row of another length"
    if max(ids) >= vocab_size:
        return None, "an id beyond the vocabulary"
    if not lengths or min(lengths) < 1 or sum(lengths) > seq_len:
        return None, "sequences that do not fit the row"
    ids, labels = list(ids), [IGNORED] * seq_len
    if copy is not None:
        masks = [row[f"mask_{copy}_{name}"] for name in ("positions", "input_ids", "labels")]
        if None in masks or len({len(values) for values in masks}) > 1:
            return None, "masks of unequal counts"
        for position, shown, label in zip(*masks, strict=True):
            if None in (position, shown, label) or position >= seq_len or max(shown, label) >= vocab_size:
                return None, "a mask out of the row or of the vocabulary"
            ids[position], labels[position] = shown, label
    numbers = itertools.chain.from_iterable([number] * length for number, length in enumerate(lengths, 1))
    segments = list(numbers) + [0] * (seq_len - sum(lengths))
    return _key(ids, labels, segments), ""


def _key(ids: Any, labels: Any, segments: Any) -> Key:
    ids, labels, segments = (np.asarray(values, np.int64).tobytes() for values in (ids, labels, segments))
    return ids, labels, segments
