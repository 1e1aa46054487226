"""`--help` teaches: no type for flags, an example for every command."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from maskmill.jobs.cli import app

COMMANDS = ["prepare", "shard", "tokenizer", "pack", "mask", "verify", "report", "train", "recipes", "demo"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_flags_are_shown_without_a_type_and_every_command_with_an_example(command: str) -> None:
    said = CliRunner().invoke(app, [command, "--help"] if command else ["--help"], env={"COLUMNS": "100"}).output
    assert "--help" in said
    assert "bool" not in said
    assert f"maskmill {command} " in said.partition("Usage")[2].partition("\n")[2] or command == ""


def test_help_shows_a_run_file_as_it_is_written() -> None:
    said = CliRunner().invoke(app, ["prepare", "--help"]).output
    assert "[input]" in said
    assert 'paths = ["corpus/*.jsonl.zst"]' in said
    assert "\\" not in said
