"""An epoch from S3 on loopback through a cold cache, against a plain download of the same objects.

96 shards of 10 MB lie on a server on this machine: moto, and Ceph RGW where it is installed. The plain download is one
s3fs client that gets object after object whole into memory, in one request each, nothing done with the bytes; it is
what a script would do before training. Ours is everything from the constructor on: manifest and table read, every block
fetched into an empty cache on disk, read back from there and checked. Server and client share two cores, so what else
is done with the blocks is measured beside it: blocks alone, in the order of 32 partitions; rows shuffled out of them
and staged in batches of 32, as where a GPU makes the masks (`iter_rows`); and masked batches, which cannot come
quicker than from local files. All run in turn, in fresh processes that have imported everything, asked the server
something and loaded compiled kernels before the clock starts. Medians of five, not the best: the plain download has
two paces, some 420 and some 750 MB/s, and now takes the one and now the other; its best is printed too.

Then what memory masked batches of an epoch add to the process, and how long a trainer waits whose steps take 10 ms,
cold cache again: what it spends in asking for batches, the first one and the constructor included, and what the batches
themselves say of waiting for storage (`waited_seconds`).
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tests.benchmarks import many_shards
from tests.benchmarks.measuring import Figure, prepare_packed, watch_memory
from tests.conftest import S3_ENVIRONMENT
from tests.servers.s3_servers import has_ceph, run_ceph, run_moto

ROWS = 32
NUM_SHARDS = 96
PARTITIONS = 32
REPEATS = 5
STEP_SECONDS = 0.01
TRAINER_STEPS = 1500


def measure(scratch: str) -> list[Figure]:
    """Megabytes a second of both, and what a trainer waits, on each server there is."""
    packed, _ = prepare_packed(scratch)
    real = many_shards.write_real_shards(packed, os.path.join(scratch, "s3"))
    folder = many_shards.write_dataset(real, "some", NUM_SHARDS)
    servers: dict[str, Callable[[], AbstractContextManager[str]]] = {"moto": run_moto}
    if has_ceph():
        servers["Ceph RGW"] = run_ceph
    figures = []
    for server, run_server in servers.items():
        with run_server() as endpoint:
            figures += _measure_on(server, endpoint, folder, packed, scratch)
    if not has_ceph():
        figures.append(Figure("an epoch from S3 on loopback, Ceph RGW", 0.0, "", "none: radosgw is not installed", ""))
    return figures


def _measure_on(server: str, endpoint: str, folder: str, packed: str, scratch: str) -> list[Figure]:
    environment = os.environ | S3_ENVIRONMENT | {"AWS_ENDPOINT_URL": endpoint}
    environment.pop("AWS_PROFILE", None)
    cache = os.path.join(scratch, "s3-cache")

    def ask(what: str, *arguments: str) -> Any:
        shutil.rmtree(cache, ignore_errors=True)
        command = [sys.executable, "-m", "tests.benchmarks.bench_loader_s3", what, *arguments]
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        return json.loads(finished.stdout.splitlines()[-1])

    url = f"s3://bucket-{uuid.uuid4().hex[:12]}/packed"
    ask("upload", folder, url)
    paces: dict[str, list[float]] = {"plain": [], "blocks": [], "rows": [], "batches": []}
    for _ in range(REPEATS):
        paces["plain"].append(ask("plain", url))
        paces["blocks"].append(ask("blocks", url, cache, packed))
        for kind in ("rows", "batches"):
            paces[kind].append(ask("epoch", url, cache, packed, kind))
    memory = ask("memory", url, cache, packed)
    waits = ask("trainer", url, cache, packed)
    work = f"an epoch from S3 on loopback, cold cache, {server}"
    typical = {kind: statistics.median(measured) for kind, measured in paces.items()}
    peer = "one s3fs client, object after object"
    share = f"of a trainer's time, steps of {STEP_SECONDS * 1000:.0f} ms, cold cache, {server}"
    return [
        Figure(f"{work}, checked blocks", typical["blocks"], peer, typical["plain"], "MB/s"),
        Figure(f"{work}, rows without masks", typical["rows"], peer, typical["plain"], "MB/s"),
        Figure(f"{work}, masked batches", typical["batches"], peer, typical["plain"], "MB/s"),
        Figure(f"{work}, rows without masks, best of {REPEATS}", max(paces["rows"]), peer, max(paces["plain"]), "MB/s"),
        Figure(f"memory that the loader adds to its process, {work}", memory, "", "", "MB"),
        Figure(f"waiting for batches, {share}", waits["waited"], "", "", "%"),
        Figure(f"waiting for storage, {share}", waits["waited_for_storage"], "", "", "%"),
    ]


def _upload(folder: str, url: str) -> int:
    from s3fs import S3FileSystem

    files = S3FileSystem()
    files.mkdir(url.removeprefix("s3://").partition("/")[0])
    for name in sorted(os.listdir(folder)):
        files.put_file(os.path.realpath(os.path.join(folder, name)), f"{url}/{name}")
    return len(files.ls(url))


def _download(url: str) -> float:
    """Megabytes a second of one client that gets one object after the other, each in one request."""
    from s3fs import S3FileSystem

    files = S3FileSystem(max_concurrency=1)
    names = sorted(name for name in files.ls(url) if "/shard-" in name)
    started = time.perf_counter()
    num_bytes = sum(len(files.cat_file(name)) for name in names)
    return num_bytes / (time.perf_counter() - started) / 1e6


def _read_blocks(url: str, cache: str, warm: str) -> float:
    """Megabytes of blocks a second, each partition reading its shards one after the other, their blocks permuted."""
    import numpy as np

    from maskmill.pipeline.loader import Cache
    from maskmill.pipeline.loader.blocks.packed_dataset import PackedDataset

    _warm_up(url, warm)
    started = time.perf_counter()
    dataset = PackedDataset(url, cache=Cache(folder=cache, max_bytes=2 << 30))
    counts = np.diff(dataset.shards.first_block).tolist()
    rng = np.random.default_rng(0)
    partitions = [
        [(shard, block) for shard in range(first, len(counts), PARTITIONS) for block in rng.permutation(counts[shard])]
        for first in range(PARTITIONS)
    ]
    order = [item for turn in itertools.zip_longest(*partitions) for item in turn if item is not None]
    dataset.require_capacity(PARTITIONS)
    dataset.fetch_ahead((shard, [block]) for shard, block in order)
    for shard, block in order:
        dataset.read_blocks(shard, [block])
    return int(dataset.shards.block_lengths.sum()) / (time.perf_counter() - started) / 1e6


def _read_epoch(url: str, cache: str, warm: str, kind: str) -> float:
    """Megabytes of shards a second, from the constructor to the last batch of an epoch, masked or not."""
    from s3fs import S3FileSystem

    _warm_up(url, warm)
    num_bytes = sum(entry["size"] for entry in S3FileSystem().ls(url, detail=True) if "/shard-" in entry["name"])
    rows = 0
    started = time.perf_counter()
    batches = _open_batches(url, cache)
    for batch in batches.iter_rows() if kind == "rows" else batches:
        rows += len(batch.row_ids)
    seconds = time.perf_counter() - started
    assert rows > NUM_SHARDS * many_shards.SHARD_ROWS - 2 * ROWS
    return num_bytes / seconds / 1e6


def _measure_memory(url: str, cache: str, warm: str) -> float:
    """Megabytes that masked batches of an epoch add to the process, requests under way."""
    _warm_up(url, warm)
    with watch_memory() as added:
        for _ in _open_batches(url, cache):
            pass
    return added.megabytes


def _train(url: str, cache: str, warm: str) -> dict[str, float]:
    """Percent of a trainer's time in which it waits for a batch, and for storage of it."""
    _warm_up(url, warm)
    begun = time.perf_counter()
    batches = iter(_open_batches(url, cache))
    waited, stored = time.perf_counter() - begun, 0.0
    for _ in range(TRAINER_STEPS):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        stored += batch.waited_seconds
        time.sleep(STEP_SECONDS)
    percent = 100 / (time.perf_counter() - begun)
    return {"waited": waited * percent, "waited_for_storage": stored * percent}


def _warm_up(url: str, packed: str) -> None:
    """Load kernels with a local dataset, and the store's client with one small object."""
    from maskmill.pipeline.loader import MaskedBatches, Masking
    from maskmill.pipeline.storage.datasets import MANIFEST
    from maskmill.pipeline.storage.store import open_store

    next(iter(MaskedBatches(packed, global_batch_rows=ROWS, masking=Masking())))
    open_store(url).read_bytes(MANIFEST)


def _open_batches(url: str, cache: str) -> Any:
    from maskmill.pipeline.loader import Cache, MaskedBatches, Masking

    settings = Cache(folder=cache, max_bytes=2 << 30)
    return MaskedBatches(url, global_batch_rows=ROWS, masking=Masking(), cache=settings).epochs(1)


if __name__ == "__main__":
    jobs: dict[str, Callable[..., Any]] = {
        "upload": _upload,
        "plain": _download,
        "blocks": _read_blocks,
        "epoch": _read_epoch,
        "memory": _measure_memory,
        "trainer": _train,
    }
    print(json.dumps(jobs[sys.argv[1]](*sys.argv[2:])))
