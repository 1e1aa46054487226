"""The first part of `maskmill prepare` alone: raw files to shuffled, deduplicated document shards.

On one core beside datatrove, which merely reads the same files and writes their documents as Parquet; then over
2 GB by two workers beside one. Copies of a corpus differ in each document's first words, so that none is a duplicate.
Both are whole commands, start of Python and all.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from maskmill.pipeline.storage.datasets import read_manifest
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.manifest import DocumentsManifest
from tests.benchmarks.measuring import Figure, find_all_texts, find_text, read_texts, seconds_of
from tests.benchmarks.peers import DATATROVE, PeerUnavailableError, ask_peer, open_environment

PEER = replace(DATATROVE, script="peer_datatrove_copy")
COPIES = 4
BYTES_OF_MORE = 2_100_000_000
ROWS_OF_GROUP = 64  # novels of 300 KB


def measure(scratch: str) -> list[Figure]:
    """MB/s of text."""
    cores = sorted(os.sched_getaffinity(0))
    path, name = find_text("eltec-eng", scratch)
    texts = list(dict.fromkeys(read_texts(path)))
    figures = []
    for write, suffix in ((_write_lines, "jsonl.zst"), (_write_parquet, "parquet")):
        folder = os.path.join(scratch, "copies", suffix)
        megabytes = _write_copies(texts, COPIES, folder, suffix, write)
        ours = seconds_of(partial(_shard, scratch, f"{folder}/*", cores[-1:], COPIES * len(texts)), repeats=3)
        work = f"{suffix} to shuffled, deduplicated shards, {name} {COPIES} times over, {megabytes:.0f} MB, one core"
        theirs = _copy(scratch, folder, suffix, cores[-1:], megabytes, COPIES * len(texts))
        figures.append(Figure(work, megabytes / ours, f"{DATATROVE.title} copies them to Parquet", theirs, "MB/s"))
        shutil.rmtree(folder)
    return [*figures, _measure_more(scratch, cores)]


def _measure_more(scratch: str, cores: list[int]) -> Figure:
    paths, name = find_all_texts(scratch)
    folder = os.path.join(scratch, "copies", "more")
    texts = list(dict.fromkeys(text for path in paths for text in read_texts(path)))
    copies = -(-BYTES_OF_MORE // sum(len(text.encode()) for text in texts))
    megabytes = _write_copies(texts, copies, folder, "jsonl.zst", _write_lines)
    one, two = [], []
    for _ in range(2):  # in turn, as a shared machine is faster in one minute than in the next
        for kept, some in ((one, cores[-1:]), (two, cores[:2])):
            kept.append(seconds_of(partial(_shard, scratch, f"{folder}/*", some, copies * len(texts))))
    work = f"jsonl.zst to document shards, {name} {copies} times over, {megabytes:.0f} MB, two workers"
    return Figure(work, megabytes / min(two), "one core", megabytes / min(one), "MB/s")


def _write_copies(
    texts: list[str], copies: int, folder: str, suffix: str, write: Callable[[list[dict[str, str]], str], None]
) -> float:
    """One file a copy; returns megabytes of text."""
    os.makedirs(folder)
    num_bytes = 0
    for copy in range(copies):
        documents = [{"id": f"{copy}-{number}", "text": f"Copy {copy}. {text}"} for number, text in enumerate(texts)]
        num_bytes += sum(len(document["text"].encode()) for document in documents)
        write(documents, os.path.join(folder, f"{copy:03d}.{suffix}"))
    return num_bytes / 1e6


def _write_lines(documents: list[dict[str, str]], path: str) -> None:
    with pa.CompressedOutputStream(path, "zstd") as file:
        for document in documents:
            file.write(json.dumps(document, ensure_ascii=False).encode() + b"\n")


def _write_parquet(documents: list[dict[str, str]], path: str) -> None:
    pq.write_table(pa.Table.from_pylist(documents), path, row_group_size=ROWS_OF_GROUP)


def _shard(scratch: str, pattern: str, cores: list[int], documents: int) -> None:
    """`maskmill shard` into an empty output, on these cores alone."""
    output = os.path.join(scratch, "sharded")
    shutil.rmtree(output, ignore_errors=True)
    run_file = os.path.join(scratch, "shard.toml")
    with open(run_file, "w", encoding="utf-8") as file:
        file.write(f"[input]\npaths = {json.dumps([pattern])}\nid_field = 'id'\n[output]\nurl = {json.dumps(output)}\n")
        file.write(f"[documents]\nheld_out = 0.0\n[engine]\nworkers = {len(cores)}\n")
    subprocess.run(
        [sys.executable, "-m", "maskmill", "shard", run_file, "--json"],
        check=True,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    found = read_manifest(open_store(os.path.join(output, "documents")), DocumentsManifest).documents
    assert found == documents, f"{found} documents were written, not {documents}"


def _copy(scratch: str, folder: str, suffix: str, cores: list[int], megabytes: float, documents: int) -> float | str:
    """MB/s of the peer, the quickest of three runs; or why there is none."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        seconds = []
        open_environment(PEER)
        for number in range(3):
            started = time.perf_counter()
            found = ask_peer(PEER, folder, f"*.{suffix}", os.path.join(scratch, f"copied-{suffix}-{number}"))
            seconds.append(time.perf_counter() - started)
            assert found["documents"] == documents, f"the peer copied {found['documents']} documents, not {documents}"
        return megabytes / min(seconds)
    except PeerUnavailableError as error:
        return str(error)
    finally:
        os.sched_setaffinity(0, allowed)
