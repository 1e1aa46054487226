"""Files missing from a finished output, or changed between stages, are found, named, and made again."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.integration.conftest import Undisturbed
from tests.integration.runs import (
    Driver,
    assert_same_tree,
    list_leftovers,
    prepare,
    read_tree,
    run_maskmill,
    set_options,
    write_run_file,
)

SETTINGS = ("pack.keep_encoded=true", "pack.seq_len=[64,128]")
FOLDERS = (
    *("documents", "documents-heldout", "tokenizer", "encoded", "encoded-heldout"),
    *(f"packed{side}-{seq_len}" for side in ("", "-heldout") for seq_len in (64, 128)),
)


@pytest.fixture(scope="module")
def finished(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished output with every kind of folder."""
    folder = tmp_path_factory.mktemp("finished")
    prepare(write_run_file(folder / "run.toml", undisturbed.corpus_folder, folder / "out"), *SETTINGS)
    return folder / "out"


@pytest.mark.parametrize(
    "gone",
    [
        ["packed-128", "packed-heldout-128"],
        ["packed-heldout-64"],
        ["packed-64"],
        ["encoded-heldout", "packed-128"],
    ],
    ids=" ".join,
)
def test_folders_that_are_gone_are_found_and_made_again(
    undisturbed: Undisturbed, finished: Path, tmp_path: Path, gone: list[str]
) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "out"))
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, output)
    for folder in gone:
        shutil.rmtree(output / folder)
    found = run_maskmill("verify", output)
    assert found.status == 1
    assert all(str(output / folder) in found.stdout for folder in gone if not folder.startswith("encoded"))
    prepare(run_file, *SETTINGS)
    assert_same_tree(read_tree(output, FOLDERS), read_tree(finished, FOLDERS))
    assert list_leftovers(output) == []
    assert run_maskmill("verify", output).status == 0


def test_documents_that_are_gone_are_not_read_again_over_those_that_stand(
    undisturbed: Undisturbed, finished: Path, tmp_path: Path
) -> None:
    """Raw text may have changed since: tokenizer and rows are made from the existing documents."""
    output = Path(shutil.copytree(finished, tmp_path / "out"))
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, output)
    shutil.rmtree(output / "documents-heldout")
    before = read_tree(output, FOLDERS)
    ended = run_maskmill("prepare", run_file, *set_options(SETTINGS))
    assert ended.status == 1
    assert f"StaleArtifactError: {output / 'documents-heldout'}: these documents are gone" in ended.stderr
    assert_same_tree(read_tree(output, FOLDERS), before)


def test_documents_that_were_read_again_and_are_others_do_not_pass(
    undisturbed: Undisturbed, finished: Path, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "out"))
    corpus = Path(shutil.copytree(undisturbed.corpus_folder, tmp_path / "corpus"))
    run_file = write_run_file(tmp_path / "run.toml", corpus, output)
    changed = min(corpus.rglob("*.jsonl"))
    data = bytearray(changed.read_bytes())
    letter = data.rindex(b'"text": "') + len(b'"text": "')
    data[letter] = ord("q") if data[letter] != ord("q") else ord("r")
    changed.write_bytes(data)
    for folder in ("documents", "documents-heldout"):
        shutil.rmtree(output / folder)
    ended = run_maskmill("prepare", run_file, *set_options([*SETTINGS, "input.max_quarantined=0.5"]))
    assert ended.status == 1
    assert "this part was made from documents other than these" in ended.stderr


@pytest.mark.parametrize("gone", ["tokenizer", "packed-heldout-64", "documents"])
def test_what_is_gone_is_made_again_by_the_same_libraries_or_not(
    undisturbed: Undisturbed, finished: Path, tmp_path: Path, gone: str
) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "out"))
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, output)
    record = json.loads((output / "run.json").read_text())
    record["versions"]["pyarrow"] = "1.2.3"
    (output / "run.json").write_text(json.dumps(record))
    assert run_maskmill("prepare", run_file, *set_options(SETTINGS)).status == 0  # nothing is left to do
    shutil.rmtree(output / gone)
    ended = run_maskmill("prepare", run_file, *set_options(SETTINGS))
    assert (ended.status, "begun with another pyarrow" in ended.stderr) == (1, True), ended.stderr


def test_words_that_are_gone_are_counted_again_as_the_message_says(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    module = "tests.integration.dying_driver"
    assert Driver("stage_done", "count", run_file, module=module, log=tmp_path / "log").finish() == -signal.SIGKILL
    (tmp_path / "out" / "work" / "words" / "count-000000.arrow").unlink()
    ended = run_maskmill("prepare", run_file)
    receipts = tmp_path / "out" / "work" / "receipts"
    assert ended.status == 1
    assert (
        f"count-000000.arrow: the words that a unit wrote are gone or have changed; delete {receipts}" in ended.stderr
    )
    shutil.rmtree(receipts)
    prepare(run_file)
    assert_same_tree(read_tree(tmp_path / "out"), undisturbed.tree)


@pytest.mark.parametrize(
    ("rows", "path"), [("packed-64", "documents/shard-00001.arrow"), ("packed-64", "encoded/shard-00001.arrow")]
)
def test_a_shard_that_is_gone_is_named(
    undisturbed: Undisturbed, finished: Path, tmp_path: Path, rows: str, path: str
) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "out"))
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, output)
    shutil.rmtree(output / rows)
    if path.startswith("documents"):  # else the ids that were kept are taken
        shutil.rmtree(output / "encoded")
    (output / path).unlink()
    ended = run_maskmill("prepare", run_file, *set_options(SETTINGS))
    assert ended.status == 1
    assert f"ShardCorruptError: {output / path}: the file is gone" in ended.stderr


@pytest.mark.long
@pytest.mark.parametrize("stage", ["map", "sort", "count", "merge", "train", "pack"])
def test_a_number_that_changed_in_a_receipt_is_found(undisturbed: Undisturbed, tmp_path: Path, stage: str) -> None:
    """It would become a number of the dataset, or of the place where its bytes are looked for."""
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    module = "tests.integration.dying_driver"
    assert Driver("stage_done", stage, run_file, module=module, log=tmp_path / "log").finish() == -signal.SIGKILL
    receipt = max((tmp_path / "out" / "work" / "receipts" / stage).iterdir(), key=lambda path: path.stat().st_size)
    whole = receipt.read_text()
    digit = next(place for place in range(whole.index('"counts"'), len(whole)) if whole[place] in "123456789")
    receipt.write_text(f"{whole[:digit]}{int(whole[digit]) % 9 + 1}{whole[digit + 1 :]}")
    assert json.loads(receipt.read_text()).keys() == json.loads(whole).keys()
    ended = run_maskmill("prepare", run_file)
    assert ended.status == 1
    assert f"ShardCorruptError: {receipt}: a receipt has changed since it was written" in ended.stderr
    receipt.unlink()  # as the message says
    prepare(run_file)
    assert_same_tree(read_tree(tmp_path / "out"), undisturbed.tree)
