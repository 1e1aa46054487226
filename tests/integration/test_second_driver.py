"""An output has one driver and one run; who comes second is told so, and nothing of the first is harmed."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.integration.conftest import Undisturbed
from tests.integration.runs import (
    Driver,
    assert_same_tree,
    engine_options,
    list_leftovers,
    prepare,
    read_tree,
    run_maskmill,
    set_options,
    units_done,
    write_run_file,
)


def test_a_second_driver_leaves_and_the_first_goes_on(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    first = Driver("prepare", run_file, *engine_options("local", 1), log=tmp_path / "log")
    next(iter(first))
    os.kill(first.process.pid, signal.SIGSTOP)  # so that it surely lives while the second one tries
    try:
        second = run_maskmill("prepare", run_file, "--json", *engine_options("local", 1))
    finally:
        os.kill(first.process.pid, signal.SIGCONT)
    assert second.status == 1
    assert second.stderr.startswith("ConfigError: ")
    assert "another driver is at work here" in second.stderr
    assert str(first.process.pid) in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert not units_done(second.events)
    assert first.finish() == 0, (tmp_path / "log").read_text()
    assert_same_tree(read_tree(tmp_path / "out"), undisturbed.tree)
    assert list_leftovers(tmp_path / "out") == []


def test_another_run_is_refused_by_the_keys_that_differ(undisturbed: Undisturbed) -> None:
    options = ["pack.seq_len=256", "tokenizer.vocab_size=2000", "engine.kind=local", "engine.workers=2"]
    refused = run_maskmill("prepare", undisturbed.run_file, *set_options(options))
    assert refused.status == 1
    assert refused.stderr.startswith("ConfigError: ")
    for word in ("pack.seq_len = 128", "pack.seq_len = 256", "tokenizer.vocab_size", "run.json"):
        assert word in refused.stderr
    for word in ("engine", "mask.rate", "documents.seed", "input"):
        assert word not in refused.stderr
    assert_same_tree(read_tree(undisturbed.output), undisturbed.tree)


@pytest.mark.parametrize("change", ["a line more", "a file more", "a file less"])
def test_changed_inputs_of_a_run_with_a_finished_part_are_refused(
    undisturbed: Undisturbed, tmp_path: Path, change: str
) -> None:
    corpus = Path(shutil.copytree(undisturbed.corpus_folder, tmp_path / "corpus"))
    run_file = write_run_file(tmp_path / "run.toml", corpus, tmp_path / "out")
    driver = Driver("prepare", run_file, *engine_options("local", 1), log=tmp_path / "log")
    for event in driver:
        if event["event"] == "unit_done" and event["stage"] == "count":  # the documents are written
            driver.kill()
            break
    if change == "a line more":
        with (corpus / "a-0.jsonl").open("a") as file:
            file.write('\n{"text": "more"}\n')
    elif change == "a file more":
        (corpus / "a-9.jsonl").write_text('{"text": "more"}\n')
    else:
        (corpus / "d-1.txt").unlink()
    refused = run_maskmill("prepare", run_file, "--json", *engine_options("local", 1))
    assert refused.status == 1
    assert refused.stderr.startswith("StaleArtifactError: ")
    assert "inputs" in refused.stderr
    assert not units_done(refused.events)

    shutil.rmtree(corpus)
    undisturbed.corpus.write(corpus)  # with the inputs restored the run goes on
    prepare(run_file)
    assert_same_tree(read_tree(tmp_path / "out"), undisturbed.tree)


def test_inputs_written_to_at_the_same_size_are_read_again(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """A run that was killed, and one of its inputs changed: the bytes are those of a run over the current inputs."""
    corpus = tmp_path / "corpus"
    undisturbed.corpus.write(corpus)
    run_file = write_run_file(tmp_path / "run.toml", corpus, tmp_path / "out")
    driver = Driver("prepare", run_file, *engine_options("local", 1), log=tmp_path / "log")
    for event in driver:
        if event["event"] == "stage_started" and event["stage"] == "sort":
            driver.kill()
            break
    changed = corpus / "a-0.jsonl"
    data = changed.read_bytes()
    changed.write_bytes(data.replace(b"e", b"o"))
    changed_keys = b'"toxt"' in changed.read_bytes()
    changed.write_bytes(changed.read_bytes().replace(b'"toxt"', b'"text"'))
    assert changed_keys
    assert len(changed.read_bytes()) == len(data)
    prepare(run_file)
    anew = write_run_file(tmp_path / "anew.toml", corpus, tmp_path / "anew")
    prepare(anew)
    assert_same_tree(read_tree(tmp_path / "out"), read_tree(tmp_path / "anew"))
