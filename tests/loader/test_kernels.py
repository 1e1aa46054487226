"""Kernels that were compiled at set-up are all that a loader needs, however it came to where it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.schemas.rows import Compression
from tests.loader.datasets import write_dataset

ROOT = Path(__file__).parents[2]

COMPILE = """
import sys
from infra.compile_kernels import compile_loader
for folder in sys.argv[1:3]:
    compile_loader(folder)
"""

USE = """
import copy, pickle, sys
from itertools import islice
import torch
from torch.utils.data import DataLoader
from maskmill.pipeline.loader import MaskedBatches, Masking, Mixture, Phase, Source, iter_fixed_batches
from maskmill.pipeline.loader.device.device_batches import iter_ahead
from maskmill.pipeline.loader.device.device_fields import BatchMaker
from tests.loader.device.device_rows import LateStream

def use(loader):
    list(loader.epochs(2) if loader._plan.steps_per_epoch else islice(loader, 20))
    list(islice(loader.to_device("cpu"), 3))
    maker = BatchMaker(loader.weigher, loader.most_predicted, loader.manifest.vocabulary.pad_id, torch.device("cpu"))
    list(islice(iter_ahead(loader.iter_rows(), maker, LateStream()), 3))

def main():
    plain, wide, compressed, other = sys.argv[1:5]
    for data in (plain, wide, compressed, Mixture((Source(plain), Source(other))), [Phase(0, plain), Phase(2, other)]):
        for masking in (Masking(), Masking(selection="bernoulli"), "static"):
            loader = MaskedBatches(data, global_batch_rows=8, micro_batch_rows=4, shuffle_blocks=2, masking=masking)
            for same in (loader, pickle.loads(pickle.dumps(loader)), copy.deepcopy(loader)):
                use(same)
            for method in ("fork", "spawn") if data == plain else ("fork",):
                workers = DataLoader(loader.steps(4), batch_size=None, num_workers=1, multiprocessing_context=method)
                assert len(list(workers)) == 8
    for folder in (plain, wide, compressed):
        list(iter_fixed_batches(folder, Masking(), 7))

if __name__ == "__main__":
    main()
"""


@pytest.mark.long
def test_a_loader_compiles_nothing_that_was_compiled_at_set_up(tmp_path):
    """Plain, pickled, copied, in forked and spawned workers; narrow, wide and compressed rows; mixtures and phases."""
    folders = [str(tmp_path / name) for name in ("plain", "wide", "compressed", "other")]
    write_dataset(folders[0])
    write_dataset(folders[1], vocab_size=70_000)
    write_dataset(folders[2], compression=Compression.ZSTD)
    write_dataset(folders[3], seed=6)
    compiled = run(tmp_path, COMPILE, folders)
    assert len(compiled) > 10
    assert run(tmp_path, USE, folders) == compiled


def run(tmp_path: Path, script: str, folders: list[str]) -> set[str]:
    """Run a script with a numba cache of its own; returns the kernels then in it."""
    cache = tmp_path / "kernels"
    file = tmp_path / "script.py"
    file.write_text(script)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(file), *folders], env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stderr)
    return {str(kernel.relative_to(cache)) for kernel in cache.rglob("*.nbc")}
