"""`python -m tests.benchmarks [NAME ...]`: our figures and the peers', from one run, one after the other."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    bench_distributions,
    bench_documents,
    bench_encoding,
    bench_filters,
    bench_loader,
    bench_loader_s3,
    bench_loader_scale,
    bench_masks,
    bench_near_duplicates,
    bench_packing,
    bench_plan,
    bench_prepare,
    bench_tokenizer,
)
from tests.benchmarks.measuring import Figure, describe_machine, use_one_core

BENCHMARKS = {
    "documents": bench_documents.measure,
    "encoding": bench_encoding.measure,
    "filters": bench_filters.measure,
    "near-duplicates": bench_near_duplicates.measure,
    "tokenizer": bench_tokenizer.measure,
    "packing": bench_packing.measure,
    "masks": bench_masks.measure,
    "distributions": bench_distributions.measure,
    "memory": bench_prepare.measure_memory,
    "prepare": bench_prepare.measure,
    "plan": bench_plan.measure,
    "loader": bench_loader.measure,
    "loader-scale": bench_loader_scale.measure,
    "loader-s3": bench_loader_s3.measure,
}
SEVERAL_CORES = ("documents", "tokenizer", "prepare", "loader-scale", "loader-s3")


def main(names: list[str]) -> None:
    """Measure each benchmark in a process of its own, so that none warms another's caches, and print a table."""
    unknown = sorted(set(names) - BENCHMARKS.keys())
    if unknown:
        sys.exit(f"no benchmark named {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    table = Table(title=f"{describe_machine()}, {dt.datetime.now(dt.UTC):%Y-%m-%d}", title_justify="left")
    for heading in ("work", "maskmill", "peer", "peer's figure", "ratio"):
        table.add_column(heading)
    with tempfile.TemporaryDirectory(prefix="maskmill-bench-") as scratch:
        for name in names or BENCHMARKS:
            command = [sys.executable, "-m", "tests.benchmarks", "--child", name, scratch]
            finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            for line in finished.stdout.splitlines():
                figure = Figure(**json.loads(line))
                theirs = f"{figure.theirs:.2f}" if isinstance(figure.theirs, float) else figure.theirs
                ours = f"{figure.ours:.{1 if figure.ours >= 10 else 2}f} {figure.unit}"
                table.add_row(figure.work, ours, figure.peer, theirs, figure.ratio)
    Console(width=150).print(table)


def measure_here(name: str, scratch: str) -> None:
    """Measure one benchmark in this process; figures go to standard output as JSON, all else to standard error."""
    if name not in SEVERAL_CORES:
        use_one_core()
    figures_to = os.dup(1)
    os.dup2(2, 1)
    figures = BENCHMARKS[name](scratch)
    with os.fdopen(figures_to, "w") as file:
        for figure in figures:
            file.write(json.dumps(asdict(figure)) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        measure_here(*sys.argv[2:4])
    else:
        main(sys.argv[1:])
