"""The public functions called from a program of any kind: workers never run the program, and do the work."""

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
from maskmill import prepare
events = []
prepared = prepare({settings!r}, events.append, up_to="shard")
print(prepared.documents[0].counts.written, len({{event.event for event in events}}) > 2)
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


EVERYTHING = """
from pathlib import Path
Path({marks!r}).mkdir(exist_ok=True)
__import__("tempfile").mkstemp(dir={marks!r})
from maskmill import open_dataset, prepare, train, verify
events = []
prepared = prepare({settings!r}, events.append)
(url,), (held_out,) = prepared.packed_urls(), prepared.packed_urls(held_out=True)
report = verify(Path({settings!r}["output"]["url"]), events.append)
dataset = open_dataset(url)
words = sum(len(dataset.tokenizer.decode(row.input_ids).split()) for row in dataset)
result = train(
    {{
        "data": {{"dataset": url, "held_out": held_out, "global_batch_rows": 2}},
        "model": {{"hidden_size": 16, "num_layers": 1, "num_heads": 2}},
        "run": {{"output": {settings!r}["output"]["url"] + "/training", "steps": 2}},
    }},
    events.append,
)
are_all = words == 5 * prepared.documents[0].documents, len(dataset) == prepared.packed[0].counts.rows
print(list(report.findings), are_all, result.step, len(events) > 20)
"""
WRAPPERS = {"thread": IN_A_THREAD, "notebook": IN_A_NOTEBOOK, "daemon": IN_A_DAEMON}


def run_program(folder: Path, how: str, program: str, said: str) -> None:
    """Run a program in one of the ways that programs are run: it says something, and runs once."""
    settings = {
        "input": {"paths": [str(folder / "*.jsonl")]},
        "output": {"url": str(folder / "out")},
        "documents": {"shard_mb": 0.005, "held_out": 0.0 if program is PROGRAM else 0.2},
        "tokenizer": {"vocab_size": 60},
        "pack": {"seq_len": 64},
        "engine": {"workers": 2},
    }
    for number in range(4):
        lines = [json.dumps({"text": f"document {line} of file {number}"}) for line in range(200)]
        (folder / f"{number}.jsonl").write_text("\n".join(lines))
    program = program.format(marks=str(folder / "marks"), settings=settings)
    program = WRAPPERS[how].format(program=program) if how in WRAPPERS else program
    (folder / "program.py").write_text(program)
    command = {"stdin": ["-"], "-c": ["-c", program], "module": ["-m", "program"]}.get(how, ["program.py"])
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{Path.cwd()}:{folder}"},
        input=program if how == "stdin" else "",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, said, "")
    assert len(list((folder / "marks").iterdir())) == 1


OTHER_WAYS = [
    pytest.param(how, marks=pytest.mark.long) for how in ("module", "stdin", "-c", "thread", "notebook", "daemon")
]


@pytest.mark.parametrize("how", ["script", *OTHER_WAYS])
def test_a_program_without_a_main_guard_prepares_with_several_workers(tmp_path: Path, how: str) -> None:
    run_program(tmp_path, how, PROGRAM, "800 True\n")


@pytest.mark.long
@pytest.mark.parametrize("how", ["script", "notebook"])
def test_a_program_without_a_main_guard_goes_all_the_way(tmp_path: Path, how: str) -> None:
    run_program(tmp_path, how, EVERYTHING, "[] (True, True) 2 True\n")
