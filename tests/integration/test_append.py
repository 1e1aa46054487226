"""Files are appended to a finished output by a new one that reads only them, with the bytes of a fresh run over all."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from maskmill.pipeline.storage.store import Store, open_store
from tests.integration.conftest import Undisturbed
from tests.integration.runs import (
    PARTS,
    Driver,
    Events,
    assert_same_tree,
    engine_options,
    prepare,
    read_tree,
    run_maskmill,
    set_options,
    units_done,
    units_of,
    write_run_file,
)
from tests.integration.synthetic_corpus import NAMES

APPENDABLE = "documents.appendable=true"
NEW = ("a-0.jsonl", "c-1.jsonl.zst", "d-1.txt")
"""Files that are appended: the first, the last and one between."""


@dataclass(frozen=True)
class Appendable:
    """Two finished outputs, which nobody may change.

    Attributes:
        corpus: All files.
        old: An output over all but the new ones.
        fresh: One over all, that reused nothing.
    """

    corpus: Path
    old: Path
    fresh: Path


@pytest.fixture(scope="module")
def appendable(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Appendable:
    folder = tmp_path_factory.mktemp("appendable")
    fewer = shutil.copytree(undisturbed.corpus_folder, folder / "fewer")  # with their times of change
    for name in NEW:
        (fewer / name).unlink()
    shard(write_run_file(folder / "old.toml", fewer, folder / "old"))
    fresh = write_run_file(folder / "fresh.toml", undisturbed.corpus_folder, folder / "fresh")
    prepare(fresh, APPENDABLE)
    return Appendable(undisturbed.corpus_folder, folder / "old", folder / "fresh")


def shard(run_file: Path, *options: str) -> Events:
    ended = run_maskmill(
        "shard", run_file, "--json", *set_options([APPENDABLE]), *(options or engine_options("local", 1))
    )
    assert ended.status == 0, ended.stderr
    return ended.events


def reusing(old: object) -> str:
    return f"input.reuse={old}"


def check_taken(events: Events, old: object, units: int = len(NAMES) - len(NEW)) -> None:
    (note,) = [event["message"] for event in events if event["event"] == "note" and "taken from" in event["message"]]
    assert note.startswith(f"{units} of {len(NAMES)} units, ")
    assert note.endswith(f" are taken from {old}")


def read_kept(output: Store) -> dict[str, bytes]:
    """What map units leave for others."""
    return {name: output.read_bytes(name) for part in ("work/exchange", "work/receipts") for name in output.list(part)}


def test_documents_tokenizer_and_rows_are_those_of_a_fresh_run(appendable: Appendable, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", appendable.corpus, tmp_path / "out")
    events = prepare(run_file, APPENDABLE, reusing(appendable.old), workers=2).events
    check_taken(events, appendable.old)
    assert_same_tree(read_tree(tmp_path / "out"), read_tree(appendable.fresh))
    assert (tmp_path / "out/run.json").read_bytes() == (appendable.fresh / "run.json").read_bytes()
    kept = read_kept(open_store(str(tmp_path / "out")))
    assert kept == read_kept(open_store(str(appendable.fresh)))
    assert len(kept) == 2 * len(NAMES)
    assert run_maskmill("verify", tmp_path / "out").status == 0


@pytest.mark.long
def test_ray_takes_the_same(appendable: Appendable, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", appendable.corpus, tmp_path / "out")
    events = shard(run_file, *set_options([reusing(appendable.old)]), *engine_options("ray", 2))
    check_taken(events, appendable.old)
    assert_same_tree(read_tree(tmp_path / "out", PARTS[:2]), read_tree(appendable.fresh, PARTS[:2]))
    assert read_kept(open_store(str(tmp_path / "out"))) == read_kept(open_store(str(appendable.fresh)))


@pytest.mark.parametrize("reuses_again", [True, False])
def test_a_driver_killed_while_it_appends_is_followed(
    appendable: Appendable, tmp_path: Path, reuses_again: bool
) -> None:
    run_file = write_run_file(tmp_path / "run.toml", appendable.corpus, tmp_path / "out")
    reuse = set_options([reusing(appendable.old)])
    driver = Driver(
        "shard", run_file, *set_options([APPENDABLE]), *reuse, *engine_options("local", 2), log=tmp_path / "log"
    )
    for event in driver:
        if event["event"] == "unit_done" and event["stage"] == "map":
            driver.kill()
            break
    begun = units_done(driver.events)
    assert begun
    events = shard(run_file, *(reuse if reuses_again else []), *engine_options("local", 1))
    assert units_of(events, "map") == len(NAMES)
    assert not begun & units_done(events)
    assert_same_tree(read_tree(tmp_path / "out", PARTS[:2]), read_tree(appendable.fresh, PARTS[:2]))
    assert read_kept(open_store(str(tmp_path / "out"))) == read_kept(open_store(str(appendable.fresh)))


@pytest.mark.long
def test_outputs_and_files_on_s3(appendable: Appendable, moto_url: str, tmp_path: Path) -> None:
    corpus, old, new = (open_store(f"{moto_url}/{name}") for name in ("corpus", "old", "new"))

    def upload(names: set[str]) -> None:
        for name in names:
            corpus.write_bytes(name, (appendable.corpus / name).read_bytes())

    upload(set(NAMES) - set(NEW))
    shard(write_run_file(tmp_path / "old.toml", corpus.url, old.url))
    upload(set(NEW))
    run_file = write_run_file(tmp_path / "new.toml", corpus.url, new.url)
    check_taken(shard(run_file, *set_options([reusing(old.url)]), *engine_options("local", 1)), old.url)
    tree = {name: new.read_bytes(name) for part in PARTS[:2] for name in new.list(part)}
    assert_same_tree(tree, read_tree(appendable.fresh, PARTS[:2]))
    assert len(read_kept(new)) == 2 * len(NAMES)
