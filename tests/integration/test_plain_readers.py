"""Packed shards are plain Arrow files: `datasets` and pyarrow read them where maskmill is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.integration.conftest import Undisturbed
from tests.integration.shards import read_shards

BLOCK_OURS = """
import json, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("maskmill", "tests"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Refuse())
"""


def run_elsewhere(program: str, argument: str, folder: Path) -> object:
    """Run a program without maskmill, offline; gives back the JSON it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(folder / "hf"), "HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", BLOCK_OURS + program, argument]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_datasets_reads_all_rows(undisturbed: Undisturbed, tmp_path: Path) -> None:
    program = """
from datasets import load_dataset, disable_progress_bars
disable_progress_bars()
rows = load_dataset("arrow", data_files=sys.argv[1], split="train")
print(json.dumps({"names": rows.column_names, "rows": rows[:]}))
"""
    found = run_elsewhere(program, str(undisturbed.output / "packed" / "shard-*.arrow"), tmp_path)
    expected = [row for shard in read_shards(undisturbed.output / "packed") for row in shard]
    assert isinstance(found, dict)
    assert len(found["names"]) == 5 + 3 * 2
    assert found["rows"] == {name: [row[name] for row in expected] for name in found["names"]}


def test_pyarrow_maps_the_files(undisturbed: Undisturbed, tmp_path: Path) -> None:
    program = """
import glob
import pyarrow as pa, pyarrow.dataset
files = sorted(glob.glob(sys.argv[1]))
by_file = [pa.ipc.open_file(pa.memory_map(name)).read_all() for name in files]
assert all(table.validate(full=True) is None for table in by_file)
table = pyarrow.dataset.dataset(files, format="ipc").to_table()
assert table.equals(pa.concat_tables(by_file))
print(json.dumps({"types": {f.name: str(f.type) for f in table.schema}, "ids": table["input_ids"].to_pylist(),
                  "kind": table.schema.metadata[b"maskmill_kind"].decode()}))
"""
    found = run_elsewhere(program, str(undisturbed.output / "packed" / "shard-*.arrow"), tmp_path)
    expected = [row for shard in read_shards(undisturbed.output / "packed") for row in shard]
    assert isinstance(found, dict)
    assert found["ids"] == [row["input_ids"] for row in expected]
    assert found["kind"] == "packed"
    assert found["types"]["input_ids"].startswith("fixed_size_list<item: uint16")
    assert found["types"]["segment_document"].startswith("list<item: uint64")
