"""`prepare` called from a program of any kind: its workers never run the program, and do the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from pathlib import Path
Path({marks!r}).mkdir(exist_ok=True)
__import__("tempfile").mkstemp(dir={marks!r})  # one file for every time that the program runs
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import prepare
from maskmill.schemas.run_file import RunFile
settings = RunFile.model_validate({settings!r})
events = []
prepared = prepare(settings, events.append, Part.SHARD)
print(prepared.documents[0].counts.written, len({{event["event"] for event in events}}) > 2)
"""
IN_A_THREAD = """
import threading
thread = threading.Thread(target=exec, args=({program!r}, {{"__name__": "__main__"}}))
thread.start()
thread.join()
"""
IN_A_NOTEBOOK = """
import sys
del sys.modules["__main__"].__file__
get_ipython = lambda: None
exec(compile({program!r}, "<ipython-input-1>", "exec"))
"""
IN_A_DAEMON = """
import multiprocessing
process = multiprocessing.get_context("fork").Process(
    target=exec, args=({program!r}, {{"__name__": "__main__"}}), daemon=True
)
process.start()
process.join()
"""


@pytest.mark.parametrize("how", ["script", "module", "stdin", "-c", "thread", "notebook", "daemon"])
def test_a_program_without_a_main_guard_prepares_with_several_workers(tmp_path: Path, how: str) -> None:
    for number in range(4):
        lines = [json.dumps({"text": f"document {line} of file {number}"}) for line in range(200)]
        (tmp_path / f"{number}.jsonl").write_text("\n".join(lines))
    settings = {
        "input": {"paths": [str(tmp_path / "*.jsonl")]},
        "output": {"url": str(tmp_path / "out")},
        "documents": {"shard_mb": 0.005, "held_out": 0.0},
        "engine": {"workers": 2},
    }
    program = PROGRAM.format(marks=str(tmp_path / "marks"), settings=settings)
    wrappers = {"thread": IN_A_THREAD, "notebook": IN_A_NOTEBOOK, "daemon": IN_A_DAEMON}
    program = wrappers[how].format(program=program) if how in wrappers else program
    (tmp_path / "program.py").write_text(program)
    command = {"stdin": ["-"], "-c": ["-c", program], "module": ["-m", "program"]}.get(how, ["program.py"])
    environment = {**os.environ, "PYTHONPATH": f"{Path.cwd()}:{tmp_path}"}
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env=environment,
        input=program if how == "stdin" else "",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "800 True\n", "")
    assert len(list((tmp_path / "marks").iterdir())) == 1
