"""Wrong use ends with the right status and one line that says what, where and what to do; never with a traceback."""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tests.integration.conftest import Undisturbed
from tests.integration.runs import (
    assert_same_tree,
    engine_options,
    list_leftovers,
    prepare,
    read_tree,
    run_maskmill,
    set_options,
    write_run_file,
)

Case = tuple[Callable[[Path], list[str]], str, list[str]]
"""What makes the input paths in a folder; the error's class; words of its message."""


def _line(text: str = "some text to read") -> bytes:
    return json.dumps({"text": text}).encode() + b"\n"


def _files(folder: Path, files: dict[str, bytes]) -> list[str]:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return [str(folder / name) for name in files]


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


NOISE = b"".join(_line(str(number**5)) for number in range(3000))

INPUTS: dict[str, Case] = {
    "missing path": (
        lambda folder: [f"{folder}/nothing.jsonl"],
        "ConfigError",
        ["the input does not exist", "nothing.jsonl"],
    ),
    "empty glob": (lambda folder: [f"{folder}/*.jsonl"], "ConfigError", ["matches no file", "/*.jsonl"]),
    "a folder": (lambda folder: [str(folder)], "ConfigError", ["folder", "/*"]),
    "unknown suffix": (
        lambda folder: _files(folder, {"in.pdf": b"%PDF"}),
        "ConfigError",
        ["unknown input format", "in.pdf"],
    ),
    "JSON, not JSON lines": (
        lambda folder: _files(folder, {"c4.json.gz": gzip.compress(b'[\n {"text": "a"},\n {"text": "b"}\n]\n')}),
        "InputDataError",
        ["too much of the input is bad", "c4.json.gz is one JSON value over several lines", "an object a line"],
    ),
    "truncated gzip": (
        lambda folder: _files(folder, {"in.jsonl.gz": _cut(gzip.compress(NOISE))}),
        "InputDataError",
        ["cannot be read to its end", "in.jsonl.gz", "gzip"],
    ),
    "truncated zstd": (
        lambda folder: _files(folder, {"in.jsonl.zst": _cut(pa.compress(NOISE, codec="zstd", asbytes=True))}),
        "InputDataError",
        ["cannot be read to its end", "in.jsonl.zst", "zstd"],
    ),
    "no gzip": (
        lambda folder: _files(folder, {"in.jsonl.gz": NOISE}),
        "InputDataError",
        ["cannot be read to its end", "in.jsonl.gz"],
    ),
    "no document": (lambda folder: _files(folder, {"in.jsonl": b"\n\n"}), "InputDataError", ["no document"]),
}

SETTINGS: dict[str, tuple[list[str], str, list[str]]] = {
    "unknown key": (["pack.seq_length=128"], "ConfigError", ["pack.seq_length", "did you mean pack.seq_len?"]),
    "unknown section": (["packing.seq_len=128"], "ConfigError", ["unknown key packing", "did you mean pack?"]),
    "rows too short": (["pack.seq_len=31"], "ConfigError", ["pack.seq_len", "32", "found 31"]),
    "rows too long": (["pack.seq_len=65537"], "ConfigError", ["pack.seq_len", "65536", "found 65537"]),
    "wrong type": (["pack.seq_len=many"], "ConfigError", ["pack.seq_len", "integer", "'many'"]),
    "no override": (["pack.seq_len"], "ConfigError", ["--set", "section.key=value"]),
    "alphabet too large": (["tokenizer.vocab_size=8"], "ConfigError", ["tokenizer.vocab_size", "8"]),
    "no tokenizer there": (
        ["tokenizer.from=/nowhere/at/all"],
        "ConfigError",
        ["there is no tokenizer here", "/nowhere/at/all"],
    ),
    "memory in several processes": (
        ["output.url=memory://here", "engine.workers=2"],
        "ConfigError",
        ["memory://", "engine.workers = 1"],
    ),
    "no such protocol": (["output.url=nosuch://here"], "ConfigError", ["nosuch://here"]),
}


def fail(run_file: Path | str, *sets: str, command: str = "prepare") -> str:
    """Run a command that must fail with status 1 and one clear line; returns the line."""
    ended = run_maskmill(command, run_file, *engine_options("local", 1), *set_options(sets))
    assert ended.status == 1, ended
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    return ended.stderr


def has_all(said: str, kind: str, words: list[str]) -> None:
    assert said.startswith(f"{kind}: "), said
    assert not [word for word in words if word not in said], said


