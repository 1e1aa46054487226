"""Settings that change: what they do not decide stays, what they decide is made again, with the bytes of a new run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from maskmill.pipeline.storage.datasets import read_manifest
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.manifest import PackedManifest
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

MANY = ("pack.keep_encoded=true", "pack.seq_len=[64,128]", "pack.rows_per_shard=40", "pack.compression=lz4")
DATASETS = ("packed-64", "packed-128", "packed-heldout-64", "packed-heldout-128", "encoded", "encoded-heldout")


@pytest.fixture(scope="module")
def many(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one pass over the text that gives rows of two lengths and keeps the ids."""
    folder = tmp_path_factory.mktemp("many")
    run_file = write_run_file(folder / "run.toml", undisturbed.corpus_folder, folder / "out")
    prepare(run_file, *MANY)
    return folder / "out"


def copy_of(output: Path, tmp_path: Path, undisturbed: Undisturbed) -> Path:
    """A run of its own over a copy of an output; returns its run file."""
    shutil.copytree(output, tmp_path / "out")
    return write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")


def test_several_lengths_in_one_pass_are_what_each_alone_would_be(undisturbed: Undisturbed, many: Path) -> None:
    assert {path.name for path in many.iterdir() if path.is_dir()} >= set(DATASETS)
    for seq_len in (64, 128):
        manifest = read_manifest(open_store(str(many / f"packed-{seq_len}")), PackedManifest)
        assert (manifest.seq_len, manifest.compression) == (seq_len, "lz4")
        assert manifest.num_shards > len(list((many / "documents").glob("shard-*")))
    verified = run_maskmill("verify", many)
    assert verified.status == 0, verified.stdout + verified.stderr
    one = read_manifest(open_store(str(undisturbed.output / "packed")), PackedManifest).counts
    assert read_manifest(open_store(str(many / "packed-128")), PackedManifest).counts == one


def test_packing_again_from_kept_ids_gives_the_rows_of_a_new_run(
    undisturbed: Undisturbed, many: Path, tmp_path: Path
) -> None:
    run_file = copy_of(many, tmp_path, undisturbed)
    events = prepare(run_file, "pack.keep_encoded=true", "--replace").events
    assert {stage for stage, _ in units_done(events)} == {"pack"}
    assert not [path for path in (tmp_path / "out").iterdir() if path.name in DATASETS[:4]]
    rows = ("documents", "documents-heldout", "tokenizer")
    assert_same_tree(read_tree(tmp_path / "out", rows), read_tree(undisturbed.output, rows))
    for name in ("packed", "packed-heldout"):  # all but the fingerprint of the run, which keeps ids
        found, expected = read_tree(tmp_path / "out", [name]), read_tree(undisturbed.output, [name])
        del found[f"{name}/manifest.json"], expected[f"{name}/manifest.json"]
        assert_same_tree(found, expected)
        manifests = [
            read_manifest(open_store(str(output / name)), PackedManifest)
            for output in (tmp_path / "out", undisturbed.output)
        ]
        assert manifests[0].counts == manifests[1].counts
    assert list_leftovers(tmp_path / "out") == []
    assert run_maskmill("verify", tmp_path / "out").status == 0


def test_another_vocabulary_needs_no_second_pass_over_the_text(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = copy_of(undisturbed.output, tmp_path, undisturbed)
    change = set_options(["tokenizer.vocab_size=800", "tokenizer.alpha=0.5"])
    refused = run_maskmill("tokenizer", run_file, *change)
    assert refused.status == 1
    assert "--replace" in refused.stderr
    assert "tokenizer.vocab_size = 800" in refused.stderr
    ended = run_maskmill("prepare", run_file, "--json", "--replace", *change)
    assert ended.status == 0, ended.stderr
    assert {stage for stage, _ in units_done(ended.events)} == {"train", "prove", "pack"}
    anew = write_run_file(tmp_path / "anew.toml", undisturbed.corpus_folder, tmp_path / "anew")
    prepare(anew, "tokenizer.vocab_size=800", "tokenizer.alpha=0.5")
    assert_same_tree(read_tree(tmp_path / "out"), read_tree(tmp_path / "anew"))
    assert list_leftovers(tmp_path / "out") == []


def test_words_of_another_normalisation_are_counted_again(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = copy_of(undisturbed.output, tmp_path, undisturbed)
    change = set_options(["tokenizer.lowercase=false"])
    ended = run_maskmill("tokenizer", run_file, "--json", "--replace", *change)
    assert ended.status == 0, ended.stderr
    assert {stage for stage, _ in units_done(ended.events)} >= {"count", "merge", "train"}


def test_documents_are_never_replaced(undisturbed: Undisturbed) -> None:
    refused = run_maskmill("prepare", undisturbed.run_file, "--replace", "--set", "documents.seed=8")
    assert refused.status == 1
    assert "documents.seed" in refused.stderr
    assert "--replace" not in refused.stderr
    assert_same_tree(read_tree(undisturbed.output), undisturbed.tree)


def test_a_kill_while_the_old_rows_are_deleted_leaves_nothing_half(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """The manifests go first and the record of the run comes last: in between, only --replace goes on."""
    run_file = copy_of(undisturbed.output, tmp_path, undisturbed)
    for name in ("packed", "packed-heldout"):
        (tmp_path / "out" / name / "manifest.json").unlink()
    (tmp_path / "out" / "packed" / "shard-00000.arrow").unlink()
    refused = run_maskmill("prepare", run_file, "--set", "pack.seq_len=64")
    assert (refused.status, "--replace" in refused.stderr) == (1, True)
    events = prepare(run_file, "pack.seq_len=64", "--replace").events
    assert {stage for stage, _ in units_done(events)} <= {"prove", "pack"}
    anew = write_run_file(tmp_path / "anew.toml", undisturbed.corpus_folder, tmp_path / "anew")
    prepare(anew, "pack.seq_len=64")
    assert_same_tree(read_tree(tmp_path / "out"), read_tree(tmp_path / "anew"))
