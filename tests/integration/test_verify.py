"""Law 9: `verify` names every damaged file, and the loader gives no row of a damaged block."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash
from typer.testing import CliRunner

from maskmill.jobs.cli import app
from maskmill.pipeline.loader import MaskedBatches
from maskmill.pipeline.storage.datasets import fingerprint_manifest
from maskmill.schemas.errors import MaskmillError, ShardCorruptError
from maskmill.schemas.manifest import PackedManifest, TokenizerManifest
from tests.integration.conftest import Undisturbed

CHECKED = [
    "documents/shard-00003.arrow",
    "documents-heldout/shard-00000.arrow",
    "packed/shard-00002.arrow",
    "packed-heldout/shard-00000.arrow",
    "documents/shards.arrow",
    "packed/shards.arrow",
    "documents/manifest.json",
    "packed/manifest.json",
    "packed/tokenizer.json",
    "tokenizer/manifest.json",
    "tokenizer/tokenizer.json",
    "tokenizer/vocab.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/word_counts.parquet",
]


def flip_byte(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << (offset % 8)
    path.write_bytes(data)


def verify(folder: Path) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["verify", str(folder), "--json"])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.output


@pytest.fixture
def damaged(undisturbed: Undisturbed, tmp_path: Path) -> Path:
    """A copy of the output, to be damaged."""
    return Path(shutil.copytree(undisturbed.output, tmp_path / "out"))


def test_what_is_whole_passes(undisturbed: Undisturbed) -> None:
    assert verify(undisturbed.output)[0] == 0
    for part in ("documents", "documents-heldout", "tokenizer", "packed", "packed-heldout"):
        assert verify(undisturbed.output / part)[0] == 0


@pytest.mark.parametrize("name", CHECKED)
def test_every_flipped_byte_is_found(damaged: Path, name: str) -> None:
    whole = (damaged / name).read_bytes()
    rng = random.Random(name)
    offsets = {0, 9, len(whole) // 2, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(4))}
    for offset in sorted(offsets):
        flip_byte(damaged / name, offset)
        status, said = verify(damaged / name.partition("/")[0])
        assert status == 1, f"byte {offset} of {name}"
        assert str(damaged / name) in said, f"byte {offset} of {name}: {said}"
        (damaged / name).write_bytes(whole)
    flip_byte(damaged / name, len(whole) // 3)
    status, said = verify(damaged)  # over the whole run too
    assert status == 1
    assert str(damaged / name) in said


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("harm", ["truncated", "emptied", "missing"])
def test_what_is_cut_or_gone_is_found(damaged: Path, name: str, harm: str) -> None:
    path = damaged / name
    if harm == "missing":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) - 3 if harm == "truncated" else 0])
    status, said = verify(damaged)
    assert status == 1
    assert str(path) in said


@pytest.mark.parametrize(
    ("part", "other"), [("documents", "documents-heldout"), ("packed", "packed-heldout"), ("packed", "documents")]
)
def test_a_part_in_the_place_of_another_is_found(damaged: Path, part: str, other: str) -> None:
    shutil.rmtree(damaged / part)
    shutil.copytree(damaged / other, damaged / part)
    status, said = verify(damaged)
    assert status == 1
    assert f"{damaged / part / 'manifest.json'}: this is the manifest of another part" in said


@pytest.mark.parametrize("part", ["documents", "packed"])
def test_a_shard_that_no_table_names_is_found(damaged: Path, part: str) -> None:
    shutil.copy(damaged / part / "shard-00000.arrow", damaged / part / "shard-00099.arrow")
    status, said = verify(damaged)
    assert status == 1
    assert str(damaged / part / "shard-00099.arrow") in said


@pytest.mark.parametrize("part", ["documents-heldout", "packed-heldout"])
def test_held_out_parts_that_are_gone_are_found(damaged: Path, part: str) -> None:
    shutil.rmtree(damaged / part)
    status, said = verify(damaged)
    assert status == 1
    assert str(damaged / part) in said


def test_a_record_that_is_damaged_or_of_another_run_is_found(damaged: Path) -> None:
    record = damaged / "run.json"
    whole = record.read_text()
    for harmed in ("x" + whole, "[]", "{}", whole.replace('"decisive"', '"decided"')):
        record.write_text(harmed)
        status, said = verify(damaged)
        assert (status, "run.json: the record of the run is damaged" in said) == (1, True)
    values = json.loads(whole)
    values["fingerprints"]["pack"] = "0" * 32
    record.write_text(json.dumps(values))
    status, said = verify(damaged)
    assert (status, "packed belongs to another run than the record describes" in said) == (1, True)
    record.unlink()  # parts that were copied out of a run
    assert verify(damaged)[0] == 0


def replace_file(path: Path, how: str) -> None:
    newer = path.read_bytes().replace(b'"schema_version": "2.', b'"schema_version": "99.')
    path.unlink()
    if how == "pipe":
        os.mkfifo(path)
    elif how == "long":
        path.touch()
        os.truncate(path, 1 << 40)  # no bytes on the disk
    elif how == "newer":
        path.write_bytes(newer)
    else:
        path.symlink_to({"device": "/dev/zero", "nowhere": "nothing", "loop": path.name}[how])


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *(("documents/manifest.json", how) for how in ("pipe", "device", "nowhere", "loop", "long", "newer")),
        *(("run.json", how) for how in ("pipe", "device", "loop", "long")),
        *(("quarantine", how) for how in ("pipe", "device", "nowhere", "loop", "long")),
        *(("tokenizer/vocab.txt", how) for how in ("pipe", "device", "nowhere", "loop")),
    ],
)
def test_whatever_is_in_the_place_of_a_file_the_other_parts_are_verified(damaged: Path, name: str, how: str) -> None:
    path = damaged / name
    path = min(path.iterdir()) if path.is_dir() else path
    replace_file(path, how)
    status, said = verify(damaged)
    assert status == 1
    assert str(path if how != "nowhere" else path.parent) in said
    for part in (damaged / "packed-heldout", damaged):
        assert f'"event": "verified", "path": "{part}", "findings": [' in said
    assert f'"path": "{damaged}/packed-heldout", "findings": []' in said


def test_what_was_set_aside_is_counted(damaged: Path) -> None:
    assert list((damaged / "quarantine").glob("inputs-*"))
    path = next((damaged / "quarantine").glob("inputs-*"))
    data = path.read_bytes()
    flipped = bytes([*data[:-60], data[-60] ^ 0xFF, *data[-59:]])
    harms = (path.unlink, lambda: path.write_bytes(data[:-9]), lambda: path.write_bytes(flipped))
    for harm in (*harms, lambda: shutil.copy(path, f"{path}-again.arrow")):
        harm()
        status, said = verify(damaged)
        assert (status, str(damaged / "quarantine") in said) == (1, True), said
        path.write_bytes(data)
    for extra in (damaged / "quarantine").glob("*-again.arrow"):
        extra.unlink()
    shutil.copy(path, damaged / "quarantine" / "packed-shard-00001.arrow")
    assert verify(damaged)[0] == 1


@pytest.mark.parametrize("key", ["documents_fingerprint", "checksums"])
def test_a_tokenizer_of_another_run_is_found(damaged: Path, key: str) -> None:
    path = damaged / "tokenizer" / "manifest.json"
    values = json.loads(path.read_text())
    if key == "checksums":
        other = (damaged / "tokenizer" / "tokenizer.json").read_bytes().replace(b'"cleanup": true', b'"cleanup": false')
        (damaged / "tokenizer" / "tokenizer.json").write_bytes(other)
        values[key]["tokenizer.json"] = xxhash.xxh3_128_hexdigest(other)
    else:
        values[key] = "0" * 32
    manifest = TokenizerManifest.model_validate(values)
    path.write_text(manifest.model_copy(update={"fingerprint": fingerprint_manifest(manifest)}).model_dump_json())
    assert verify(damaged / "tokenizer")[0] == 0
    status, said = verify(damaged)
    assert status == 1
    assert "tokenizer" in said


@pytest.mark.parametrize("folder", ["tokenizer", "packed", "packed-heldout"])
@pytest.mark.parametrize("harm", ["nothing", "a piece more", "two ids changed", "an id of 2^32 - 1", "not a tokenizer"])
def test_a_tokenizer_that_cannot_have_encoded_the_rows_is_found(damaged: Path, folder: str, harm: str) -> None:
    """Even with a checksum that fits, whoever wrote it."""
    path = damaged / folder / "tokenizer.json"
    description = json.loads(path.read_text())
    vocabulary = description["model"]["vocab"]
    if harm == "a piece more":
        vocabulary["one more piece"] = len(vocabulary)
    elif harm == "two ids changed":
        vocabulary["[MASK]"], vocabulary["[SEP]"] = vocabulary["[SEP]"], vocabulary["[MASK]"]
        for token in description["added_tokens"]:
            token["id"] = vocabulary[token["content"]]
        description["post_processor"] = None
    elif harm == "an id of 2^32 - 1":
        vocabulary["one more piece"] = 2**32 - 1
    elif harm == "not a tokenizer":
        description = {}
    content = json.dumps(description).encode()
    path.write_bytes(content)
    checksum = xxhash.xxh3_128_hexdigest(content)
    values = json.loads((damaged / folder / "manifest.json").read_text())
    if folder == "tokenizer":
        values["checksums"]["tokenizer.json"] = checksum
        manifest: Any = TokenizerManifest.model_validate(values)
    else:
        manifest = PackedManifest.model_validate_json(json.dumps(values | {"tokenizer_checksum": checksum}))
    manifest = manifest.model_copy(update={"fingerprint": fingerprint_manifest(manifest)})
    (damaged / folder / "manifest.json").write_text(manifest.model_dump_json())
    status, said = verify(damaged / folder)
    # Which ids are special stands in the manifests of rows alone.
    is_whole = harm == "nothing" or (harm == "two ids changed" and folder == "tokenizer")
    assert status == (0 if is_whole else 1), said
    assert (str(path) in said) is not is_whole, said


def test_sums_that_do_not_add_up_are_found(damaged: Path) -> None:
    """Even with a fingerprint that fits: counts are held against the rows."""
    path = damaged / "packed" / "manifest.json"
    values = json.loads(path.read_text())
    values["counts"]["segments"] += 1
    values["counts"]["cuts"] += 1
    manifest = PackedManifest.model_validate(values)
    path.write_text(manifest.model_copy(update={"fingerprint": fingerprint_manifest(manifest)}).model_dump_json())
    status, said = verify(damaged / "packed")
    assert status == 1
    assert "segments" in said


def row_ids(folder: Path, shuffle_blocks: int = 1) -> tuple[list[int], MaskmillError | None]:
    """The ids of an epoch's rows as far as the loader gives them, and what stopped it."""
    rows: list[int] = []
    try:
        for batch in MaskedBatches(str(folder), global_batch_rows=1, shuffle_blocks=shuffle_blocks).epochs(1):
            rows += batch.row_ids.tolist()
    except ShardCorruptError as error:
        return rows, error
    return rows, None


def test_the_loader_gives_no_row_of_a_damaged_block(damaged: Path) -> None:
    whole, error = row_ids(damaged / "packed")
    assert error is None
    shard = whole[len(whole) // 2] >> 32
    name = damaged / "packed" / f"shard-{shard:05d}.arrow"
    flip_byte(name, name.stat().st_size // 2)
    rows, error = row_ids(damaged / "packed")
    assert error is not None
    assert str(name) in str(error)
    assert rows == whole[: len(rows)]
    assert all(row >> 32 != shard for row in rows)
    assert whole[len(rows)] >> 32 == shard  # all rows before it are given


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_the_loader_names_a_shard_that_is_cut_or_gone(damaged: Path, harm: Callable[[Path], None]) -> None:
    name = damaged / "packed" / "shard-00001.arrow"
    harm(name)
    rows, error = row_ids(damaged / "packed")
    assert error is not None
    assert str(name) in str(error)
    assert all(row >> 32 != 1 for row in rows)
