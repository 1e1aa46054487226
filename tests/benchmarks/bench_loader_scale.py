"""How soon the first batch comes, and what memory a loader takes, with ten thousand and a hundred thousand shards.

Each figure is of a fresh process in which everything is imported: from the constructor to the first batch, the table
of shards read and checked, compiled kernels loaded from their cache on disk, and of each of 64 partitions one block
read and checked. The dataset's files are first put out of the page cache, so they come from the disk. A resumed loader
begins at a random step of 31 million. Memory is anonymous memory (`RssAnon`) beside that of the same process before:
the most that a thread sees every millisecond until 200 batches have come, kernels and what torch allocates included;
mapped files are the kernel's to drop and are not counted.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from typing import Any

from tests.benchmarks import many_shards
from tests.benchmarks.measuring import Figure, prepare_packed, watch_memory

GLOBAL_BATCH_ROWS = 256  # of which 64 partitions are made
ROWS = 32
RESUMED = 3
BATCHES = 200
SEED = 2026


def measure(scratch: str) -> list[Figure]:
    """Seconds to the first batch, from the start and at random steps, and megabytes."""
    import numpy as np

    packed, _ = prepare_packed(scratch)
    real = many_shards.write_real_shards(packed, os.path.join(scratch, "many"))
    some = many_shards.write_dataset(real, "some", 10_000)
    many = many_shards.write_dataset(real, "many", 100_000)
    steps = np.random.default_rng(SEED).integers(100_000 * many_shards.SHARD_ROWS // GLOBAL_BATCH_ROWS, size=RESUMED)
    states = [_in_fresh_process("state", many, step=int(step)) for step in steps]
    _in_fresh_process("first", some)  # compiles, if nobody has
    cold = [_in_fresh_process("first", some) for _ in range(3)]
    resumed = [_in_fresh_process("first", many, state=state) for state in states]
    memory = _in_fresh_process("memory", many, state=states[0])
    asked = "asked at most"
    return [
        Figure("first batch of a cold start, 10,000 local shards", min(cold), asked, 1.0, "s"),
        Figure(
            "first batch after resuming at random steps, 100,000 shards, 10^9 rows, slowest",
            max(resumed), asked, 1.0, "s",
        ),
        Figure("memory that the loader adds to its process, 100,000 shards", memory, asked, 100.0, "MB"),
    ]  # fmt: skip


def _in_fresh_process(what: str, folder: str, **options: Any) -> Any:
    _drop_from_page_cache(folder)
    command = [sys.executable, "-m", "tests.benchmarks.bench_loader_scale", what, folder, json.dumps(options)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def _drop_from_page_cache(folder: str) -> None:
    files = [os.path.join(folder, name) for name in ("manifest.json", "shards.arrow")]
    files += [os.path.join(folder, f"shard-{shard:05d}.arrow") for shard in range(many_shards.REAL_SHARDS)]
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _answer(what: str, folder: str, options: dict[str, Any]) -> Any:
    """In the fresh process: a state, seconds to the first batch, or megabytes."""
    from maskmill.pipeline.loader import MaskedBatches, Masking

    def open_loader() -> MaskedBatches:
        loader = MaskedBatches(
            folder, global_batch_rows=GLOBAL_BATCH_ROWS, micro_batch_rows=ROWS, masking=Masking(), seed=SEED
        )
        if "state" in options:
            loader.load_state_dict(options["state"])
        return loader

    if what == "state":
        return open_loader().at(options["step"]).state_dict()
    if what == "first":
        gc.collect()  # of all that was imported, 0.1 s: else it falls into the measured time by chance
        started = time.perf_counter()
        batch = next(iter(open_loader()))
        seconds = time.perf_counter() - started
        assert batch.input_ids.shape == (ROWS, 512)
        return seconds
    with watch_memory() as added:
        batches = iter(open_loader())
        for _ in range(BATCHES):
            next(batches)
    return added.megabytes


if __name__ == "__main__":
    print(json.dumps(_answer(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
