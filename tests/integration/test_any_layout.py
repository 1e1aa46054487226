"""A corpus gives the same document shards in one file or in many, whatever their format and compression.

Its ids come from a field: without them a document's id is its place in its file.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.corpus import plan_map_units
from maskmill.pipeline.run import make_documents
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import prepare
from maskmill.schemas.events import RunListener
from maskmill.schemas.run_file import RunFile
from tests.integration.runs import read_tree

NUM_FILES = 500
Row = dict[str, str]


def make_rows() -> list[Row]:
    """Documents of all lengths; of each third of them, others have the same text and another id."""
    draw = random.Random(4)
    texts = [f'text "{number}", ñ\nline two ' * draw.choice([1, 2, 30]) for number in range(1000)]
    return [{"id": f"id {number}", "text": draw.choice(texts)} for number in range(1500)]


def write_lines(folder: Path, rows: list[Row], name: str = "all.jsonl") -> None:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_many(folder: Path, rows: list[Row]) -> None:
    for number in range(NUM_FILES):
        write_lines(folder, rows[number * 3 : number * 3 + 3], f"{number:03d}.jsonl")


def write_zstd(folder: Path, rows: list[Row]) -> None:
    with pa.CompressedOutputStream(str(folder / "all.jsonl.zst"), "zstd") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def write_csv(folder: Path, rows: list[Row]) -> None:
    with (folder / "all.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "id"])
        writer.writeheader()
        writer.writerows(rows)


def write_arrow(new: Callable[[str, pa.Schema], Any]) -> Callable[[Path, list[Row]], None]:
    def write(folder: Path, rows: list[Row]) -> None:
        table = pa.Table.from_pylist(rows)
        with new(str(folder / "all.arrow"), table.schema) as writer:
            writer.write_table(table, 100)

    return write


LAYOUTS: dict[str, Callable[[Path, list[Row]], None]] = {
    "many files": write_many,
    "parquet": lambda folder, rows: pq.write_table(pa.Table.from_pylist(rows), folder / "all.parquet", 200),
    "arrow file": write_arrow(pa.ipc.new_file),
    "arrow stream": write_arrow(pa.ipc.new_stream),
    "zstd": write_zstd,
    "csv": write_csv,
}


def write_shards(
    folder: Path,
    rows: list[Row],
    layout: Callable[[Path, list[Row]], None],
    engine: str,
    listen: RunListener = lambda _: None,
) -> Any:
    """The document shards of a corpus in a layout, without what the run's fingerprint is in."""
    corpus, output = folder / "corpus", folder / "out"
    corpus.mkdir(parents=True)
    layout(corpus, rows)
    run = {
        "input": {"paths": [f"{corpus}/*"], "name": "corpus", "id_field": "id"},
        "documents": {"shard_mb": 0.01, "held_out": 0.1},
        "output": {"url": str(output)},
        "engine": {"kind": engine, "workers": 2},
    }
    made = prepare(RunFile.model_validate(run), listen, Part.SHARD)
    parts = read_tree(output, ["documents", "documents-heldout"])
    counts = [manifest.counts.model_dump() for manifest in made.documents]
    return counts, {path: data for path, data in parts.items() if not path.endswith("manifest.json")}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return make_rows()


@pytest.fixture(scope="module")
def one_file(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What one file of JSON lines gives."""
    return write_shards(tmp_path_factory.mktemp("one"), rows, write_lines, "local")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_changes_no_byte(layout: str, rows: list[Row], one_file: Any, tmp_path: Path) -> None:
    counts, shards = write_shards(tmp_path, rows, LAYOUTS[layout], "local")
    assert counts == one_file[0]
    assert shards == one_file[1]
    assert len(shards) > 10


@pytest.mark.parametrize("layout", ["one file", "parquet", "arrow file", "arrow stream", "zstd"])
def test_parts_of_files_change_no_byte(
    layout: str, rows: list[Row], one_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_map_units, "RANGE_BYTES", 5000)
    write = LAYOUTS.get(layout, write_lines)
    assert write_shards(tmp_path, rows, write, "local") == one_file


def test_a_file_that_keeps_one_worker_busy_is_named(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_documents, "RANGE_BYTES", 5000)
    said: list[str] = []
    for name, layout in (("lines", write_lines), ("zstd", LAYOUTS["zstd"])):
        folder = tmp_path / name
        write_shards(folder, rows, layout, "local", lambda event: said.append(str(getattr(event, "message", ""))))
    (note,) = filter(None, said)
    assert note.startswith("all.jsonl.zst, ")
    assert "cannot be read in parts: it is compressed by zstd as a whole; to spread it over workers, write it" in note


@pytest.mark.long
@pytest.mark.parametrize("layout", ["many files", "parquet"])
def test_a_layout_changes_no_byte_on_ray(layout: str, rows: list[Row], one_file: Any, tmp_path: Path) -> None:
    assert write_shards(tmp_path, rows, LAYOUTS[layout], "ray") == one_file


def test_of_equal_texts_the_first_by_file_and_place_stays(rows: list[Row], one_file: Any) -> None:
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row["text"], row["id"])
    shards = [data for path, data in one_file[1].items() if "/shard-" in path]
    documents = [row for data in shards for row in pa.ipc.open_file(data).read_all().to_pylist()]
    assert {row["text"]: row["doc_id"] for row in documents} == first
    assert len(documents) == len(first) < len(rows) - 100
