"""A run over bad input stops early and says why; a few bad documents do not stop it."""

from __future__ import annotations

import json
from pathlib import Path

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
