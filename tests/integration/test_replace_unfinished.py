"""Settings that change before a run is done, and kills while what they decide is deleted."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskmill.pipeline.run.claim_output import claim_output
from maskmill.pipeline.run.record import fingerprint_parts, parse_record
from maskmill.pipeline.storage.shard_table import read_shard_table
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.layout import RUN_RECORD
from maskmill.schemas.manifest import DocumentsManifest, PackedManifest, parse_manifest
from tests.integration.conftest import Undisturbed
from tests.integration.runs import (
    Driver,
    assert_same_tree,
    list_leftovers,
    prepare,
    read_tree,
    run_maskmill,
    write_run_file,
)

KEPT = ("pack.keep_encoded=true", "pack.seq_len=64")


class _Killed(BaseException):
    """What a kill is to a test."""


@pytest.fixture(scope="module")
def unfinished(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output whose rows and ids are all there, and whose driver died before the manifests of either."""
    folder = tmp_path_factory.mktemp("unfinished")
    run_file = write_run_file(folder / "run.toml", undisturbed.corpus_folder, folder / "out")
    options = [argument for option in KEPT for argument in ("--set", option)]
    place = "encoded/manifest.json"
    driver = Driver(
        "before", place, run_file, *options, module="tests.integration.dying_driver", log=folder / "log"
    )  # fmt: skip
    assert driver.finish() == -signal.SIGKILL, (folder / "log").read_text()
    assert not (folder / "out" / "packed" / "manifest.json").exists()
    return folder / "out"


def change(output: Store, update: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The record of another run than the existing one."""
    record: dict[str, Any] = json.loads(output.read_bytes(RUN_RECORD))
    update(record)
    fingerprints = fingerprint_parts(record["decisive"])
    return record | {"fingerprints": {part.key: fingerprint for part, fingerprint in fingerprints.items()}}


def other_seq_len(record: dict[str, Any]) -> None:
    record["decisive"]["pack"]["seq_len"] = 128


def other_vocabulary(record: dict[str, Any]) -> None:
    record["decisive"]["tokenizer"]["vocab_size"] = 900


def assert_nothing_half(output: Path) -> None:
    """Whatever says that something is whole speaks of files that are there."""
    for receipt in output.glob("work/receipts/*/*.json"):
        for shard in json.loads(receipt.read_text())["shards"]:
            assert (output / shard["path"]).exists(), (receipt, shard["path"])
    for manifest in output.glob("*/manifest.json"):
        model = {"packed": PackedManifest, "documents": DocumentsManifest}.get(manifest.parent.name)
        if model is not None:
            dataset = open_store(str(manifest.parent))
            table = read_shard_table(dataset, parse_manifest(model, manifest.read_bytes(), str(manifest)))
            assert all((manifest.parent / path).exists() for path in table.paths.to_pylist())


@pytest.mark.parametrize("update", [other_seq_len, other_vocabulary])
def test_a_kill_at_any_deletion_leaves_nothing_that_is_taken_for_whole(
    unfinished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: Callable[[dict[str, Any]], None]
) -> None:
    deletions = 0
    for name in ("delete", "delete_tree"):
        act = getattr(Store, name)

        def act_or_die(self: Store, path: str, act: Any = act) -> None:
            nonlocal deletions
            deletions += 1
            if deletions > allowed:
                raise _Killed
            act(self, path)

        monkeypatch.setattr(Store, name, act_or_die)
    for allowed in range(100):
        deletions = 0
        shutil.copytree(unfinished, tmp_path / str(allowed))
        output = open_store(str(tmp_path / str(allowed)))
        record = change(output, update)
        try:
            claim_output(output, parse_record(record), replace=True)
        except _Killed:
            assert json.loads(output.read_bytes(RUN_RECORD)) != record
        assert_nothing_half(tmp_path / str(allowed))
        shutil.rmtree(tmp_path / str(allowed))
        if deletions == allowed:
            break
    assert allowed > 5


def test_ids_that_were_not_all_kept_go_with_the_rows(
    undisturbed: Undisturbed, unfinished: Path, tmp_path: Path
) -> None:
    shutil.copytree(unfinished, tmp_path / "out")
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    prepare(run_file, "--replace")
    assert_same_tree(read_tree(tmp_path / "out"), undisturbed.tree)
    assert not (tmp_path / "out" / "encoded").exists()
    assert list_leftovers(tmp_path / "out") == []
    assert run_maskmill("verify", tmp_path / "out").status == 0


def test_replacing_rows_does_not_go_on_with_documents_that_other_libraries_began(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    shutil.copytree(undisturbed.output, tmp_path / "out")
    record = json.loads((tmp_path / "out" / RUN_RECORD).read_text())
    record["versions"]["pyarrow"] = "1.0"
    (tmp_path / "out" / RUN_RECORD).write_text(json.dumps(record))
    replace = ("--set", "pack.seq_len=64", "--replace")
    (tmp_path / "out" / "documents" / "manifest.json").unlink()
    refused = run_maskmill("prepare", run_file, *replace)
    assert (refused.status, "another pyarrow" in refused.stderr) == (1, True), refused.stderr
    assert json.loads((tmp_path / "out" / RUN_RECORD).read_text()) == record
    shutil.copy(undisturbed.output / "documents" / "manifest.json", tmp_path / "out" / "documents")
    assert run_maskmill("prepare", run_file, *replace).status == 0  # what they finished stands


def test_a_record_with_a_key_that_is_not_known_here_is_another_run(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    shutil.copytree(undisturbed.output, tmp_path / "out")

    def add_key(record: dict[str, Any]) -> None:
        record["decisive"]["pack"]["of_tomorrow"] = 3

    record = change(open_store(str(tmp_path / "out")), add_key)
    (tmp_path / "out" / RUN_RECORD).write_text(json.dumps(record))
    refused = run_maskmill("prepare", run_file)
    assert (refused.status, "pack.of_tomorrow = 3" in refused.stderr) == (1, True), refused.stderr
    record["decisive"]["pack"]["of_tomorrow"] = 4  # edited by hand
    (tmp_path / "out" / RUN_RECORD).write_text(json.dumps(record))
    damaged = run_maskmill("prepare", run_file)
    assert (damaged.status, "the record of the run is damaged" in damaged.stderr) == (1, True), damaged.stderr
