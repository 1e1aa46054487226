"""Whatever is printed is printable and holds no credential, and nothing is printed past the console."""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from maskmill import jobs, pipeline, schemas
from maskmill.jobs.cli import app
from maskmill.jobs.console import open_console, write_json
from maskmill.pipeline.standard_error import say, say_traceback
from maskmill.schemas.printable import make_printable
from maskmill.schemas.redaction import remember_secrets

RENDERED = re.compile(r"\x1b\[[0-9;]*m")
CONTROLS = "\x1b\x9b\r\n\t\x85\u2028\u202e\u2066\u200b\udcff\x7f[]:=?"
HOSTILE = st.text(st.one_of(st.characters(), st.sampled_from(CONTROLS)), max_size=60)
SECRET = "wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY"  # noqa: S105  # as AWS documents it


def printed(*renderables: object, **settings: object) -> str:
    stream = io.StringIO()
    console = open_console(file=stream, **settings)
    for renderable in renderables:
        console.print(renderable)
    return stream.getvalue()


def tables(text: str) -> list[Table]:
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_column("other", overflow="fold")
    table.add_row(text, text)
    plain = Table(box=None, show_header=False)
    plain.add_column(no_wrap=True)
    plain.add_row(text)
    return [table, plain]


@given(HOSTILE)
def test_tables_and_lines_hold_no_control_but_our_colours(text: str) -> None:
    drawn = printed(*tables(text), text, Text(text), width=60, force_terminal=True, color_system="standard")
    for line in RENDERED.sub("", drawn).split("\n"):
        assert line == make_printable(line), ascii(line)
    assert printed(text, soft_wrap=True).count("\n") == 1


@given(st.dictionaries(HOSTILE, HOSTILE))
def test_events_stay_json_without_a_raw_control(values: dict[str, str]) -> None:
    stream, sys.stdout = sys.stdout, io.StringIO()
    try:
        write_json({"event": "warning", "values": values})
        line = sys.stdout.getvalue()
    finally:
        sys.stdout = stream
    assert line.endswith("\n")
    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    assert json.loads(line)["event"] == "warning"


def test_an_event_escapes_every_control(capsys: pytest.CaptureFixture[str]) -> None:
    controls = "".join(map(chr, [*range(32), *range(0x7F, 0xA0)]))
    write_json({"event": "warning", "message": controls})
    line = capsys.readouterr().out
    assert line.rstrip("\n").isascii()
    assert line.rstrip("\n").isprintable()
    assert json.loads(line)["message"] == controls


def test_a_bar_holds_no_control_of_a_name() -> None:
    stream = io.StringIO()
    console = open_console(file=stream, force_terminal=True, width=80, color_system=None)
    with Progress(TextColumn("{task.description}", markup=False), console=console) as progress:
        progress.add_task("a\x1b]8;;http://x\x07b\u202e", total=1)
    assert "a\\x1b]8" in stream.getvalue()
    for control in ("\x1b]", "\x07", "\u202e"):
        assert control not in stream.getvalue()


def test_credentials_are_taken_out_wherever_they_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    remember_secrets([SECRET])
    error = KeyError(f"https://h/f?X-Amz-Signature={SECRET}\x1b[31m")
    write_json({"event": "warning", "message": SECRET, "more": [{"url": f"https://u:{SECRET}@h/f"}]})
    say(f"no answer from https://h/f?sig={SECRET}")
    say_traceback(error)
    shown = capsys.readouterr()
    text = shown.out + shown.err + printed(*tables(SECRET), f"Authorization: Bearer {SECRET}", width=400)
    assert SECRET not in text
    assert SECRET[:12] not in text
    assert "\x1b" not in text


def test_libraries_logs_warnings_and_threads_are_printable_too() -> None:
    program = """
import logging, threading, warnings
from maskmill.pipeline.standard_error import guard_libraries
guard_libraries()
logging.getLogger("aiohttp").warning("at \\x1b[31m https://h/f?sig=abcdefghijkl\\nnext \\u202e")
warnings.warn("of \\x1b[31m a name")
def fail(): raise ValueError("\\x9b in a thread")
thread = threading.Thread(target=fail); thread.start(); thread.join()
raise KeyError("\\x1b]0;title\\x07 https://u:password@h/f")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    lines = ended.stderr.split("\n")
    assert all(line == make_printable(line) for line in lines)
    assert "at \\x1b[31m https://h/f" in lines
    assert "UserWarning: of \\x1b[31m a name" in lines
    assert "in a thread" in ended.stderr
    assert "Traceback" in ended.stderr
    for secret in ("abcdefghijkl", "password"):
        assert secret not in ended.stderr


def find_bare_output(tree: ast.AST) -> list[int]:
    """Lines that write past the console."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            is_output = name in ("print", "pprint", "rprint", "traceback.print_exc", "traceback.print_exception")
            if is_output or name.endswith(("stdout.write", "stderr.write", ".echo", ".secho")):
                found.append(node.lineno)
            if name.split(".")[-1] in ("Console", "StreamHandler", "basicConfig"):
                found.append(node.lineno)
    return found


def test_nothing_is_printed_past_the_console() -> None:
    for package in (jobs, pipeline, schemas):
        for path in Path(str(package.__file__)).parent.rglob("*.py"):
            if path.name not in ("console.py", "standard_error.py"):
                assert find_bare_output(ast.parse(path.read_text())) == [], path
    assert find_bare_output(ast.parse("print(1)\nimport sys\nsys.stderr.write('x')\ntyper.echo(2)")) == [1, 3, 4]


def test_messages_of_logs_and_warnings_are_made_printable_where_they_are_written() -> None:
    """A program of the user's has no console of ours; an error's own message is printable."""
    for package in (jobs, pipeline, schemas):
        for path in Path(str(package.__file__)).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not ast.unparse(node.func).startswith(("_LOG.", "warnings.warn")):
                    continue
                said = node.args[:1] if ast.unparse(node.func) == "warnings.warn" else node.args[1:]
                for value in map(ast.unparse, said):
                    assert "make_printable(" in value or value in (
                        "error",
                        "attempt",
                        "attempts",
                        "raised.exc_value",
                    ), (path, value)


@pytest.mark.parametrize(
    "arguments",
    [["report", "--\x1b]8;;http://x\x07\u202e\ny"], ["\x1b[31m\u202e\ny"], ["demo", "--megabytes", "\x9b31m"]],
)
def test_wrong_arguments_are_shown_printable(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "Error" in result.output
    for line in RENDERED.sub("", result.output).split("\n"):
        assert line == make_printable(line), ascii(line)
        assert not line.startswith("y")
