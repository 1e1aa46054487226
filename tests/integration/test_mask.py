"""`maskmill mask`: other static copies of finished rows, as if the rows had been packed with them."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from maskmill import mask as mask_rows
from maskmill import open_dataset, verify
from maskmill.pipeline.loader import MaskedBatches, Masking
from maskmill.pipeline.storage.datasets import write_manifest
from maskmill.pipeline.storage.leases import hold_output
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError, StaleArtifactError
from maskmill.schemas.events import RunEvent, UnitDone
from tests.integration.conftest import Undisturbed
from tests.integration.dying_driver import STEPS
from tests.integration.runs import (
    Driver,
    Ended,
    assert_same_tree,
    list_leftovers,
    prepare,
    read_tree,
    run_maskmill,
    set_options,
    units_done,
    write_run_file,
)
from tests.integration.shards import read_manifest, read_shards
from tests.loader.streams import hash_batches
from tests.servers.processes import is_stopped, wait_until

SETTINGS = {
    "span": ["mask.strategy=span", "mask.rate=0.2", "mask.copies=3"],
    "protected": ["mask.protect=['e', '[UNK]']", "mask.copies=1"],
    "bernoulli": ["mask.selection=bernoulli", "mask.copies=2"],
    "none": ["mask.copies=0"],
}
QUICK = ("span",)
ALONE = {"workers": 1}
"""An engine without other processes."""
VERSION = {"shards_folder", "rows_fingerprint", "run_fingerprint", "fingerprint"}


def mask(dataset: Path, *sets: str, workers: int = 1) -> Ended:
    """`maskmill mask`; fails unless it ends well."""
    options = [one for one in sets if one.startswith("--")]
    settings = [one for one in sets if not one.startswith("--")]
    ended = run_maskmill("mask", dataset, *set_options([*settings, f"engine.workers={workers}"]), *options)
    assert ended.status == 0, ended.stderr
    return ended


@pytest.fixture
def output(undisturbed: Undisturbed, tmp_path: Path) -> Path:
    """A copy of an output whose rows have two static copies of the strategy `token`."""
    return Path(shutil.copytree(undisturbed.output, tmp_path / "out"))


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one in QUICK else pytest.mark.long) for one in SETTINGS]
)
def test_the_rows_are_those_that_packing_with_these_settings_writes(
    undisturbed: Undisturbed, output: Path, tmp_path: Path, name: str
) -> None:
    mask(output / "packed", *SETTINGS[name], workers=2)
    anew = write_run_file(tmp_path / "anew.toml", undisturbed.corpus_folder, tmp_path / "anew")
    prepare(anew, *SETTINGS[name])
    found, expected = read_manifest(output / "packed"), read_manifest(tmp_path / "anew" / "packed")
    version = output / "packed" / found["shards_folder"]
    assert read_shards(version) == read_shards(tmp_path / "anew" / "packed")
    packed = read_tree(tmp_path / "anew", ["packed"])
    assert read_tree(version.parent, [version.name]) == {
        f"{version.name}/{Path(path).name}": data for path, data in packed.items() if path.endswith(".arrow")
    }
    assert {key: value for key, value in found.items() if key not in VERSION} == {
        key: value for key, value in expected.items() if key not in VERSION
    }
    assert list_leftovers(output) == []
    for place in (output, output / "packed"):
        verified = run_maskmill("verify", place)
        assert verified.status == 0, verified.stdout
    mask(output / "packed", "mask.copies=4")  # what is not given stays
    again = read_manifest(output / "packed")
    assert (again["copies"], again["masking"]) == (4, found["masking"])
    assert verify(output / "packed").findings == ()


def test_a_loader_reads_the_new_copies(output: Path) -> None:
    mask(output, "mask.strategy=ngram")
    stored = MaskedBatches(str(output / "packed"), global_batch_rows=8, masking="static").epochs(2)
    drawn = MaskedBatches(str(output / "packed"), global_batch_rows=8).epochs(2)
    assert drawn.masking == Masking(strategy="ngram")
    assert hash_batches(stored) == hash_batches(drawn)


def test_states_of_drawn_masks_stay_valid_and_those_of_stored_ones_do_not(output: Path) -> None:
    dataset = str(output / "packed")
    drawn = MaskedBatches(dataset, global_batch_rows=8, masking=Masking(rate=0.3))
    stored = MaskedBatches(dataset, global_batch_rows=8, masking="static")
    states = drawn.at(3).state_dict(), stored.at(3).state_dict()
    expected = hash_batches(list(drawn.at(3).epochs(1)))
    mask_rows(dataset, Masking(strategy="span"), engine=ALONE)
    mask_rows(dataset, copies=4, engine=ALONE)  # from the version before
    again = MaskedBatches(dataset, global_batch_rows=8, masking=Masking(rate=0.3))
    again.load_state_dict(states[0])
    assert hash_batches(list(again.epochs(1))) == expected
    with pytest.raises(StaleArtifactError, match="another dataset"):
        MaskedBatches(dataset, global_batch_rows=8, masking="static").load_state_dict(states[1])


def count_steps(dataset: Path) -> int:
    """How often a driver gives a file its final name, or deletes something, before it ends well."""
    steps = 0

    def count(step: Callable[..., None]) -> Callable[..., None]:
        def take(*arguments: object, **options: object) -> None:
            nonlocal steps
            steps += 1
            step(*arguments, **options)

        return take

    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, count(getattr(os, name)))
        mask_rows(dataset, Masking(strategy="span"), 1, engine=ALONE, remove_old=True)
    return steps


def kill_at(step: int, log: Path, *arguments: object) -> int:
    """Run `mask` and kill it before a step; returns its status."""
    return Driver("step", step, "mask", *arguments, log=log, module="tests.integration.dying_driver").finish()


@pytest.mark.parametrize(
    "steps", [pytest.param("some", id="some"), pytest.param("all", id="all", marks=pytest.mark.long)]
)
def test_killed_anywhere_the_old_version_stays_and_the_same_command_finishes(
    undisturbed: Undisturbed, output: Path, tmp_path: Path, steps: str
) -> None:
    """Killed before every file that it writes, and every one that it deletes."""
    dataset = output / "packed"
    arguments = [dataset, *set_options(["mask.strategy=span", "mask.copies=1", "engine.workers=1"]), "--remove-old"]
    rows = read_rows_of(dataset)
    number = count_steps(dataset)
    whole = read_tree(output, ["packed"])
    tried = range(1, number + 1) if steps == "all" else sorted(random.Random(0).sample(range(1, number + 1), 3))
    for step in tried:
        shutil.rmtree(output)
        shutil.copytree(undisturbed.output, output)
        assert kill_at(step, tmp_path / "log", *arguments) == -signal.SIGKILL, (tmp_path / "log").read_text()
        assert verify(output).findings == ()
        assert read_rows_of(dataset) == rows
        found = read_manifest(dataset)
        assert (found["copies"], found["masking"]["strategy"]) in ((2, "token"), (1, "span"))
        mask_rows(dataset, Masking(strategy="span"), 1, engine=ALONE, remove_old=True)
        assert_same_tree(read_tree(output, ["packed"]), whole)
        assert list_leftovers(output) == []
    assert verify(output).findings == ()


@pytest.mark.long
def test_killed_again_and_again_at_any_moment(output: Path, tmp_path: Path) -> None:
    """With several workers, and after other settings were begun and given up."""
    rng = random.Random(1)
    dataset = output / "packed"
    for copies in (3, 5, 3, 5, 3, 3, 3):
        sets = set_options(["mask.strategy=ngram", f"mask.copies={copies}", "engine.workers=2"])
        place = f"mask:{rng.randrange(1, 3)}:{rng.uniform(0, 0.01)}"
        module = "tests.integration.dying_driver"
        driver = Driver("unit_done", place, "mask", dataset, *sets, log=tmp_path / "log", module=module)
        wait_until(lambda pid=driver.process.pid: is_stopped(pid), "the moment to kill the driver")
        driver.kill()
        assert verify(output).findings == ()
    mask(dataset, "mask.strategy=ngram", "mask.copies=3", "--remove-old", workers=2)
    found = read_tree(output, ["packed"])
    mask_rows(dataset, copies=1, engine=ALONE)
    mask_rows(dataset, copies=3, engine=ALONE, remove_old=True)
    assert_same_tree(read_tree(output, ["packed"]), found)
    assert verify(output).findings == ()


@pytest.mark.long
def test_killed_while_it_deletes_a_version_that_was_given_up(output: Path, tmp_path: Path) -> None:
    """The receipts of that version go before its shards, so it can be begun again."""
    dataset, log = output / "packed", tmp_path / "log"
    sets = set_options(["mask.strategy=ngram", "engine.workers=1"])
    assert kill_at(4, log, dataset, *sets) == -signal.SIGKILL  # after two shards and their receipts
    mask_rows(dataset, Masking(strategy="span"), engine=ALONE)
    state = Path(shutil.copytree(output, tmp_path / "state"))
    removing = [dataset, *set_options(["engine.workers=1"]), "--remove-old"]
    step = 0
    while True:
        step += 1
        shutil.rmtree(output)
        shutil.copytree(state, output)
        if kill_at(step, log, *removing) == 0:
            break
        mask_rows(dataset, Masking(strategy="ngram"), engine=ALONE)
        assert verify(output).findings == ()
    assert step > 10


def read_rows_of(dataset: Path) -> list[tuple[int, bytes]]:
    """Number and ids of every row, through the checks of a reader."""
    return [(row.row_id, row.input_ids.tobytes()) for row in open_dataset(dataset)]


def test_a_loader_of_the_old_version_goes_on_and_is_told_when_its_files_are_gone(output: Path) -> None:
    dataset = str(output / "packed")
    expected = hash_batches(list(MaskedBatches(dataset, global_batch_rows=8, masking="static").epochs(1)))
    running = MaskedBatches(dataset, global_batch_rows=8, masking="static").epochs(1)
    batches = iter(running)
    served = [next(batches)]
    mask_rows(dataset, Masking(strategy="span"), engine=ALONE)
    served += batches
    assert hash_batches(served) == expected
    opened = open_dataset(dataset)
    old = MaskedBatches(dataset, global_batch_rows=8, masking="static")
    mask_rows(dataset, copies=1, engine=ALONE, remove_old=True)
    with pytest.raises(StaleArtifactError, match="the dataset was replaced while it was read"):
        list(old.epochs(1))
    with pytest.raises(StaleArtifactError, match="the dataset was replaced while it was read"):
        list(opened)


def test_the_files_of_other_versions_stay_until_they_are_to_go(output: Path) -> None:
    dataset = output / "packed"
    said = mask(dataset, "mask.strategy=span").stdout
    assert f"maskmill mask {dataset} --remove-old" in said
    first = sorted(path.name for path in dataset.glob("*.arrow"))
    assert "shards.arrow" in first
    mask(dataset, "mask.copies=1")
    assert len(list(dataset.glob("masks-*"))) == 2
    (dataset / "notes.txt").write_text("of a user")
    said = mask(dataset, "--remove-old").stdout
    assert "nothing to do" in said
    assert "--remove-old" not in said
    assert sorted(path.name for path in dataset.iterdir()) == sorted(
        ["manifest.json", "notes.txt", "tokenizer.json", read_manifest(dataset)["shards_folder"]]
    )
    assert verify(output).findings == ()


def test_prepare_over_the_output_keeps_the_copies(undisturbed: Undisturbed, output: Path, tmp_path: Path) -> None:
    mask(output / "packed", "mask.strategy=span", "--remove-old")
    before = read_tree(output)
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, output)
    events = prepare(run_file).events
    assert units_done(events) == set()
    (note,) = [event["message"] for event in events if event["event"] == "note"]
    assert "packed/ keeps what maskmill mask has stored, 2 static copies by the strategy span" in note
    assert_same_tree(read_tree(output), before)
    shutil.rmtree(output / "packed-heldout")  # what is missing is made again; the rest stays
    prepare(run_file)
    assert read_manifest(output / "packed")["masking"]["strategy"] == "span"
    assert verify(output).findings == ()
    refused = run_maskmill("prepare", run_file, "--set", "mask.strategy=span")
    assert refused.status == 1
    assert "maskmill mask" in refused.stderr
    prepare(run_file, "mask.strategy=span", "--replace")
    assert "shards_folder" not in read_manifest(output / "packed")
    assert verify(output).findings == ()


def test_prepare_leaves_the_default_masking_of_such_rows_alone(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    prepare(run_file, "mask.copies=0")
    mask(tmp_path / "out" / "packed", "mask.strategy=span", "mask.copies=1")
    prepare(run_file, "mask.copies=0", "mask.rate=0.3")
    assert read_manifest(tmp_path / "out" / "packed")["masking"]["rate"] == 0.15
    assert read_manifest(tmp_path / "out" / "packed-heldout")["masking"]["rate"] == 0.3
    assert verify(tmp_path / "out").findings == ()


def test_verify_sees_a_copy_that_is_not_the_mask_of_its_epoch(output: Path) -> None:
    dataset = output / "packed"
    mask(dataset, "mask.strategy=span")
    store, manifest = open_store(str(dataset)), open_dataset(dataset).manifest
    claimed = manifest.model_copy(update={"masking": Masking(strategy="ngram")})
    write_manifest(store, "", claimed)
    findings = [str(finding) for finding in verify(dataset).findings]
    assert any("is not the mask of epoch 0" in finding for finding in findings)


def test_what_cannot_be_masked_is_refused_by_name(undisturbed: Undisturbed, output: Path, tmp_path: Path) -> None:
    dataset = output / "packed"
    before = read_tree(output, ["packed"])

    def refused(*arguments: object, sets: Sequence[str] = ()) -> str:
        ended = run_maskmill("mask", *arguments, *set_options(sets))
        assert ended.status == 1
        assert "ConfigError" in ended.stderr
        assert "unexpected" not in ended.stderr
        return ended.stderr

    assert "mask.strategy" in refused(dataset, sets=["mask.strategy=words"])
    assert "pack" in refused(dataset, sets=["pack.seq_len=64"])
    assert "mask.copies" in refused(dataset, sets=["mask.copies=101"])
    assert "max_span is for span" in refused(dataset, sets=["mask.max_span=3"])
    assert "a protected token is not in the vocabulary" in refused(dataset, sets=["mask.protect=['nope']"])
    assert "no dataset here" in refused(tmp_path / "nothing")
    assert "of another kind" in refused(output / "documents")
    (output / "packed-64").mkdir()
    assert "maskmill prepare" in refused(output / "packed-64")
    manifest = (output / "packed" / "manifest.json").read_bytes()
    (output / "packed" / "manifest.json").unlink()
    assert "maskmill prepare" in refused(output)
    (output / "packed" / "manifest.json").write_bytes(manifest)
    with hold_output(open_store(str(output))):
        assert "another" in refused(dataset, sets=["mask.strategy=span"])
    mask(dataset, "mask.copies=0", "--remove-old")
    assert_same_tree(
        read_tree(output, ["tokenizer"]), {k: v for k, v in undisturbed.tree.items() if k.startswith("tokenizer/")}
    )
    assert before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"masking": "span"}, "masking: these are not mask settings"),
        ({"copies": 1.5}, "mask.copies"),
        ({"copies": -1}, "mask.copies"),
        ({"engine": "ray"}, "engine: these are not settings of an engine"),
        ({"engine": {"kind": "spark"}}, "engine.kind"),
        ({"on_event": 3}, "on_event"),
        ({"remove_old": "yes"}, "remove_old"),
    ],
)
def test_arguments_of_a_program_are_checked(undisturbed: Undisturbed, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        mask_rows(undisturbed.output / "packed", **given)


def test_rows_without_copies_and_none_asked_for(undisturbed: Undisturbed, output: Path) -> None:
    mask_rows(output / "packed", copies=0, engine=ALONE)
    assert mask_rows(output / "packed", copies=0, engine=ALONE).is_unchanged
    with pytest.raises(ConfigError, match="no static copies"):
        mask_rows(output / "packed", Masking(strategy="span"), engine=ALONE)
    with pytest.raises(ConfigError, match="static"):
        MaskedBatches(str(output / "packed"), global_batch_rows=8, masking="static")


@pytest.mark.long
def test_ray_writes_the_same_bytes(output: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(output, tmp_path / "other"))
    mask(output / "packed", "mask.strategy=span")
    sets = set_options(["mask.strategy=span", "engine.kind=ray", "engine.workers=2"])
    ended = run_maskmill("mask", other / "packed", *sets)
    assert ended.status == 0, ended.stderr
    assert_same_tree(read_tree(other, ["packed"]), read_tree(output, ["packed"]))


def test_with_json_it_writes_the_events_of_a_stage(output: Path) -> None:
    events = mask(output, "mask.copies=1", "--json").events
    assert [event["event"] for event in events if event["event"] not in ("unit_done", "unit_progress")] == [
        "stage_started",
        "stage_done",
        "finished",
    ]
    assert {event["stage"] for event in events if "stage" in event} == {"mask"}
    assert [event["event"] for event in mask(output, "mask.copies=1", "--json").events] == ["finished"]


def test_an_output_with_several_datasets_names_them(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    prepare(run_file, "pack.seq_len=[64, 128]", "mask.copies=0")
    refused = run_maskmill("mask", tmp_path / "out", "--set", "mask.copies=1")
    assert refused.status == 1
    assert f"{tmp_path}/out/packed-64 or {tmp_path}/out/packed-128" in refused.stderr
    mask(tmp_path / "out" / "packed-64", "mask.copies=1")
    assert verify(tmp_path / "out").findings == ()


@pytest.mark.parametrize("remove_old", [False, True])
def test_there_and_back_again_is_the_dataset_that_it_was(output: Path, remove_old: bool) -> None:
    """States of stored masks depend on bytes, not on the folder that these are in."""
    dataset = output / "packed"
    before = read_tree(output, ["packed"])
    stored = MaskedBatches(str(dataset), global_batch_rows=8, masking="static")
    state = stored.at(3).state_dict()
    expected = hash_batches(list(stored.at(3).epochs(1)))
    first = stored.manifest
    reader = open_dataset(dataset)
    mask_rows(dataset, Masking(strategy="span"), 1, engine=ALONE, remove_old=remove_old)
    with pytest.raises(StaleArtifactError, match="another dataset"):
        MaskedBatches(str(dataset), global_batch_rows=8, masking="static").load_state_dict(state)
    events: list[RunEvent] = []
    masked = mask_rows(dataset, first.masking, first.copies, events.append, engine=ALONE)
    again = MaskedBatches(str(dataset), global_batch_rows=8, masking="static")
    again.load_state_dict(state)
    assert hash_batches(list(again.epochs(1))) == expected
    assert verify(output).findings == ()
    if remove_old:
        assert masked.manifest.shards_folder
        with pytest.raises(StaleArtifactError, match="the dataset was replaced while it was read"):
            list(reader)
    else:  # the files of packing are still there
        assert not any(isinstance(event, UnitDone) for event in events)
        mask_rows(dataset, engine=ALONE, remove_old=True)
        assert_same_tree(read_tree(output, ["packed"]), before)
        assert len(list(reader)) == len(reader)


def test_copies_that_were_added_are_removed_without_a_new_shard(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    prepare(run_file, "mask.copies=0")
    dataset = tmp_path / "out" / "packed"
    before = read_tree(tmp_path / "out", ["packed"])
    drawn = MaskedBatches(str(dataset), global_batch_rows=8, masking=Masking())
    state = drawn.at(2).state_dict()
    mask_rows(dataset, Masking(strategy="span"), 2, engine=ALONE)
    events: list[RunEvent] = []
    masked = mask_rows(dataset, None, 0, events.append, engine=ALONE, remove_old=True)
    assert not any(isinstance(event, UnitDone) for event in events)
    assert (masked.manifest.copies, masked.manifest.masking, masked.old_files) == (0, Masking(strategy="span"), 0)
    after = read_tree(tmp_path / "out", ["packed"])
    assert {name for name in after if after[name] != before[name]} == {"packed/manifest.json"}
    assert verify(tmp_path / "out").findings == ()
    MaskedBatches(str(dataset), global_batch_rows=8, masking=Masking()).load_state_dict(state)
    prepare(run_file, "mask.copies=0")
    assert read_manifest(dataset)["masking"]["strategy"] == "span"
    mask_rows(dataset, Masking(strategy="span"), 1, engine=ALONE)  # and from there to copies again
    assert verify(tmp_path / "out").findings == ()
