"""What libraries write in a worker of a `DataLoader` is printable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.schemas.printable import make_printable

PROGRAM = """
import sys, warnings
from torch.utils.data import DataLoader, IterableDataset
from maskmill.pipeline.loader import MaskedBatches

class Warning(IterableDataset):
    def __init__(self, batches):
        self.batches = batches
    def __iter__(self):
        batches = iter(self.batches)
        warnings.warn("of \\x1b[31m a name")
        return batches

if __name__ == "__main__":
    batches = Warning(MaskedBatches(sys.argv[1], global_batch_rows=8, partitions=2))
    next(iter(DataLoader(batches, batch_size=None, num_workers=1, multiprocessing_context=sys.argv[2])))
"""


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_a_warning_in_a_worker_is_printable(dataset: str, tmp_path: Path, context: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(program), dataset, context]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert "UserWarning: of \\x1b[31m a name" in ended.stderr.splitlines()
    assert "\x1b" not in ended.stderr
    assert all(line == make_printable(line) for line in ended.stderr.splitlines())
