"""Law 2: the same input gives the same bytes, whoever does the work, wherever, in however many pieces."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.conftest import Undisturbed
from tests.integration.runs import (
    PARALLEL_STAGES,
    PARTS,
    STAGES,
    Driver,
    assert_same_tree,
    engine_options,
    list_leftovers,
    list_receipts,
    prepare,
    read_tree,
    run_maskmill,
    units_done,
    units_of,
    write_run_file,
)
from tests.integration.synthetic_corpus import patterns

LOCAL, RAY = ("local", 2), ("ray", 2)


def test_the_corpus_is_large_enough_to_be_spread(undisturbed: Undisturbed) -> None:
    assert {stage: units_of(undisturbed.events, stage) for stage in STAGES if stage not in PARALLEL_STAGES} == {
        "collect": 1,
        "train": 1,
        "prove": 8,
    }
    for stage in PARALLEL_STAGES:
        assert units_of(undisturbed.events, stage) >= 8, stage
    names = undisturbed.tree.keys()
    assert {name.split("/")[0] for name in names} == set(PARTS)
    assert sum(name.startswith("packed/shard-") for name in names) >= 8


@pytest.mark.parametrize(("engine", "workers"), [LOCAL, pytest.param(*RAY, marks=pytest.mark.long)])
def test_every_engine_writes_the_same_bytes(
    undisturbed: Undisturbed, tmp_path: Path, engine: str, workers: int
) -> None:
    """Another place for corpus and output, and another order of the inputs, change nothing either."""
    corpus = shutil.copytree(undisturbed.corpus_folder, tmp_path / "moved" / "elsewhere")
    run_file = write_run_file(tmp_path / "run.toml", corpus, tmp_path / "out", patterns(corpus)[::-1])
    events = prepare(run_file, engine=engine, workers=workers).events
    assert units_done(events) == units_done(undisturbed.events)
    assert_same_tree(read_tree(tmp_path / "out"), undisturbed.tree)
    assert list_leftovers(tmp_path / "out") == []


@pytest.mark.long
@pytest.mark.parametrize("engines", [[LOCAL, RAY], [RAY, LOCAL]], ids=["local to ray", "ray to local"])
def test_a_run_begun_on_one_engine_is_finished_on_the_other(
    undisturbed: Undisturbed, tmp_path: Path, engines: list[tuple[str, int]]
) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    driver = Driver("prepare", run_file, *engine_options(*engines[0]), log=tmp_path / "log")
    for event in driver:
        if event["event"] == "unit_done" and event["stage"] == "count":
            driver.kill()
            break
    # Receipts of the first part are gone by now; a unit may have left one without a word of its driver.
    begun = units_done(driver.events) | list_receipts(tmp_path / "out")
    finished = units_done(prepare(run_file, engine=engines[1][0], workers=engines[1][1]).events)
    assert begun | finished == units_done(undisturbed.events)
    assert not begun & finished
    assert_same_tree(read_tree(tmp_path / "out"), undisturbed.tree)
    assert list_leftovers(tmp_path / "out") == []


def test_a_finished_run_is_left_alone(undisturbed: Undisturbed) -> None:
    def stamps() -> dict[str, int]:
        return {name: (undisturbed.output / name).stat().st_mtime_ns for name in undisturbed.tree}

    before = stamps()
    again = prepare(undisturbed.run_file, engine="local", workers=2)
    assert units_done(again.events) == set()
    assert [event["event"] for event in again.events] == ["finished"]
    assert stamps() == before
    assert_same_tree(read_tree(undisturbed.output), undisturbed.tree)


def test_the_parts_one_by_one_give_the_same_bytes(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    parts = {"shard": PARTS[:2], "tokenizer": PARTS[:3], "pack": PARTS[:5]}
    for command, standing in parts.items():
        ended = run_maskmill(command, run_file, *engine_options("local", 1))
        assert ended.status == 0, ended.stderr
        for part in PARTS[:5]:
            assert (tmp_path / "out" / part / "manifest.json").exists() == (part in standing), (command, part)
    assert_same_tree(read_tree(tmp_path / "out"), undisturbed.tree)