@pytest.fixture
def small_run(tmp_path: Path) -> Path:
    """A run file over one small good file."""
    paths = _files(tmp_path, {"good.jsonl": _line() + _line("another one, with other words")})
    return write_run_file(tmp_path / "run.toml", "", tmp_path / "out", paths)


@pytest.mark.parametrize("case", INPUTS)
def test_wrong_inputs(tmp_path: Path, case: str) -> None:
    make, kind, words = INPUTS[case]
    (tmp_path / "in").mkdir()
    run_file = write_run_file(tmp_path / "run.toml", "", tmp_path / "out", make(tmp_path / "in"))
    has_all(fail(run_file), kind, words)
    assert not list((tmp_path / "out").glob("*/manifest.json"))


@pytest.mark.parametrize("case", SETTINGS)
def test_wrong_settings(small_run: Path, case: str) -> None:
    sets, kind, words = SETTINGS[case]
    has_all(fail(small_run, *sets), kind, words)


def test_wrong_run_files(tmp_path: Path) -> None:
    has_all(fail(tmp_path / "none.toml"), "ConfigError", ["none.toml", "check the path"])
    (tmp_path / "broken.toml").write_text("[input\n")
    has_all(fail(tmp_path / "broken.toml"), "ConfigError", ["broken.toml", "not valid TOML"])
    (tmp_path / "empty.toml").write_text("")
    has_all(fail(tmp_path / "empty.toml"), "ConfigError", ["input is missing"])


def test_a_tokenizer_without_mask_is_refused(undisturbed: Undisturbed, small_run: Path, tmp_path: Path) -> None:
    vocabulary = (undisturbed.output / "tokenizer" / "vocab.txt").read_text().replace("[MASK]\n", "mask\n", 1)
    (tmp_path / "vocab.txt").write_text(vocabulary)
    said = fail(small_run, f"tokenizer.from={tmp_path / 'vocab.txt'}")
    has_all(said, "ConfigError", ["tokenizer.from", "no [MASK]"])


def test_verify_and_report_where_nothing_is(tmp_path: Path) -> None:
    for command in ("verify", "report"):
        ended = run_maskmill(command, tmp_path)
        assert ended.status == 1
        has_all(ended.stderr, "ConfigError", [str(tmp_path), "manifest.json"])


