"""A run over bad input stops early and says why; a few bad documents do not stop it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.integration.conftest import Undisturbed
from tests.integration.runs import (
    Ended,
    engine_options,
    run_maskmill,
    set_options,
    units_done,
    units_of,
    write_run_file,
)
from tests.integration.shards import read_manifest
from tests.integration.synthetic_corpus import Corpus


def shard(run_file: Path, *sets: str, workers: int = 1) -> Ended:
    return run_maskmill("shard", run_file, "--json", *engine_options("local", workers), *set_options(sets))


def test_a_wrong_text_field_stops_the_run_early(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    ended = shard(run_file, "input.text_field=body")
    assert ended.status == 1
    assert ended.stderr.startswith("InputDataError: ")
    assert "no text field" in ended.stderr
    assert "input.text_field" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert len(units_done(ended.events)) < units_of(ended.events, "map")
    assert not list((tmp_path / "out").glob("*/manifest.json"))


def test_one_bad_file_of_many_passes(undisturbed: Undisturbed, tmp_path: Path) -> None:
    corpus = undisturbed.corpus.write(tmp_path / "corpus")
    (corpus / "bad.jsonl").write_text("broken\n" * 40)
    run_file = write_run_file(tmp_path / "run.toml", corpus, tmp_path / "out")
    ended = shard(run_file, "input.max_quarantined=0.1")
    assert ended.status == 0, ended.stderr
    counts = read_manifest(tmp_path / "out" / "documents")["counts"]
    assert counts["quarantined_by_reason"]["broken JSON"] == 40 + undisturbed.corpus.reasons()["broken JSON"]
    assert counts["read"] == len(undisturbed.corpus.entries) + 40


def test_the_limit_is_met_to_the_document(tmp_path: Path) -> None:
    """Of 200 documents 10 bad ones are 5 %, which is allowed; 11 are not."""
    for bad, status in ((10, 0), (11, 1)):
        corpus = Corpus({f"{bad}.jsonl": (_lines(200 - bad) + "{}\n" * bad).encode()})
        folder = corpus.write(tmp_path / f"corpus-{bad}")
        run_file = write_run_file(tmp_path / "run.toml", folder, tmp_path / f"out-{bad}", [f"{folder}/*.jsonl"])
        ended = shard(run_file)
        assert ended.status == status, ended.stderr


def _lines(count: int) -> str:
    return "".join(json.dumps({"text": f"document {number}"}) + "\n" for number in range(count))


def test_the_stop_names_file_and_line_and_every_reason(tmp_path: Path) -> None:
    good = [json.dumps({"text": f"good {number}"}) for number in range(20)]
    (tmp_path / "a.jsonl").write_text("\n".join([*good, "[]", "broken", "broken", '{"body": 1}', '{"text": 1}']))
    (tmp_path / "b.jsonl").write_text("\n".join([*good, '{"text": ""}', "broken"]))
    run_file = write_run_file(tmp_path / "run.toml", "", tmp_path / "out", [f"{tmp_path}/*.jsonl"])
    for workers in (1, 2):
        ended = shard(run_file, workers=workers)
        assert ended.status == 1
        assert ended.stderr == (
            "InputDataError: input.max_quarantined, first at a.jsonl line 22: too much of the input is bad; "
            "expected at most 0.05 of all documents quarantined; found 7 of the first 47: "
            "3 broken JSON (first a.jsonl line 22), 1 empty text (first b.jsonl line 21), "
            "1 no text field (first a.jsonl line 24), 1 not a JSON object (first a.jsonl line 21), "
            "1 text is not a string (first a.jsonl line 25); look at quarantine/, "
            "check input.text_field and the files, or raise input.max_quarantined\n"
        )


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (
            gzip.compress(json.dumps({"text": "word"}).encode() * 3000),
            "a.jsonl is compressed by gzip: name it a.jsonl.gz",
        ),
        ('{"text": "word"}\n'.encode("utf-16") * 3000, "a.jsonl is UTF-16 text: convert it to UTF-8"),
    ],
)
def test_a_stop_for_bytes_that_are_no_text_says_what_they_are(tmp_path: Path, content: bytes, remedy: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    run_file = write_run_file(tmp_path / "run.toml", "", tmp_path / "out", [f"{tmp_path}/*.jsonl"])
    ended = shard(run_file)
    assert ended.status == 1
    assert remedy in ended.stderr


def test_after_the_remedy_of_a_stop_the_same_command_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(_lines(3000).encode()))
    run_file = write_run_file(tmp_path / "run.toml", "", tmp_path / "out", [f"{tmp_path}/*.jsonl*"])
    stopped = shard(run_file)
    assert (stopped.status, "name it a.jsonl.gz" in stopped.stderr) == (1, True), stopped.stderr
    (tmp_path / "a.jsonl").rename(tmp_path / "a.jsonl.gz")
    ended = shard(run_file)
    assert ended.status == 0, ended.stderr
    assert read_manifest(tmp_path / "out" / "documents")["counts"]["read"] == 3000
    assert list((tmp_path / "out").glob("quarantine/*")) == []


def test_one_file_of_another_kind_among_many_is_warned_of(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"text": f"good {number}"}) for number in range(1000))
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl").write_bytes(gzip.compress(b"{}", mtime=0))
    run_file = write_run_file(tmp_path / "run.toml", "", tmp_path / "out", [f"{tmp_path}/*.jsonl"])
    ended = shard(run_file)
    assert ended.status == 0, ended.stderr
    warnings = [event["message"] for event in ended.events if event["event"] == "warning"]
    assert "b.jsonl is compressed by gzip: name it b.jsonl.gz" in warnings


@pytest.mark.parametrize("workers", [1, 2])
def test_files_of_another_kind_are_warned_of_behind_other_rejected_lines(tmp_path: Path, workers: int) -> None:
    lines = "\n".join(json.dumps({"text": f"good {number}"}) for number in range(1000))
    (tmp_path / "a.jsonl").write_bytes(lines.encode() + b'\n{"text": "\xff"}\n')
    for name in ("b.jsonl", "c.jsonl", "d.jsonl"):
        (tmp_path / name).write_bytes(gzip.compress(b"{}", mtime=0))
    run_file = write_run_file(tmp_path / "run.toml", "", tmp_path / "out", [f"{tmp_path}/*.jsonl"])
    ended = shard(run_file, workers=workers)
    assert ended.status == 0, ended.stderr
    warnings = [event["message"] for event in ended.events if event["event"] == "warning"]
    told = "b.jsonl is compressed by gzip: name it b.jsonl.gz; 2 more files are not what the name says"
    assert [warning for warning in warnings if "gzip" in warning] == [told]
