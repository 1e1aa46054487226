"""A change of `[mask]` without stored copies: no row is packed again, and the output is that of a new run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from maskmill.pipeline.loader import MaskedBatches, Masking
from tests.integration.conftest import Undisturbed
from tests.integration.runs import (
    assert_same_tree,
    list_leftovers,
    prepare,
    read_tree,
    run_maskmill,
    set_options,
    units_done,
    write_run_file,
)

CHANGE = ("mask.rate=0.3", "mask.mask_share=1.0", "mask.random_share=0.0")
CHANGED = Masking(rate=0.3, mask_share=1.0, random_share=0.0)


@pytest.fixture(scope="module")
def unmasked(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run without copies."""
    folder = tmp_path_factory.mktemp("unmasked")
    prepare(write_run_file(folder / "run.toml", undisturbed.corpus_folder, folder / "out"), "mask.copies=0")
    return folder / "out"


def copy_of(output: Path, tmp_path: Path, undisturbed: Undisturbed) -> Path:
    """A run of its own over a copy of an output; returns its run file."""
    shutil.copytree(output, tmp_path / "out")
    return write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")


def test_the_rows_stay_and_the_default_of_loaders_changes(
    undisturbed: Undisturbed, unmasked: Path, tmp_path: Path
) -> None:
    run_file = copy_of(unmasked, tmp_path, undisturbed)
    events = prepare(run_file, "mask.copies=0", *CHANGE).events
    assert units_done(events) == set()
    (note,) = [event["message"] for event in events if event["event"] == "note"]
    assert "rate = 0.3 (was 0.15)" in note
    assert MaskedBatches(str(tmp_path / "out" / "packed"), global_batch_rows=8).masking == CHANGED
    anew = write_run_file(tmp_path / "anew.toml", undisturbed.corpus_folder, tmp_path / "anew")
    prepare(anew, "mask.copies=0", *CHANGE)
    assert_same_tree(read_tree(tmp_path / "out"), read_tree(tmp_path / "anew"))
    records = [json.loads((tmp_path / name / "run.json").read_bytes()) for name in ("out", "anew")]
    assert records[0] == records[1]
    assert records[0]["masking"]["rate"] == 0.3
    assert list_leftovers(tmp_path / "out") == []
    assert run_maskmill("verify", tmp_path / "out").status == 0


@pytest.mark.parametrize(
    ("lines", "options", "said"),
    [
        ([], ["mask.selection=bernoulli"], 'mask.selection = "bernoulli", the default is "exact"'),
        ([], ["mask.strategy=span", "mask.replace_by=token"], 'mask.strategy = "span", the default is "token"'),
        (['selection = "bernoulli"'], ["mask.selection=exact"], 'mask.selection = "exact", the file has "bernoulli"'),
    ],
)
def test_settings_of_a_strategy_are_compared_with_the_file(
    undisturbed: Undisturbed, unmasked: Path, tmp_path: Path, lines: list[str], options: list[str], said: str
) -> None:
    run_file = copy_of(unmasked, tmp_path, undisturbed)
    run_file.write_text(run_file.read_text().replace("copies = 2", "\n".join(["copies = 0", *lines])))
    changed = run_maskmill("prepare", run_file, *set_options(options))
    assert changed.status == 0, changed.stderr
    assert said in changed.stdout
    masking = MaskedBatches(str(tmp_path / "out" / "packed"), global_batch_rows=8).masking
    assert masking == Masking(**dict(option.removeprefix("mask.").split("=") for option in options))


