"""The whole command `maskmill prepare` with a given tokenizer, on one core and with two; its rows and its memory.

How much two workers can gain is measured beside it: the same command on each core at once, two runs that share nothing.
What a machine gives them together over one alone is the most that any program gains from its second core once it is at
work, and nothing is at work before Python has started and imported what reads text.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from maskmill.pipeline.storage.datasets import read_manifest
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.manifest import DocumentsManifest, PackedManifest
from tests.benchmarks.measuring import Figure, find_all_texts, find_text, seconds_of, train_tokenizer, write_run_file
from tests.peak_memory import measure_peak

_REPEATS = 4
_REPEATS_OF_MORE = 2
_TIMES = 12
WATCHED = ("eltec-eng", "peps", "ms-cpp-docs", "php-doc-ru")


def measure(scratch: str) -> list[Figure]:
    """As a user gives it, start of Python and all; the encoder's proof for this tokenizer is in the user's cache."""
    paths, name = find_all_texts(scratch)
    train_tokenizer(paths, os.path.join(scratch, "vocabulary"))
    given = os.path.join(scratch, "vocabulary", "tokenizer")
    cores = sorted(os.sched_getaffinity(0))
    _prepare(scratch, "warm", paths, given, cores[:2])  # compiles, and proves the encoder
    one, two, apart = [], [], []
    for repeat in range(_REPEATS):  # in turn, as a shared machine is faster in one minute than in the next
        one.append(_prepare(scratch, f"one-{repeat}", paths, given, cores[-1:]))
        two.append(_prepare(scratch, f"two-{repeat}", paths, given, cores[:2]))
        apart.append(_prepare_apart(scratch, f"apart-{repeat}", paths, given, cores[:2]))
    text_bytes = read_manifest(open_store(os.path.join(scratch, "warm", "documents")), DocumentsManifest).text_bytes
    megabytes = text_bytes / 1e6
    work = f"maskmill prepare, tokenizer given, {name}, {megabytes:.0f} MB"
    figures = [
        Figure(f"{work}, one core", megabytes / min(one), "", "", "MB/s"),
        Figure(f"{work}, two workers", megabytes / min(two), "one core", megabytes / min(one), "MB/s"),
        Figure(
            f"{work}, twice at once, a core each, sharing nothing",
            len(cores[:2]) * megabytes / min(apart),
            "one core",
            megabytes / min(one),
            "MB/s",
        ),
    ]
    figures += _measure_more(scratch, paths, name, given, megabytes, cores)
    figures.append(_rows_above(os.path.join(scratch, "warm"), name))
    for source in WATCHED:
        path, found = find_text(source, scratch)
        if found == source:
            _prepare(scratch, source, [path], given, cores[:2])
            figures.append(_rows_above(os.path.join(scratch, source), source))
    return figures


def _measure_more(
    scratch: str, paths: list[str], name: str, given: str, megabytes: float, cores: list[int]
) -> list[Figure]:
    """The same files many times over and all kept, so that the start of Python and of its libraries weighs little."""
    folder = os.path.join(scratch, "more")
    os.makedirs(folder)
    for number in range(_TIMES):
        for path in (found for pattern in paths for found in glob.glob(pattern)):
            os.symlink(os.path.abspath(path), os.path.join(folder, f"{number}-{os.path.basename(path)}"))
    one, two = [], []
    for _ in range(_REPEATS_OF_MORE):
        for kept, some in ((one, cores[-1:]), (two, cores[:2])):
            kept.append(_prepare(scratch, "of-more", [f"{folder}/*"], given, some, deduplicate=False))
            shutil.rmtree(os.path.join(scratch, "of-more"))
    work = (
        f"maskmill prepare, tokenizer given, {name} {_TIMES} times over, not deduplicated, {_TIMES * megabytes:.0f} MB"
    )
    best = megabytes * _TIMES / min(one)
    return [Figure(f"{work}, two workers", megabytes * _TIMES / min(two), "one core", best, "MB/s")]


def measure_memory(scratch: str) -> list[Figure]:
    """The most memory that a process has which packs shards of 64 MB of text, and does nothing else."""
    path, name = find_text("eltec-eng", scratch)
    train_tokenizer([path], os.path.join(scratch, "packing"))
    given = os.path.join(scratch, "packing", "tokenizer")
    output = os.path.join(scratch, "memory")
    run_file = write_run_file(os.path.join(scratch, "memory.toml"), [path], output, 1, given, shard_mb=64)
    peaks = {}
    for part in ("tokenizer", "pack"):
        peaks[part] = measure_peak([sys.executable, "-m", "maskmill", part, run_file, "--json"]) / 2**20
    return [Figure(f"peak memory of a process that packs shards of 64 MiB, {name}", peaks["pack"], "", "", "MiB")]


def _prepare_apart(scratch: str, name: str, paths: list[str], given: str, cores: list[int]) -> float:
    """Seconds until each core has done the whole of it, with an output of its own."""
    with ThreadPoolExecutor(len(cores)) as pool:
        runs = [pool.submit(_prepare, scratch, f"{name}-{core}", paths, given, [core]) for core in cores]
        return max(run.result() for run in runs)


def _prepare(
    scratch: str, name: str, paths: list[str], given: str, cores: list[int], *, deduplicate: bool = True
) -> float:
    run_file = write_run_file(
        os.path.join(scratch, f"{name}.toml"), paths, os.path.join(scratch, name), len(cores), given
    )
    keep = "true" if deduplicate else "false"
    command = [
        sys.executable,
        "-m",
        "maskmill",
        "prepare",
        run_file,
        "--json",
        "--set",
        f"documents.deduplicate={keep}",
    ]

    def run() -> None:
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, cores)
        )

    return seconds_of(run)


def _rows_above(output: str, name: str) -> Figure:
    manifest = read_manifest(open_store(os.path.join(output, "packed")), PackedManifest)
    counts = manifest.counts
    allowed = max(manifest.num_shards, counts.rows_lower_bound_l2 // 1000)
    work = f"rows of {manifest.seq_len} above L2, {name}, {counts.rows:,} rows in {manifest.num_shards} shards"
    over = counts.rows - counts.rows_lower_bound_l2
    return Figure(work, float(over), "0.1 % or one a shard", float(allowed), "rows")
