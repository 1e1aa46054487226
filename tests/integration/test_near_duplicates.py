"""Laws 2 and 8 where near duplicates are left out: the same bytes on any engine, and after any number of kills."""

from __future__ import annotations

import json
import random
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.runs import (
    Driver,
    assert_same_tree,
    engine_options,
    list_leftovers,
    list_receipts,
    prepare,
    read_tree,
    set_options,
    units_done,
    write_run_file,
)
from tests.integration.synthetic_corpus import make_corpus

STAGES = ("sign", "match", "join", "locate", "keep")
NEAR = ("documents.near_duplicates.bands=40", "documents.near_duplicates.rows=1")
MOMENTS = [
    *(("stage_done", stage) for stage in STAGES),
    ("before", "documents/near_duplicates.json"),
    ("after", "documents/near_duplicates.json"),
    ("before", "documents/manifest.json"),
    ("after", "documents/manifest.json"),
]


@dataclass(frozen=True)
class WithoutNearDuplicates:
    """What one worker wrote without a disturbance."""

    folder: Path
    tree: dict[str, bytes]
    units: set[tuple[str, int]]


@pytest.fixture(scope="module")
def undisturbed_near(tmp_path_factory: pytest.TempPathFactory) -> WithoutNearDuplicates:
    folder = tmp_path_factory.mktemp("near")
    make_corpus().write(folder / "corpus")
    _add_near_duplicates(folder / "corpus" / "a-0.jsonl")
    ended = prepare(write_run_file(folder / "run.toml", folder / "corpus", folder / "out"), *NEAR)
    return WithoutNearDuplicates(folder, read_tree(folder / "out"), units_done(ended.events))


def _add_near_duplicates(path: Path) -> None:
    rng = random.Random(0)
    lines = []
    for number in range(120):
        words = [f"word{rng.randrange(10_000)}" for _ in range(40)]
        for copy in range(number % 3):
            words[rng.randrange(40)] = f"changed{copy}"
            lines.append(json.dumps({"id": f"near-{number}-{copy}", "text": " ".join(words), "source": "near"}))
    path.write_bytes(path.read_bytes().rstrip(b"\n") + b"\n" + "\n".join(lines).encode() + b"\n")


def test_near_duplicates_are_found_and_counted(undisturbed_near: WithoutNearDuplicates) -> None:
    counts = json.loads(undisturbed_near.tree["documents/manifest.json"])["counts"]
    assert {one["source"]: one.get("near_duplicates") for one in counts["sources"]}["near"] == 40
    parts = ("written", "held_out", "duplicates", "near_duplicates", "quarantined")
    assert counts["read"] == sum(counts[name] for name in parts)
    report = json.loads(undisturbed_near.tree["documents/near_duplicates.json"])
    assert report["near_duplicates"] == counts["near_duplicates"]
    assert {stage for stage, _ in undisturbed_near.units} >= set(STAGES)
    assert list_leftovers(undisturbed_near.folder / "out") == []


@pytest.mark.parametrize(("engine", "workers"), [("local", 2), pytest.param("ray", 2, marks=pytest.mark.long)])
def test_every_engine_writes_the_same_bytes(
    undisturbed_near: WithoutNearDuplicates, tmp_path: Path, engine: str, workers: int
) -> None:
    corpus = shutil.copytree(undisturbed_near.folder / "corpus", tmp_path / "elsewhere")
    run_file = write_run_file(tmp_path / "run.toml", corpus, tmp_path / "out")
    events = prepare(run_file, *NEAR, engine=engine, workers=workers).events
    assert units_done(events) == undisturbed_near.units
    assert_same_tree(read_tree(tmp_path / "out"), undisturbed_near.tree)
    assert list_leftovers(tmp_path / "out") == []


def test_a_run_killed_in_each_stage_ends_as_if_nothing_had_been(
    undisturbed_near: WithoutNearDuplicates, tmp_path: Path
) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed_near.folder / "corpus", tmp_path / "out")
    finished: set[tuple[str, int]] = set()
    for moment, place in MOMENTS:
        driver = _start_dying(moment, place, run_file, tmp_path / "log")
        assert driver.finish() == -signal.SIGKILL, (moment, place, (tmp_path / "log").read_text())
        assert not units_done(driver.events) & finished, "a finished unit ran again"
        finished = list_receipts(tmp_path / "out")
    _assert_finishes(undisturbed_near, run_file, tmp_path / "out")


def test_a_run_killed_between_any_files_ends_as_if_nothing_had_been(
    undisturbed_near: WithoutNearDuplicates, tmp_path: Path
) -> None:
    """The driver, which does all the work, dies again and again before some file gets its name or is deleted."""
    run_file = write_run_file(tmp_path / "run.toml", undisturbed_near.folder / "corpus", tmp_path / "out")
    rng = random.Random(3)
    kills = 0
    while not (tmp_path / "out" / "documents" / "manifest.json").exists():
        driver = _start_dying("step", str(rng.randrange(8, 40)), run_file, tmp_path / "log")
        kills += driver.finish() == -signal.SIGKILL
        assert kills < 100
    assert kills > 3
    _assert_finishes(undisturbed_near, run_file, tmp_path / "out")


def _start_dying(moment: str, place: str, run_file: Path, log: Path) -> Driver:
    options = (*engine_options("local", 1), *set_options(NEAR))
    return Driver(moment, place, run_file, *options, module="tests.integration.dying_driver", log=log)


def _assert_finishes(undisturbed: WithoutNearDuplicates, run_file: Path, output: Path) -> None:
    prepare(run_file, *NEAR)
    assert_same_tree(read_tree(output), undisturbed.tree)
    assert list_leftovers(output) == []