def test_the_summary_says_that_the_file_has_another_masking(
    undisturbed: Undisturbed, unmasked: Path, tmp_path: Path
) -> None:
    run_file = copy_of(unmasked, tmp_path, undisturbed)
    said = run_maskmill("prepare", run_file, *set_options(["mask.copies=0", "mask.rate=0.3"])).stdout
    assert "mask.rate = 0.3, the default is 0.15" in said
    assert "nothing to do" not in said
    changed = run_maskmill("prepare", run_file, *set_options(["mask.copies=0"])).stdout
    assert "mask.copies = 0, the file has 2" in changed
    text = run_file.read_text().replace("copies = 2", "copies = 0")
    run_file.write_text(text)
    assert "the file alone sets the default masking back" in run_maskmill(
        "prepare", run_file, *set_options(["mask.rate=0.3"])
    ).stdout.replace("\n", " ")


def test_parts_before_the_rows_leave_the_masking_alone(
    undisturbed: Undisturbed, unmasked: Path, tmp_path: Path
) -> None:
    run_file = copy_of(unmasked, tmp_path, undisturbed)
    prepare(run_file, "mask.copies=0", *CHANGE)
    before = (tmp_path / "out" / "run.json").read_bytes()
    assert run_maskmill("tokenizer", run_file, *set_options(["mask.copies=0"])).status == 0
    assert (tmp_path / "out" / "run.json").read_bytes() == before
    assert run_maskmill("verify", tmp_path / "out").status == 0


def test_rows_that_are_made_again_say_that_their_masking_is_another(
    undisturbed: Undisturbed, unmasked: Path, tmp_path: Path
) -> None:
    run_file = copy_of(unmasked, tmp_path, undisturbed)
    prepare(run_file, "mask.copies=0", *CHANGE)
    events = prepare(run_file, "mask.copies=0", "pack.rows_per_shard=500", "--replace").events
    (note,) = [event["message"] for event in events if event["event"] == "note"]
    assert "rate = 0.15 (was 0.3)" in note
    assert MaskedBatches(str(tmp_path / "out" / "packed"), global_batch_rows=8).masking == Masking()
    assert run_maskmill("verify", tmp_path / "out").status == 0


def test_a_second_time_there_is_nothing_to_change(undisturbed: Undisturbed, unmasked: Path, tmp_path: Path) -> None:
    run_file = copy_of(unmasked, tmp_path, undisturbed)
    before = read_tree(tmp_path / "out")
    events = prepare(run_file, "mask.copies=0").events
    assert [event for event in events if event["event"] == "note"] == []
    assert_same_tree(read_tree(tmp_path / "out"), before)


def test_copies_are_rows_of_their_own(undisturbed: Undisturbed, unmasked: Path, tmp_path: Path) -> None:
    run_file = copy_of(unmasked, tmp_path, undisturbed)
    refused = run_maskmill("prepare", run_file, *set_options(["mask.copies=1"]))
    assert refused.status == 1
    assert "mask.copies" in refused.stderr
    assert "--replace" in refused.stderr
    assert "mask.rate" not in refused.stderr
    assert "None" not in refused.stderr
    events = prepare(run_file, "mask.copies=1", "--replace").events
    assert {stage for stage, _ in units_done(events)} == {"pack"}
    again = run_maskmill("prepare", run_file, *set_options(["mask.copies=1", "mask.rate=0.3"]))
    assert again.status == 1
    assert "mask.rate" in again.stderr


def test_verify_finds_a_change_that_was_cut_short(undisturbed: Undisturbed, unmasked: Path, tmp_path: Path) -> None:
    """Killed between the manifests, or between them and the record: the same command still ends the change."""
    run_file = copy_of(unmasked, tmp_path, undisturbed)
    old = (tmp_path / "out" / "packed-heldout" / "manifest.json").read_bytes()
    prepare(run_file, "mask.copies=0", *CHANGE)
    new = read_tree(tmp_path / "out")
    (tmp_path / "out" / "packed-heldout" / "manifest.json").write_bytes(old)
    found = run_maskmill("verify", tmp_path / "out")
    assert found.status == 1
    assert "packed-heldout" in found.stdout
    assert "[mask]" in found.stdout
    prepare(run_file, "mask.copies=0", *CHANGE)
    assert_same_tree(read_tree(tmp_path / "out"), new)
