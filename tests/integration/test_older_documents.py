"""Documents that an earlier version wrote, with the path and the line of each, are read as today's are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from maskmill.pipeline.run.prepare import prepare
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.datasets import read_manifest, write_manifest
from maskmill.pipeline.storage.shard_table import read_shard_table, write_shard_table
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.verification.verify_output import verify_output
from maskmill.schemas.documents import PLACED_DOCUMENT_SCHEMA, PLACED_QUARANTINE_SCHEMA
from maskmill.schemas.manifest import DocumentsManifest
from maskmill.schemas.run_file import RunFile
from tests.integration.runs import read_tree
from tests.integration.shards import read_rows


def run_file(folder: Path) -> RunFile:
    sections: dict[str, Any] = {
        "input": {"paths": [f"{folder}/*.jsonl"], "max_quarantined": 1.0},
        "documents": {"shard_mb": 0.005, "held_out": 0.1},
        "output": {"url": str(folder / "out")},
        "tokenizer": {"vocab_size": 300},
        "pack": {"seq_len": 64, "split": "never"},
        "engine": {"workers": 1},
    }
    return RunFile.model_validate(sections)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    texts = [f"{number} some words of a document " * (1 + number % 12) for number in range(200)]
    lines = [json.dumps({"text": text}) for text in texts]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, "broken"]))
    prepare(run_file(tmp_path))
    return tmp_path


def write_as_before(output: Store) -> None:
    """Write the documents and the quarantined inputs as version 2.0 did."""
    for folder in ("documents", "documents-heldout"):
        dataset = output.below(folder)
        manifest = read_manifest(dataset, DocumentsManifest)
        shards = read_shard_table(dataset, manifest)
        receipts = []
        for shard in range(len(shards)):
            path = f"{folder}/{shards.path(shard)}"
            reader = pa.ipc.open_file(output.read_bytes(path))
            batches = []
            for number in range(reader.num_record_batches):
                columns = reader.get_batch(number).to_pydict()
                places = [doc_id.rpartition("#") for doc_id in columns["doc_id"]]
                columns |= {"path": [place[0] for place in places], "line": [int(place[2]) for place in places]}
                batches.append(pa.RecordBatch.from_pydict(columns, PLACED_DOCUMENT_SCHEMA))
            text_bytes = int(shards.text_bytes[shard])
            written = write_blocks(output, path, PLACED_DOCUMENT_SCHEMA, batches, text_bytes=text_bytes)
            receipts.append(written.model_copy(update={"first_row_id": shard << 32}))
        num_shards, checksum = write_shard_table(output, folder, receipts)
        older = {"schema_version": "2.0", "num_shards": num_shards, "shards_checksum": checksum}
        write_manifest(output, folder, manifest.model_copy(update=older))
    (path,) = [path for path in output.list("quarantine") if "packed" not in path]
    table = pa.ipc.open_file(output.read_bytes(path)).read_all().drop_columns(["first_byte"])
    batches = [pa.RecordBatch.from_pydict(table.to_pydict(), PLACED_QUARANTINE_SCHEMA)]
    write_blocks(output, path, PLACED_QUARANTINE_SCHEMA, batches)


def find_faults(output: Path) -> list[str]:
    verified = verify_output(open_store(str(output)), lambda *_: None)
    return [str(finding) for part in verified for finding in part.findings]


def test_older_documents_are_verified_and_packed_as_todays(made: Path) -> None:
    output = made / "out"
    before = read_tree(output)
    assert read_rows(next((output / "quarantine").glob("packed-shard-*")))[0]["doc_id"].startswith("a.jsonl#")
    for path in [*output.glob("packed*"), output / "tokenizer", *(output / "quarantine").glob("packed*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_as_before(open_store(str(output)))
    prepare(run_file(made))
    assert find_faults(output) == []
    after = read_tree(output)
    assert after.keys() == before.keys()
    names = ("/tokenizer.json", "/vocab.txt", ".arrow")
    same = [path for path in before if path.endswith(names) and not path.startswith(("documents", "quarantine/inputs"))]
    assert {path.split("/")[0] for path in same} == {"tokenizer", "packed", "packed-heldout", "quarantine"}
    assert [path for path in same if after[path] != before[path]] == []


def test_columns_of_the_other_version_are_refused(made: Path) -> None:
    """A manifest of today with shards of before is not what any version wrote."""
    output = open_store(str(made / "out"))
    write_as_before(output)
    manifest = read_manifest(output.below("documents"), DocumentsManifest)
    write_manifest(output, "documents", manifest.model_copy(update={"schema_version": "2.4"}))
    assert any("the schema is not the expected one" in fault for fault in find_faults(made / "out"))
