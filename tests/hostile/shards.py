"""Mutations of shards and their tables: blocks bent, or filled with other values; checksums recomputed."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa

from tests.hostile.arrow_messages import ArrowFile, Message
from tests.hostile.blocks import STRUCTURE, mutate_block
from tests.hostile.trees import Json, Tree
from tests.hostile.values import TEXTS, draw_integer
from tests.storage.shared_parts import make_footer

Draw = random.Random
Mutator = Callable[[Tree, Draw], str]
_SHARD_FOLDERS = {
    "packed": ("packed",),
    "documents": ("documents", "documents", "documents-heldout"),
    "encoded": ("encoded", "encoded", "encoded-heldout"),
}


def structure_of(part: str) -> dict[str, Mutator]:
    """Every mutation of the structure of a block, of the shards of a part."""
    return {name: partial(_bend_block, part, name) for name in STRUCTURE}


def structure_of_table(part: str) -> dict[str, Mutator]:
    """The same of `shards.arrow`."""
    return {name: partial(_bend_table, part, name) for name in STRUCTURE}


def _draw_shard(tree: Tree, part: str, draw: Draw) -> tuple[str, str, ArrowFile, pa.Schema]:
    folder = draw.choice(_SHARD_FOLDERS[part])
    name = draw.choice(tree.list_shards(folder))
    path = tree.output / folder / name
    return folder, name, ArrowFile.parse(path.read_bytes()), pa.ipc.open_file(path).schema


def _bend_block(part: str, mutation: str, tree: Tree, draw: Draw) -> str:
    folder, name, file, schema = _draw_shard(tree, part, draw)
    number = draw.randrange(len(file.blocks))
    file.blocks[number], what = mutate_block(file.blocks[number], schema, mutation, draw)
    tree.write_shard(folder, name, file)
    return f"{folder}/{name} block {number}: {what}"


def _bend_table(part: str, mutation: str, tree: Tree, draw: Draw) -> str:
    folder = draw.choice(_SHARD_FOLDERS[part])
    path = tree.output / folder / "shards.arrow"
    file = ArrowFile.parse(path.read_bytes())
    file.blocks[0], what = mutate_block(file.blocks[0], pa.ipc.open_file(path).schema, mutation, draw)
    tree.write_table(folder, file.pack())
    return f"{folder}/shards.arrow: {what}"


def change_rows(part: str, change: Callable[[list[Json], Draw], str], tree: Tree, draw: Draw) -> str:
    """Rows of a block as Python objects, changed and written again in the same form of storage."""
    folder, name, file, schema = _draw_shard(tree, part, draw)
    number = draw.randrange(len(file.blocks))
    block = pa.ipc.read_record_batch(pa.ipc.read_message(file.blocks[number]), schema)
    rows = block.to_pylist()
    what = change(rows, draw)
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in schema]
    compression = Message.parse(file.blocks[number]).batch().table(3)
    codec = None if compression is None else ("zstd" if compression.find(0) else "lz4")
    file.blocks[number] = Message.of_batch(pa.record_batch(columns, schema), codec).pack()
    tree.write_shard(folder, name, file)
    return f"{folder}/{name} block {number}: {what}"


def other_lines(part: str, tree: Tree, draw: Draw) -> str:
    """Other values in the lines of `shards.arrow`."""
    folder = draw.choice(_SHARD_FOLDERS[part])
    what = ""

    def change(lines: list[Json]) -> None:
        nonlocal what
        line = draw.choice(lines)
        name = draw.choice(list(line))
        line[name] = new = _other(name, line[name], draw)
        what = f"{name} of {line['path']!r} = {new!r:.80}"

    tree.change_table(folder, change)
    return f"{folder}/shards.arrow: {what}"


def _other(name: str, old: Any, draw: Draw) -> Any:
    if isinstance(old, str):
        return draw.choice([*TEXTS, old + "x", "shard-00001.arrow", "shards.arrow", "manifest.json", "."])
    if isinstance(old, int):
        return draw.choice(
            [draw_integer(draw), max(0, old - 1), old + 1, old + 2**32, old + 2**63 if old < 2**63 else 0]
        )
    bits = 32 if name == "block_lengths" else 64
    how = draw.choice(("longer", "shorter", "empty", "one", "swap", "endless"))
    if how == "longer":
        return [*old, draw.choice([old[-1] if old else 0, draw_integer(draw, bits)])]
    if how == "shorter":
        return old[:-1]
    if how == "one" and old:
        at = draw.randrange(len(old))
        return [*old[:at], draw_integer(draw, bits), *old[at + 1 :]]
    if how == "swap":
        return old[::-1]
    return [1] * 100_000 if how == "endless" else []


def unequal_lists(part: str, tree: Tree, draw: Draw) -> str:
    """As many blocks in all as there were, but other ones of each shard."""
    folder = draw.choice(_SHARD_FOLDERS[part])
    moved = draw.choice(
        (("block_lengths",), ("block_checksums",), ("block_offsets",), ("block_lengths", "block_offsets"))
    )

    def change(lines: list[Json]) -> None:
        if len(lines) < 2:
            lines[0][moved[0]] = lines[0][moved[0]][1:]
        for name in moved:
            lines[0][name], lines[-1][name] = lines[0][name][1:], [*lines[-1][name], *lines[0][name][:1]]

    tree.change_table(folder, change)
    return f"{folder}/shards.arrow: a block of the first shard moved to the last, of {moved}"


def other_shards(part: str, tree: Tree, draw: Draw) -> str:
    """Lines that are missing, doubled or reordered, with or without a matching manifest."""
    folder = draw.choice(_SHARD_FOLDERS[part])
    how = draw.choice(("gone", "doubled", "reversed", "none"))

    def change(lines: list[Json]) -> None:
        if how == "gone":
            del lines[draw.randrange(len(lines))]
        elif how == "doubled":
            lines.append(dict(lines[0]))
        elif how == "reversed":
            lines.reverse()
        else:
            lines.clear()

    tree.change_table(folder, change)
    if draw.random() < 0.7:
        lines = len(pa.ipc.open_file(tree.output / folder / "shards.arrow").read_all())
        tree.write_manifest(folder, tree.read_json(f"{folder}/manifest.json") | {"num_shards": lines})
    return f"{folder}/shards.arrow: lines {how}"


def other_schema(part: str, tree: Tree, draw: Draw) -> str:
    """`shards.arrow` with other columns, or none, or in several batches."""
    folder = draw.choice(_SHARD_FOLDERS[part])
    table = pa.ipc.open_file(tree.output / folder / "shards.arrow").read_all()
    how = draw.choice(("dropped", "renamed", "type", "batches", "dictionary", "nullable"))
    at = draw.randrange(len(table.schema))
    field = table.schema.field(at)
    if how == "dropped":
        table = table.drop_columns([field.name])
    elif how == "renamed":
        table = table.rename_columns([name if name != field.name else "other" for name in table.column_names])
    elif how == "type":
        column = draw.choice([pa.nulls(len(table)), pa.array([1.5] * len(table)), pa.array([True] * len(table))])
        table = table.set_column(at, field.name, column)
    elif how == "dictionary":
        table = table.set_column(0, "path", table["path"].dictionary_encode())
    elif how == "nullable":
        column = pa.array([None] * len(table), field.type)
        table = table.set_column(at, pa.field(field.name, field.type), column)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1 if how == "batches" else None)
    tree.write_table(folder, sink.getvalue().to_pybytes())
    return f"{folder}/shards.arrow: {how}, column {field.name}"


def other_file(part: str, tree: Tree, draw: Draw) -> str:
    """A shard that is cut, longer, or another file, with its checksums recomputed."""
    folder, name, file, _ = _draw_shard(tree, part, draw)
    how = draw.choice(("no blocks", "doubled block", "footer", "head", "shared"))
    if how == "no blocks":
        file.blocks = [b"" for _ in file.blocks]
    elif how == "doubled block":
        file.blocks = [file.blocks[0]] * len(file.blocks)
    elif how == "footer":
        at = draw.randrange(len(file.footer))
        file.footer[at] ^= draw.randrange(1, 256)
    elif how == "shared":
        where, count, length = draw.choice((("footer", 5000, 100_000), ("schema", 5000, 100_000), ("columns", 20, 0)))
        file.footer = bytearray(make_footer(len(file.blocks), where, count, length))
        how = f"{count} {where} of one part"
    else:
        head = bytearray(file.head)
        head[draw.randrange(len(head))] ^= draw.randrange(1, 256)
        file.head = bytes(head)
    tree.write_shard(folder, name, file)
    return f"{folder}/{name}: {how}"


def tables_of(part: str) -> dict[str, Mutator]:
    """Every mutation of a table's values."""
    return {
        "line": partial(other_lines, part),
        "line again": partial(other_lines, part),
        "unequal lists": partial(unequal_lists, part),
        "lines": partial(other_shards, part),
        "schema": partial(other_schema, part),
        "file": partial(other_file, part),
    }
