"""A dataset that is opened to look at gives every row as plain pyarrow reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from maskmill import open_dataset
from maskmill.errors import ConfigError, ShardCorruptError
from maskmill.pipeline.dataset import Dataset, Row
from maskmill.pipeline.storage.store import open_store
from tests.loader.datasets import COPIES, NUM_ROWS, write_dataset


def read_plainly(folder: Path) -> list[dict[str, Any]]:
    """Every row, by pyarrow alone."""
    rows = []
    for path in sorted(folder.glob("shard-*.arrow")):
        shard, _, part = path.stem.removeprefix("shard-").partition("-")
        first = int(shard) << 32
        if part and int(part):
            first = rows[-1]["row_id"] + 1
        table = pa.ipc.open_file(path.read_bytes()).read_all().to_pylist()
        rows += [{"row_id": first + number} | row for number, row in enumerate(table)]
    return rows


def as_plain(row: Row) -> dict[str, Any]:
    plain = {name: value for name, value in vars(row).items() if name != "masks" and value is not None}
    for copy, mask in enumerate(row.masks):
        plain |= {f"mask_{copy}_{name}": values for name, values in mask._asdict().items()}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in plain.items()}


@pytest.mark.parametrize(
    "layout", [{}, {"rows_per_shard": 5}, {"copies": 0, "sequences": "full_sentences"}, {"pairs": "nsp"}]
)
def test_every_row_is_what_plain_arrow_reads(tmp_path: Path, layout: dict[str, Any]) -> None:
    manifest = write_dataset(f"{tmp_path}/packed", **layout)
    dataset = open_dataset(tmp_path / "packed")
    expected = read_plainly(tmp_path / "packed")
    assert dataset.manifest == manifest
    assert len(dataset) == NUM_ROWS == len(expected)
    assert [as_plain(row) for row in dataset] == expected
    for place in np.random.default_rng(1).integers(-NUM_ROWS, NUM_ROWS, 40):
        assert as_plain(dataset[place]) == expected[place]
    assert len(dataset[0].masks) == layout.get("copies", COPIES)


def test_rows_are_read_from_an_object_store(tmp_path: Path) -> None:
    """The same rows wherever the dataset is; a block is read once for all of its rows in turn."""
    write_dataset(f"{tmp_path}/packed")
    store = open_store("memory://looked-at")
    for path in (tmp_path / "packed").iterdir():
        store.write_bytes(path.name, path.read_bytes())
    remote, local = open_dataset("memory://looked-at"), open_dataset(f"{tmp_path}/packed")
    assert [as_plain(row) for row in remote] == [as_plain(row) for row in local]


@pytest.mark.parametrize("row", [NUM_ROWS, -NUM_ROWS - 1, 1.0, "0", True, None])
def test_a_row_that_is_not_there_is_refused(tmp_path: Path, row: Any) -> None:
    write_dataset(f"{tmp_path}/packed")
    with pytest.raises(ConfigError, match=f"row: the row does not exist; expected a whole number below {NUM_ROWS}"):
        open_dataset(f"{tmp_path}/packed")[row]


def test_damaged_rows_are_refused_when_they_are_read(tmp_path: Path) -> None:
    write_dataset(f"{tmp_path}/packed")
    dataset = open_dataset(f"{tmp_path}/packed")
    path = tmp_path / "packed" / "shard-00002.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ShardCorruptError, match=r"shard-00002\.arrow"):
        list(dataset)
    path.unlink()
    fresh: Dataset = open_dataset(f"{tmp_path}/packed")
    with pytest.raises(ShardCorruptError, match=r"shard-00002\.arrow: the shard is gone"):
        list(fresh)
    with pytest.raises(ShardCorruptError, match=r"tokenizer\.json"):
        dataset.tokenizer.get_vocab_size()
