"""What libraries write in worker processes of ours is printable too: warnings, logs and threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.schemas.printable import make_printable

UNITS = """
import logging, threading, warnings
from maskmill.pipeline.engine.units import UnitOutcome
from maskmill.schemas.receipt import Details

def fail():
    raise ValueError("\\x9b in a thread")

def warn(context, unit):
    warnings.warn("of \\x1b[31m a name https://u:password@h/f")
    logging.getLogger("aiohttp").warning("at \\x1b]0;title\\x07 \\u202e")
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    return UnitOutcome([], {}, Details())
"""
IN_NEW_PROCESSES = """
import sys
from maskmill.pipeline.engine.local_engine import LocalEngine
from maskmill.pipeline.engine.units import UnitDescription
from maskmill.pipeline.storage.store import open_store
import warning_units

engine = LocalEngine(2)
units = [UnitDescription(stage="warn", unit=unit) for unit in range(2)]
assert len(list(engine.run(warning_units.warn, None, open_store(sys.argv[1]), units))) == 2
engine.close()
"""
IN_A_TASK_OF_RAY = """
import sys
from maskmill.pipeline.engine.ray_engine import _answer_shared
from maskmill.pipeline.engine.units import UnitDescription
from maskmill.pipeline.storage.store import open_store
import warning_units

_answer_shared((warning_units.warn, None, open_store(sys.argv[1])), UnitDescription(stage="warn", unit=0))
"""


@pytest.mark.parametrize("program", [IN_NEW_PROCESSES, IN_A_TASK_OF_RAY], ids=["local", "ray"])
def test_what_libraries_write_in_a_worker_is_printable(tmp_path: Path, program: str) -> None:
    (tmp_path / "warning_units.py").write_text(UNITS)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stderr.splitlines()
    assert [line for line in lines if line != make_printable(line)] == []
    assert "password" not in ended.stderr
    for expected in ("UserWarning: of \\x1b[31m a name", "at \\x1b]0;title\\x07 \\u202e", "\\x9b in a thread"):
        assert expected in ended.stderr
