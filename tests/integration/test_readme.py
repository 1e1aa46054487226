"""The README's commands and files, top to bottom, as they stand: a new user gives them in this order."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

README = Path(__file__).parents[2] / "README.md"
ELSEWHERE = ("make demo", "make test", "pip install", "ray job submit", "python infra/draw_order.py")
"""What these tests do not run: the commands that run the tests, an installation, and what needs a cluster."""

BLOCKS = [
    (match["language"], match["text"])
    for match in re.finditer(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
]


def commands() -> list[str]:
    """Every command line of the README, its comment left out."""
    lines = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]
    return [line.partition(" #")[0].strip() for line in lines if line.strip()]


def write_corpus(folder: Path) -> None:
    """Documents of random words below `corpus/`, and a vocabulary of the name that the README compares with."""
    draw = random.Random(4)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(800)]
    (folder / "corpus").mkdir()
    for name in ("a", "b"):
        lines = [json.dumps({"text": " ".join(draw.choices(words, k=draw.randint(20, 300)))}) for _ in range(400)]
        with pa.output_stream(str(folder / "corpus" / f"{name}.jsonl.zst"), compression="zstd") as file:
            file.write("\n".join(lines).encode())
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    pieces += [f"##{letter}" for letter in pieces[5:]]
    (folder / "bert-base-uncased-vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus and the README's own files."""
    folder = tmp_path_factory.mktemp("readme")
    write_corpus(folder)
    for language, text in BLOCKS:
        if language == "toml" and (name := re.match(r"# (\w+\.toml)\n", text)):
            (folder / name[1]).write_text(text)
    return folder


def run(command: list[str], folder: Path) -> str:
    """Run a command in the folder; fails unless it ends well."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=200, env=os.environ | {"PATH": path}, check=False
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def test_every_command_is_run_here_or_named_as_not() -> None:
    others = [line for line in commands() if not line.startswith("maskmill ")]
    assert all(line.startswith(ELSEWHERE) for line in others), others
    assert {line.split()[1] for line in commands() if line.startswith("maskmill ")} >= {"prepare", "verify", "train"}


def test_the_commands_work_one_after_the_other(folder: Path) -> None:
    rows_of_training = ""
    for line in commands():
        if line.startswith("maskmill "):
            said = run(["bash", "-c", line], folder)
            rows_of_training += said if line.startswith("maskmill train") else ""
    assert "step" in rows_of_training
    assert (folder / "out" / "packed" / "manifest.json").exists()
    assert "everything is as it was written" in run(["bash", "-c", "maskmill verify out"], folder)


def test_the_lines_for_a_trainer_work(folder: Path) -> None:
    """On the rows that the commands before have left."""
    scripts = [text for language, text in BLOCKS if language == "python"]
    assert scripts
    for script in scripts:
        run([sys.executable, "-c", script], folder)
