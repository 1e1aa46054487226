"""Whatever the size of a file, of a row group or of a line, a worker that makes document shards stays below 1 GB."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.peak_memory import measure_peak

MAX_BYTES = 1_000_000_000
TEXT = "All that is read once more is dropped, so that little is written. " * 60


def iter_lines(num_bytes: int) -> Iterator[bytes]:
    """Lines of four kilobytes in pieces of 200 MB, each of the same documents."""
    piece = b"".join(json.dumps({"text": f"{number} {TEXT}"}).encode() + b"\n" for number in range(50_000))
    for _ in range(-(-num_bytes // len(piece))):
        yield piece


def write_jsonl(path: Path) -> None:
    with open(path, "wb") as file:
        file.writelines(iter_lines(3_000_000_000))


def write_gz(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.writelines(iter_lines(2_000_000_000))


def write_parquet(path: Path) -> None:
    texts = pa.array([f"{number} {TEXT}" for number in range(130_000)])
    table = pa.table({"text": texts})
    pq.write_table(table, path, row_group_size=len(texts), compression="none", use_dictionary=False)
    with pq.ParquetFile(path) as file:
        assert file.num_row_groups == 1
        assert file.metadata.row_group(0).total_byte_size >= 500_000_000


def write_line(path: Path) -> None:
    with open(path, "wb") as file:
        file.write(b'{"text": "')
        file.writelines(b"x" * 1_000_000 for _ in range(200))
        file.write(b'"}\n' + next(iter_lines(1)))


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other units")
@pytest.mark.parametrize(
    ("name", "write"),
    [("a.jsonl", write_jsonl), ("a.jsonl.gz", write_gz), ("a.parquet", write_parquet), ("line.jsonl", write_line)],
)
def test_a_worker_stays_below_a_gigabyte(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    run_file = tmp_path / "run.toml"
    run_file.write_text(
        f'[input]\npaths = ["{tmp_path}/{name}"]\n[output]\nurl = "{tmp_path}/out"\n[engine]\nworkers = 1\n'
    )
    command = [sys.executable, "-m", "maskmill", "shard", str(run_file), "--json"]
    peak_bytes = measure_peak(command)
    counts = json.loads((tmp_path / "out" / "documents" / "manifest.json").read_text())["counts"]
    assert counts["written"] + counts["held_out"] == (130_000 if name == "a.parquet" else 50_000)
    assert counts["quarantined"] == (name == "line.jsonl")
    assert peak_bytes < MAX_BYTES
