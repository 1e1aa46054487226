"""Commands and local workers never import pandas, which Arrow does by itself, for 0.4 s; users' programs keep it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = """
import sys
import pyarrow as pa
from maskmill.pipeline.engine.units import UnitOutcome
from maskmill.schemas.receipt import Details

def make_arrays(context, unit):
    pa.table({"number": pa.array([1, 2]), "text": ["a", "b"]})
    assert "pandas" not in sys.modules
    return UnitOutcome([], {}, Details())
"""
A_PROGRAM = """
import sys
import pandas as pd
import pyarrow as pa
from maskmill.pipeline.engine.local_engine import LocalEngine
from maskmill.pipeline.engine.units import UnitDescription
from maskmill.pipeline.storage.store import open_store
import array_units

engine = LocalEngine(2)
units = [UnitDescription(stage="arrays", unit=unit) for unit in range(2)]
assert len(list(engine.run(array_units.make_arrays, None, open_store(sys.argv[1]), units))) == 2
engine.close()
assert pa.array(pd.Series([1, None, 3], dtype="Int64")).null_count == 1
assert list(pa.table({"number": [1, 2]}).to_pandas()["number"]) == [1, 2]
"""
A_COMMAND = """
import sys
import pyarrow as pa
from maskmill.jobs.run_command import load_job

load_job("prepare")
pa.array(["a"])
assert "pandas" not in sys.modules
import pandas as pd
assert pd.Series([1, 2]).sum() == 3
"""


@pytest.mark.parametrize("program", [A_PROGRAM, A_COMMAND], ids=["workers of a program", "command"])
def test_pandas_is_left_out_where_a_process_is_ours(tmp_path: Path, program: str) -> None:
    (tmp_path / "array_units.py").write_text(UNITS)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert ended.returncode == 0, ended.stderr