def test_report_believes_no_manifest_that_was_edited(undisturbed: Undisturbed, tmp_path: Path) -> None:
    manifest = tmp_path / "packed" / "manifest.json"
    shutil.copytree(undisturbed.output / "packed", manifest.parent)
    whole = manifest.read_text()
    manifest.write_text(whole.replace('"proof_documents": ', '"proof_documents": 9'))
    for harmed in (manifest.read_text(), whole[: len(whole) // 2], "[]", '{"kind": ["packed"]}'):
        manifest.write_text(harmed)
        ended = run_maskmill("report", manifest.parent)
        assert ended.status == 1
        has_all(ended.stderr, "ShardCorruptError", [str(manifest)])
    manifest.write_text(whole)
    assert run_maskmill("report", manifest.parent).status == 0


@pytest.mark.long
def test_names_with_signs_of_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "[red]").mkdir()
    lines = [{"text": f"word {number} \u4e00", "source": "[/b] :smile:"} for number in range(50)]
    (tmp_path / "[red]" / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    settings = [f"output.url={tmp_path}/[red]/out", "tokenizer.vocab_size=64", "tokenizer.limit_alphabet=5"]
    run_file = write_run_file(tmp_path / "run.toml", "", tmp_path / "out", [f"{tmp_path}/[[]red]/a.jsonl"])
    ended = run_maskmill("prepare", run_file, *engine_options("local", 1), *set_options(settings))
    assert ended.status == 0, ended.stderr
    assert "/[red]/out" in "".join(ended.stdout.split())
    for said in (
        ended,
        run_maskmill("report", tmp_path / "[red]" / "out"),
        run_maskmill("tokenizer", run_file, *set_options(settings)),
    ):
        assert said.status == 0, said.stderr
        assert "[/b] :smile:" in said.stdout
        assert "[UNK]" in said.stdout


def test_help_names_the_sections_that_it_speaks_of() -> None:
    assert "If [tokenizer], [pack] or [mask] have" in " ".join(run_maskmill("prepare", "--help").stdout.split())


def test_a_tokenizer_to_compare_with_is_looked_at_before_the_run(small_run: Path, tmp_path: Path) -> None:
    ended = run_maskmill("tokenizer", small_run, "--compare", tmp_path / "none" / "vocab.txt")
    assert ended.status == 1
    has_all(ended.stderr, "ConfigError", ["none/vocab.txt", "there is no tokenizer here"])
    assert not (tmp_path / "out").exists()


def test_the_root_of_a_disk_is_no_output(small_run: Path) -> None:
    has_all(fail(small_run, "output.url=/"), "ConfigError", ["output.url", "root of a disk"])


@pytest.mark.parametrize("how", [">&-", "2>/dev/full", "PYTHONIOENCODING=ascii"])
def test_an_output_that_takes_no_words_is_no_fault(tmp_path: Path, how: str) -> None:
    lines = [{"text": f"word {number}", "source": "\u00fcn\u00ef"} for number in range(50)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run_file = write_run_file(tmp_path / "run.toml", "", tmp_path / "out", [f"{tmp_path}/a.jsonl"])
    variable, redirect = (how, "") if "=" in how else ("", how)
    settings = "--set engine.workers=1 --set tokenizer.vocab_size=64"
    command = f"{variable} {sys.executable} -m maskmill prepare {run_file} {settings} {redirect}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "unexpected" not in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out" / "packed" / "manifest.json").exists()


@pytest.mark.parametrize("command", ["train", "demo"])
def test_a_package_that_is_missing_is_named(tmp_path: Path, command: str) -> None:
    hide = "import sys; sys.modules['torch'] = None; from maskmill.jobs.cli import main; main()"
    arguments = [tmp_path / "train.toml"] if command == "train" else ["--output", tmp_path / "out"]
    ended = subprocess.run(
        [sys.executable, "-c", hide, command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    has_all(ended.stderr, "ConfigError", ["torch is not installed", "maskmill[prepare,train]"])
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["prepair", "run.toml"],
        ["prepare"],
        ["prepare", "run.toml", "--fast"],
        ["prepare", "a.toml", "b.toml"],
        ["verify"],
    ],
)
def test_wrong_use_ends_with_2(arguments: list[str]) -> None:
    ended = run_maskmill(*arguments)
    assert ended.status == 2
    assert "Usage:" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    ended = run_maskmill("prepare", tmp_path / "none.toml", "--debug")
    assert ended.status == 1
    assert "Traceback" in ended.stderr
    assert "ConfigError" in ended.stderr


def _drop_roots_rights() -> None:
    """Root without these capabilities is held to permissions like anybody else; for others there is nothing to drop."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.parametrize("what", ["input", "output"])
def test_what_may_not_be_read_or_written_is_named(small_run: Path, tmp_path: Path, what: str) -> None:
    output, raw = tmp_path / "out", tmp_path / "good.jsonl"
    output.mkdir()
    if what == "input":
        raw.chmod(0)
    else:
        output.chmod(0o555)
    ended = subprocess.run(
        [sys.executable, "-m", "maskmill", "prepare", str(small_run), "--set", "engine.workers=1"],
        preexec_fn=_drop_roots_rights,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1, ended.stderr
    has_all(ended.stderr, "ConfigError", ["permission", str(raw if what == "input" else output)])
    assert len(ended.stderr.splitlines()) == 1, ended.stderr


def test_a_full_disk_is_named_and_the_run_goes_on_with_more_space(undisturbed: Undisturbed, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(*options: str) -> int:
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(disk)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    if os.geteuid() != 0 or mount("-o", "size=2500k") != 0:
        pytest.skip("a tmpfs can be mounted only by root")
    try:
        run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, disk / "out")
        has_all(fail(run_file), "ConfigError", ["no space left on the device", str(disk)])
        assert mount("-o", "remount,size=40m") == 0
        prepare(run_file)
        assert_same_tree(read_tree(disk / "out"), undisturbed.tree)
        assert list_leftovers(disk / "out") == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_what_is_no_output_is_said_for_what_it_is(small_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "run.json").write_text('{"schema_version": "1.0"}')
    for command in ("verify", "report"):
        said = run_maskmill(command, small_run).stderr
        has_all(said, "ConfigError", ["run.toml", "found a file", "output.url in this file"])
        assert "found a missing or empty folder" in run_maskmill(command, tmp_path / "empty").stderr
        assert "found a missing or empty folder" in run_maskmill(command, tmp_path / "none").stderr
        assert "found a folder with other files" in run_maskmill(command, tmp_path).stderr
    has_all(run_maskmill("report", tmp_path / "stopped").stderr, "ConfigError", ["no part is finished", "prepare"])
