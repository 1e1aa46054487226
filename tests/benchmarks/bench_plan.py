"""The plan of 10 TB of text, by the code that a run plans with: what each level of the exchange has, and the memory."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from maskmill.pipeline.corpus.exchange import MapDetails
from maskmill.pipeline.corpus.exchange_index import INDEX_PATH, list_pieces, write_index
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.input_files import InputFiles
from maskmill.pipeline.corpus.map_documents import MAX_RUN_BYTES
from maskmill.pipeline.corpus.plan import plan_buckets, plan_shard_bytes, plan_sort_units
from maskmill.pipeline.corpus.plan_map_units import MapUnit, plan_map_units
from maskmill.pipeline.corpus.source_tally import TalliedSources
from maskmill.pipeline.engine.units import UnitSequence
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.receipt import Receipt
from maskmill.schemas.run_file import InputSection
from tests.benchmarks.measuring import Figure

NUM_UNITS = 100_000
TEXT_BYTES = 10 * 10**12
HELD_OUT = 0.005
DOCUMENT_BYTES = 4000
_HERE = "tests.benchmarks.bench_plan"
# Run by a small process: to Linux a process has at first the memory of the one that starts it.
_PRINT_PEAK = """
import os, subprocess, sys
started = subprocess.Popen(sys.argv[1:])
_, status, used = os.wait4(started.pid, 0)
print(f"peak {used.ru_maxrss}")
sys.exit(status != 0)
"""


def measure(scratch: str) -> list[Figure]:
    """Plan 100,000 map units of 100 MB, with receipts that nobody wrote; then a million of one file each, without."""
    figures = []
    for num_units in (NUM_UNITS, 10 * NUM_UNITS):
        command = [sys.executable, "-c", _PRINT_PEAK, sys.executable, "-m", _HERE, str(num_units), scratch]
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        for line in finished.stdout.splitlines():
            name, _, value = line.rpartition(" ")
            number = int(value) / 1024 if name == "peak" else float(value)
            words = "MiB" if name == "peak" else ""
            figures.append(Figure(f"plan of {num_units:,} files, 10 TB: {name}", number, "", "", words))
    return figures


class _Receipts:
    """Receipts as the map stage would write them, made when they are asked for."""

    def __init__(self, units: UnitSequence[MapUnit]) -> None:
        self.units = units

    def pairs(self) -> Iterator[tuple[MapUnit, Receipt[MapDetails]]]:
        return ((unit, _make_receipt(unit)) for unit in self.units)


def _make_receipt(unit: MapUnit) -> Receipt[MapDetails]:
    """Each run has a record batch in every bucket."""
    num_buckets = unit.num_buckets + unit.num_held_out_buckets
    runs = max(1, round(unit.assumed_text_bytes / MAX_RUN_BYTES))
    length = unit.assumed_text_bytes // (runs * num_buckets)
    documents = unit.assumed_text_bytes // DOCUMENT_BYTES
    batches = runs * num_buckets
    held_out = int(unit.assumed_text_bytes * HELD_OUT)
    details = MapDetails.model_construct(
        buckets=list(range(num_buckets)) * runs,
        rows=[length // DOCUMENT_BYTES] * batches,
        offsets=[8 + batch * length for batch in range(batches)],
        lengths=[length] * batches,
        checksums=[unit.unit] * batches,
        text_bytes=[unit.assumed_text_bytes - held_out, held_out],
        lines=0,
        first_empty="",
        first_misnamed="",
        sources=TalliedSources(counts={"corpus": {"read": documents}}, is_one=False),
        kept=None,
    )
    counts = {"read": documents}
    return Receipt.model_construct(stage="map", unit=unit.unit, description="", counts=counts, details=details)


def _plan(num_units: int, scratch: str) -> None:
    """Print what the levels of the exchange have."""
    started = time.process_time()
    size_bytes = TEXT_BYTES // num_units
    files = InputFiles(
        InputFile(f"s3://bucket/corpus/{name}", name, size_bytes, mark=f"{number:032x}", source="corpus")
        for number in range(num_units)
        for name in [f"{number // 1000:04d}/part-{number:07d}.jsonl"]
    )
    shard_bytes = plan_shard_bytes(files.assumed_text_bytes, None)
    buckets = plan_buckets(files.assumed_text_bytes, shard_bytes, HELD_OUT)
    # One file each: `plan_group_bytes` would put ten of a million together.
    units = plan_map_units(files, size_bytes, buckets, [InputSection(paths=["corpus"])])
    _say("map units", len(units))
    _say("buckets", buckets.train + buckets.held_out)
    _say("bytes of one map unit, pickled", len(pickle.dumps(units[len(units) // 2])))
    if num_units <= NUM_UNITS:
        output = open_store(os.path.join(scratch, "plan"))
        receipts: Any = _Receipts(units)
        totals = write_index(output, receipts)
        sort_units = plan_sort_units(totals.text_bytes, shard_bytes, buckets, HELD_OUT)
        pieces = list_pieces(output, sort_units[0])
        lengths = np.array([piece[2] for piece in pieces])
        _say("index, MB", round(output.size(INDEX_PATH) / 1e6))
        _say("sort units", len(sort_units))
        _say("document shards", sum(unit.stop_shard - unit.first_shard for unit in sort_units))
        _say("pieces that a sort unit reads, a request each", len(pieces))
        _say("bytes of a piece, mean", round(float(lengths.mean())))
        _say("GB that a sort unit reads", round(float(lengths.sum()) / 1e9, 1))
        _say("requests of the sort stage, millions", round(len(pieces) * len(sort_units) / 1e6, 1))
    _say("CPU seconds", round(time.process_time() - started, 1))


def _say(name: str, value: float) -> None:
    print(name, value, flush=True)


if __name__ == "__main__":
    _plan(int(sys.argv[1]), sys.argv[2])
