"""The commands, files and programs of the guide, unchanged and in the order in which a new user meets them."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tests.servers.command_line import run_command_line

ROOT = Path(__file__).parents[2]
PAGES = ("getting-started", "own-text", "own-trainer", "masks", "pairs")
ELSEWHERE = ("make demo", "make test", "pip install", "ray job submit")
"""What these tests do not run: the commands that run the tests, an installation, and what needs a cluster."""


def read_blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each block of a page."""
    blocks = re.finditer(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [(match["language"], match["text"]) for match in blocks]


BLOCKS = [block for page in PAGES for block in read_blocks(ROOT / "docs" / f"{page}.md")]


def commands() -> list[str]:
    """Every command line of the pages, its comment left out."""
    lines = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]
    return [line.partition(" #")[0].strip() for line in lines if line.strip()]


def write_corpus(folder: Path) -> None:
    """Documents of random words below `corpus/`, and a vocabulary of the name that the guide compares with."""
    draw = random.Random(4)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(200)]
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
    """A folder with a corpus and the files that the pages write."""
    folder = tmp_path_factory.mktemp("guide")
    write_corpus(folder)
    for language, text in BLOCKS:
        if language == "toml" and (name := re.match(r"# (\w+\.toml)\n", text)):
            (folder / name[1]).write_text(text)
    return folder


def run(command: list[str], folder: Path) -> str:
    """Run a command in the folder; fails unless it ends well."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PATH": path}, check=False
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def run_maskmill(line: str) -> str:
    """Run a command that prepares or reads, in this folder; fails unless it ends well."""
    name, *arguments = shlex.split(line)
    assert name == "maskmill"
    status, stdout, stderr = run_command_line(arguments, 120)
    assert status == 0, f"{line}\n{stdout}{stderr}"
    return stdout


def test_every_command_is_run_here_or_named_as_not() -> None:
    others = [line for line in commands() if not line.startswith("maskmill ")]
    assert all(line.startswith(ELSEWHERE) for line in others), others
    assert {line.split()[1] for line in commands() if line.startswith("maskmill ")} >= {"prepare", "verify", "train"}


@pytest.mark.long
def test_the_commands_work_one_after_the_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    rows_of_training = ""
    for line in commands():
        if line.startswith("maskmill train "):
            rows_of_training += run(["bash", "-c", line], folder)
        elif line.startswith("maskmill "):
            run_maskmill(line)
    assert "step" in rows_of_training
    assert (folder / "out" / "packed" / "manifest.json").exists()
    assert "everything is as it was written" in run(["bash", "-c", "maskmill verify out"], folder)


@pytest.mark.long
def test_the_lines_for_a_trainer_work(folder: Path) -> None:
    """On the rows that the commands before have left."""
    scripts = [text for language, text in BLOCKS if language == "python"]
    assert scripts
    for script in scripts:
        run([sys.executable, "-c", script], folder)


def test_the_readme_says_nothing_that_the_guide_does_not() -> None:
    """So that what runs here is what the README says; its two commands apart."""
    readme = read_blocks(ROOT / "README.md")
    assert [block for block in readme if block[0] in ("toml", "python") and block not in BLOCKS] == []
    lines = [line for language, text in readme if language == "bash" for line in text.splitlines()]
    said = [line for language, text in BLOCKS if language == "bash" for line in text.splitlines()]
    assert all(line in said or line.startswith(("make ", "pip install ")) for line in lines)
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


@pytest.mark.parametrize("page", sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")))
def test_files_that_a_page_names_are_there(page: str) -> None:
    named = re.findall(
        r"`((?:tests|pipeline|schemas|jobs|infra|docs)/[\w/.-]*\w(?:/|\.\w+))`", (ROOT / page).read_text()
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_messages_of_the_troubleshooting_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    headings = [line for line in page.splitlines() if line.startswith("### `")]
    messages = [message for line in headings for message in re.findall(r"`([^`]+)`", line)]
    sources = [path for folder in ("jobs", "pipeline", "schemas") for path in (ROOT / folder).rglob("*.py")]
    code = re.sub(r'"\s+f?"', "", "\n".join(path.read_text() for path in sources))
    pieces = [piece.strip(" .,") for message in messages for piece in message.split("…")]
    assert len(messages) > 15
    assert [piece for piece in pieces if piece not in code] == []


def test_functions_of_the_concepts_page_are_where_it_says() -> None:
    rows = re.findall(r"`(pipeline/[\w/]+\.py)`, `(?:\w+\.)?(\w+)`", (ROOT / "docs" / "concepts.md").read_text())
    assert len(rows) == 6
    assert [row for row in rows if f"def {row[1]}(" not in (ROOT / row[0]).read_text()] == []
