"""Mutations of the values of rows: packed rows and their stored masks, documents, token ids of documents."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.hostile.shards import Mutator, change_rows
from tests.hostile.trees import Json
from tests.hostile.values import TEXTS, draw_integer

Draw = random.Random
Change = Callable[[list[Json], Draw], str]


def _row(rows: list[Json], draw: Draw) -> Json:
    return draw.choice(rows)


def ids_beyond(rows: list[Json], draw: Draw) -> str:
    ids = _row(rows, draw)["input_ids"]
    at = draw.randrange(len(ids))
    ids[at] = draw.choice((120, 121, 1000, 65_535, draw_integer(draw, 16)))
    return f"id {ids[at]} at {at}"


def other_ids(rows: list[Json], draw: Draw) -> str:
    """Ids of the vocabulary, special ones among them."""
    ids = _row(rows, draw)["input_ids"]
    at = draw.randrange(len(ids))
    ids[at] = draw.randrange(60) if draw.random() < 0.5 else draw.randrange(5)
    return f"id {ids[at]} at {at}"


def other_list(names: tuple[str, ...], bits: int, rows: list[Json], draw: Draw) -> str:
    """Another value in a list, or another number of values."""
    row = _row(rows, draw)
    name = draw.choice([name for name in names if name in row] or ["sequence_lengths"])
    values: list[Any] = row[name]
    how = draw.choice(("value", "value", "zero", "longer", "shorter", "empty", "endless", "swap", "wraps"))
    if how in ("value", "zero") and values:
        values[draw.randrange(len(values))] = new = 0 if how == "zero" else draw_integer(draw, bits)
        return f"{name}: a value is {new}"
    if how == "longer":
        values.append(draw_integer(draw, bits))
    elif how == "shorter" and values:
        values.pop()
    elif how == "endless":
        values.extend([draw.choice((0, 1, 3))] * draw.choice((11, 100, 70_000)))
    elif how == "swap":
        values.reverse()
    elif how == "wraps" and len(values) > 1:  # the sum is what it was, modulo the width of the numbers
        values[0] = (values[0] + 2 ** (bits - 1)) % 2**bits
        values[1] = (values[1] + 2 ** (bits - 1)) % 2**bits
    else:
        values.clear()
    return f"{name}: {how}, {len(values)} values"


def unequal_masks(rows: list[Json], draw: Draw) -> str:
    """As many positions, ids and labels in all, but not of each row."""
    name = draw.choice(("mask_0_positions", "mask_0_input_ids", "mask_0_labels"))
    full = [row for row in rows if row.get(name)]
    if len(full) < 2:
        return ids_beyond(rows, draw)
    full[0][name], full[-1][name] = full[0][name][:-1], [*full[-1][name], full[0][name][-1]]
    return f"{name}: one moved to another row"


def masks_together(rows: list[Json], draw: Draw) -> str:
    """Masks whose three lists agree, but not with the row."""
    row = _row(rows, draw)
    copy = draw.choice([name[5:-10] for name in row if name.endswith("_positions")] or [""])
    if not copy or not row[f"mask_{copy}_positions"]:
        return ids_beyond(rows, draw)
    masks = [row[f"mask_{copy}_{name}"] for name in ("positions", "input_ids", "labels")]
    how = draw.choice(("place", "label", "shown", "order", "more", "none"))
    if how in ("place", "label", "shown"):
        values = masks[("place", "shown", "label").index(how)]
        values[-1] = draw.choice((values[0], 0, 31, 32, 33, 119, 120, 65_535))
    elif how == "order":
        for values in masks:
            values.reverse()
    else:
        for values in masks:
            values[:] = values + values[-1:] * draw.choice((1, 40, 3000)) if how == "more" else []
    return f"masks of copy {copy}: {how}"


def more_rows(rows: list[Json], draw: Draw) -> str:
    if draw.random() < 0.5:
        rows.append(dict(rows[0]))
        return "a row more"
    rows.pop()
    return "a row fewer"


def same_provenance(rows: list[Json], draw: Draw) -> str:
    """Segments that come from where others come from, or from nowhere."""
    row = _row(rows, draw)
    number = draw.randrange(len(row["segment_document"]))
    row["segment_document"][number] = new = draw.choice((0, 2**32, 2**40, 2**64 - 1, 2**63))
    row["segment_offset"][number] = offset = draw.choice((0, 1, 2**32 - 1))
    return f"segment {number} from {new}, {offset}"


def other_document(rows: list[Json], draw: Draw) -> str:
    """Other texts, ids and sources of a document."""
    row = _row(rows, draw)
    name = draw.choice(list(row))
    if name == "line":
        row[name] = draw_integer(draw)
    else:
        row[name] = draw.choice([*TEXTS, row[name] * 3, "a" * 200_000, "\U0010ffff" * 500, "[MASK] [PAD]", "\0" * 100])
    return f"{name} = {row[name]!r:.60}"


def other_encoding(rows: list[Json], draw: Draw) -> str:
    row = _row(rows, draw)
    how = draw.choice(("beyond", "special", "empty", "endless", "rejected"))
    if how == "rejected":
        row["is_rejected"] = not row["is_rejected"]
    elif how == "endless":
        row["input_ids"] = [draw.choice((0, 7, 110, 65_535))] * draw.choice((33, 5000, 300_000))
    elif how == "empty" or not row["input_ids"]:
        row["input_ids"] = []
    else:
        row["input_ids"][-1] = draw.choice((120, 65_535)) if how == "beyond" else draw.randrange(5)
    return f"{how}, {len(row['input_ids'])} ids"


_MASKS = tuple(f"mask_{copy}_{name}" for copy in range(2) for name in ("positions", "input_ids", "labels"))
PACKED: dict[str, Change] = {
    "ids beyond": ids_beyond,
    "other ids": other_ids,
    "sequences": partial(other_list, ("sequence_lengths",), 16),
    "segments": partial(other_list, ("segment_lengths",), 16),
    "provenance": partial(other_list, ("segment_document",), 64),
    "offsets": partial(other_list, ("segment_offset",), 32),
    "masks": partial(other_list, _MASKS, 16),
    "unequal masks": unequal_masks,
    "masks together": masks_together,
    "more rows": more_rows,
    "same provenance": same_provenance,
}
CHANGES: dict[str, dict[str, Change]] = {
    "packed": PACKED,
    "documents": {"document": other_document, "document again": other_document, "more rows": more_rows},
    "encoded": {"encoding": other_encoding, "more rows": more_rows},
}


def values_of(part: str) -> dict[str, Mutator]:
    """Every mutation of the values of a part's rows."""
    return {name: partial(change_rows, part, change) for name, change in CHANGES[part].items()}
