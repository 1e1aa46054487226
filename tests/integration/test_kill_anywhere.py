"""Law 8: after SIGKILL at any instant, of any process, the same command finishes the job with the same bytes."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Undisturbed
from tests.integration.runs import (
    PARALLEL_STAGES,
    STAGES,
    Driver,
    assert_same_tree,
    engine_options,
    list_leftovers,
    list_receipts,
    prepare,
    read_tree,
    units_done,
    units_of,
    write_run_file,
)
from tests.servers.processes import is_stopped, wait_until

# What is waited for, the stage or file, how many of them, and workers. The driver is killed after its nth unit and a
# random delay, or kills itself at the exact moment.
MOMENTS: list[tuple[str, str, int, int]] = [
    ("unit_done", "map", 1, 1),
    ("unit_done", "map", 1, 2),
    ("unit_done", "map", 2, 1),
    ("unit_done", "map", 2, 2),
    ("before", "work/exchange/index.arrow", 1, 1),
    ("unit_done", "sort", 1, 1),
    ("unit_done", "sort", 2, 2),
    ("stage_done", "sort", 1, 1),
    ("before", "documents/shards.arrow", 1, 1),
    ("before", "documents/manifest.json", 1, 1),
    ("after", "documents/manifest.json", 1, 1),
    ("unit_done", "count", 1, 1),
    ("unit_done", "count", 3, 2),
    ("unit_done", "merge", 1, 1),
    ("unit_done", "merge", 3, 1),
    ("unit_done", "merge", 3, 2),
    ("after", "tokenizer/word_counts.parquet", 1, 1),
    ("stage_done", "train", 1, 1),
    ("stage_done", "prove", 1, 1),
    ("after", "tokenizer/manifest.json", 1, 1),
    ("unit_done", "pack", 1, 1),
    ("unit_done", "pack", 2, 2),
    ("unit_done", "pack", 2, 1),
    ("stage_done", "pack", 1, 1),
    ("before", "packed/manifest.json", 1, 1),
    ("after", "packed/manifest.json", 1, 1),
]
# At most about as long as a unit or two take, so that the stage is not over too soon.
MAX_DELAY_SECONDS = {"map": 0.05, "sort": 0.004, "count": 0.01, "merge": 0.004, "pack": 0.01}


def test_a_run_killed_again_and_again_ends_as_if_nothing_had_been(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    output = tmp_path / "out"
    rng = random.Random(0)
    standing: set[tuple[str, int]] = set()
    killed_in: list[str] = []
    for moment, place, count, workers in MOMENTS:
        if moment == "unit_done":
            place = f"{place}:{count}:{rng.uniform(0, MAX_DELAY_SECONDS[place])}"
        driver = Driver(
            *(moment, place, run_file),
            *engine_options("local", workers),
            module="tests.integration.dying_driver",
            log=tmp_path / "log",
        )
        if moment == "unit_done":
            wait_until(lambda pid=driver.process.pid: is_stopped(pid), "the moment to kill the driver")
            driver.kill()
        else:
            assert driver.finish() == -signal.SIGKILL, (moment, place, (tmp_path / "log").read_text())
        assert not units_done(driver.events) & standing, "a finished unit ran again"
        assert driver.process.returncode == -signal.SIGKILL
        killed_in.append(next((event["stage"] for event in reversed(driver.events) if "stage" in event), "begin"))
        standing = list_receipts(output)
        visible = {name: data for name, data in read_tree(output).items() if not name.endswith(".partial")}
        assert_same_tree(visible, {name: undisturbed.tree[name] for name in visible if name in undisturbed.tree})
    assert set(STAGES) - {"prove"} <= set(killed_in), killed_in

    last = prepare(run_file)
    assert not units_done(last.events) & standing
    assert_same_tree(read_tree(output), undisturbed.tree)
    assert list_leftovers(output) == []


@pytest.mark.parametrize("place", ["documents", "tokenizer", "packed"])
def test_a_manifest_comes_after_all_that_it_speaks_of(undisturbed: Undisturbed, tmp_path: Path, place: str) -> None:
    """Killed when the manifest has just got its name, the part is whole; nothing of it is done again."""
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    module, name = "tests.integration.dying_driver", f"{place}/manifest.json"
    driver = Driver("after", name, run_file, *engine_options("local", 1), module=module, log=tmp_path / "log")
    assert driver.finish() == -signal.SIGKILL
    expected = {path: data for path, data in undisturbed.tree.items() if path.startswith((f"{place}/", f"{place}-"))}
    assert_same_tree(read_tree(tmp_path / "out", [place, f"{place}-heldout"]), expected)


@pytest.mark.long
def test_the_unit_of_a_killed_worker_runs_again_under_the_same_driver(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    driver = Driver("prepare", run_file, *engine_options("local", 2), log=tmp_path / "log")
    rng = random.Random(1)
    killed: dict[str, int] = {}
    for event in driver:
        if event["event"] != "unit_done" or event["stage"] in killed or event["stage"] not in PARALLEL_STAGES:
            continue
        if workers := driver.workers():
            killed[event["stage"]] = rng.choice(workers)
            os.kill(killed[event["stage"]], signal.SIGKILL)
    assert driver.process.wait() == 0, (tmp_path / "log").read_text()
    assert len(killed) >= 3, killed
    _assert_each_unit_once(driver, undisturbed)
    assert_same_tree(read_tree(tmp_path / "out"), undisturbed.tree)
    assert list_leftovers(tmp_path / "out") == []


@pytest.mark.long
def test_kills_under_ray(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    first = Driver("prepare", run_file, *engine_options("ray", 2), log=tmp_path / "log")
    _follow(first, "map", 2)
    workers = first.workers()
    for pid in workers[:1]:
        os.kill(pid, signal.SIGKILL)
    _follow(first, "sort", 3)
    first.kill()
    standing = list_receipts(tmp_path / "out")
    assert {unit for stage, unit in standing if stage == "map"} == set(range(units_of(undisturbed.events, "map")))

    second = Driver("prepare", run_file, *engine_options("ray", 2), log=tmp_path / "log")
    killed = 0
    for event in second:
        if event["event"] == "unit_done" and event["stage"] == "pack" and not killed:
            for pid in second.workers()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed += 1
    assert second.process.wait() == 0, (tmp_path / "log").read_text()
    assert not units_done(second.events) & standing
    assert_same_tree(read_tree(tmp_path / "out"), undisturbed.tree)
    assert list_leftovers(tmp_path / "out") == []


def _follow(driver: Driver, stage: str, count: int) -> None:
    """Read events up to the nth finished unit of a stage, or as far as the next stage if there were fewer left."""
    seen = 0
    for event in driver:
        seen += _is_unit_of(event, stage)
        if seen == count or (event["event"] == "stage_started" and STAGES.index(event["stage"]) > STAGES.index(stage)):
            return


def _is_unit_of(event: dict[str, Any], stage: str) -> bool:
    return event["event"] == "unit_done" and bool(event["stage"] == stage)


def _assert_each_unit_once(driver: Driver, undisturbed: Undisturbed) -> None:
    ran = [(event["stage"], event["unit"]) for event in driver.events if event["event"] == "unit_done"]
    assert sorted(ran) == sorted(units_done(undisturbed.events))
