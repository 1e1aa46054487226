"""Every way to pack gives an output that is verified, and what is wrong with one is found."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from maskmill.pipeline.run.list_parts import list_parts
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.datasets import read_manifest, write_manifest
from maskmill.pipeline.storage.shard_table import write_shard_table
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.verification.check_parts import check_between
from maskmill.pipeline.verification.verify_output import Verified, verify_output
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.layout import DataSplit
from maskmill.schemas.manifest import EncodedManifest, PackedManifest, TokenizerManifest
from maskmill.schemas.receipt import ShardReceipt
from maskmill.schemas.rows import Compression, encoded_schema, packed_row_schema
from maskmill.schemas.run_file import PackSection
from tests.verification.outputs import RUN, Output, ignore, pack_output, write_output
from tests.wordpiece.texts import SENTENCES

LONG = " ".join(SENTENCES * 4)
TRAIN = (
    [*SENTENCES, LONG, "", "fox", *(f"{sentence} {LONG[:at]}" for at, sentence in enumerate(SENTENCES * 8))],
    [],
    [""],
    [LONG[at:] for at in range(0, 600, 37)] + SENTENCES,
)
HELD_OUT = ([*SENTENCES[:2], LONG],)
LAYOUTS = {
    "default": {},
    "parts": {"rows_per_shard": 3},
    "several lengths": {"seq_len": [64, 32], "rows_per_shard": 4},
    "lz4": {"compression": "lz4"},
    "zstd": {"compression": "zstd"},
    "never": {"split": "never"},
    "fill": {"split": "fill", "max_waste": 0.01, "min_segment": 4},
    "sentences": {"cut": "sentence"},
    "doc_sentences": {"sequences": "doc_sentences"},
    "full_sentences": {"sequences": "full_sentences", "rows_per_shard": 5},
    "document": {"sequences": "document"},
    "bins": {"sequences": "document", "length_bins": [32, 48, 64], "rows_per_shard": 4},
    "bins, never": {"sequences": "document", "length_bins": [32, 64], "split": "never"},
    "documents of several lengths": {"sequences": "document", "seq_len": [32, 64]},
    "nsp": {"pairs": "nsp", "rows_per_shard": 4},
    "nsp, duplicates": {"pairs": "nsp", "duplicates": 3, "seq_len": [64, 32], "compression": "zstd"},
    "sop": {"pairs": "sop", "duplicates": 2},
    "sop, single": {"pairs": "sop", "sop_random_single": True, "cut": "token"},
    "encoded pairs": {"pairs": "sop", "keep_encoded": True},
    "encoded": {"keep_encoded": True},
    "encoded, never": {"keep_encoded": True, "split": "never"},
    "encoded bins": {"keep_encoded": True, "sequences": "document", "length_bins": [32, 64]},
}


def make_pack(layout: str) -> PackSection:
    return PackSection.model_validate({"seq_len": 64, "min_segment": 8} | LAYOUTS[layout])


def verify(output: Output | str) -> list[Verified]:
    store = output.store if isinstance(output, Output) else open_store(output)
    return list(verify_output(store, ignore))


def findings_of(output: Output | str) -> list[str]:
    return [str(finding) for part in verify(output) for finding in part.findings]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("copies", [0, 2])
def test_every_layout_is_verified_whole_and_part_by_part(tmp_path: Path, layout: str, copies: int) -> None:
    output = write_output(str(tmp_path), make_pack(layout), TRAIN, HELD_OUT, copies=copies)
    assert findings_of(output) == []
    for part in list_parts(output.store):
        assert findings_of(str(tmp_path / part)) == []


def test_encoded_ids_that_the_tokenizer_does_not_have_are_found(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("encoded"), TRAIN, HELD_OUT)
    parts = {part.path.rpartition("/")[2]: part for part in verify(output) if part.manifest is not None}
    tokenizer = read_manifest(output.store.below("tokenizer"), TokenizerManifest)
    assert 0 < parts["encoded"].num_ids <= tokenizer.vocab_size
    parts["encoded"] = dataclasses.replace(parts["encoded"], num_ids=tokenizer.vocab_size + 1)
    (found,) = check_between(output.store, parts)
    size = tokenizer.vocab_size
    assert f"encoded has the id {size}, but the tokenizer has {size} pieces" in str(found)


def test_parts_are_listed_in_their_order_whatever_else_stands_there(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("encoded bins"), TRAIN, HELD_OUT)
    for path in ("work/receipts/x.json", "report/index.html", "quarantine/a.arrow", "packed-8-8/manifest.json"):
        output.store.write_bytes(path, b"{}")
    output.store.write_bytes("packed-128/shard-00000.arrow", b"")
    assert list_parts(output.store) == {
        "documents": True,
        "documents-heldout": True,
        "tokenizer": True,
        "encoded": True,
        "encoded-heldout": True,
        "packed-32": True,
        "packed-64": True,
        "packed-128": False,
        "packed-heldout-32": True,
        "packed-heldout-64": True,
    }
    assert any("packed-128" in found and "no manifest" in found for found in findings_of(output))


PARTS = ("documents", "documents-heldout", "tokenizer", "encoded", "encoded-heldout", "packed", "packed-heldout")


def test_every_part_of_a_run_that_is_missing_or_unfinished_is_named(tmp_path: Path) -> None:
    """`verify` finds nothing wrong only where all that the record promises is there."""
    whole = write_output(str(tmp_path / "whole"), make_pack("encoded"), TRAIN[:1], HELD_OUT)
    decisive = {"documents": {"held_out": 0.1}, "tokenizer": {}, "pack": whole.pack.model_dump(mode="json")}
    record = {"fingerprints": dict.fromkeys(("shard", "tokenizer", "pack"), RUN), "decisive": decisive}
    combinations = list(itertools.product(("whole", "unfinished", "missing"), repeat=len(PARTS)))
    few = [states for states in combinations if states.count("whole") >= len(PARTS) - 1]
    for states in [*few, *random.Random(7).sample(combinations, 100)]:
        folder = tmp_path / "out"
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(record))
        for part, state in zip(PARTS, states, strict=True):
            if state != "missing":
                (folder / part).mkdir()
                for path in (tmp_path / "whole" / part).iterdir():
                    if state == "whole" or path.name != "manifest.json":
                        (folder / part / path.name).hardlink_to(path)
        found = findings_of(str(folder))
        for part, state in zip(PARTS, states, strict=True):
            missing = [one for one in found if one.startswith(f"{folder / part}: ")]
            no_manifest = [one for one in found if one.startswith(f"{folder / part}/manifest.json: no manifest")]
            assert (len(missing), len(no_manifest)) == (state == "missing", state == "unfinished"), (part, states)
        assert bool(found) == (set(states) != {"whole"})
        shutil.rmtree(folder)


def test_a_run_that_stopped_before_its_first_part_is_said_to_miss_all(tmp_path: Path) -> None:
    decisive = {"documents": {"held_out": 0.0}, "tokenizer": {}, "pack": {"seq_len": [64, 128]}}
    (tmp_path / "run.json").write_text(json.dumps({"fingerprints": {}, "decisive": decisive}))
    found = findings_of(str(tmp_path))
    assert [one.partition(": ")[0] for one in found] == [
        str(tmp_path / part) for part in ("documents", "tokenizer", "packed-64", "packed-128")
    ]


Change = Callable[[list[ShardReceipt]], list[ShardReceipt]]


def change_table(output: Output, folder: str, change: Change, model: Any = PackedManifest, **counts: int) -> None:
    """Write a dataset's table and manifest again, so that they go together."""
    receipts = [shard for receipt in output.receipts for shard in receipt.shards if shard.path.startswith(f"{folder}/")]
    num_shards, checksum = write_shard_table(output.store, folder, change(receipts))
    manifest = read_manifest(output.store.below(folder), model)
    changes: dict[str, Any] = {"num_shards": num_shards, "shards_checksum": checksum}
    if counts:
        changes["counts"] = manifest.counts.model_copy(update=counts)
    write_manifest(output.store, folder, manifest.model_copy(update=changes))


def rewrite_shard(
    output: Output, path: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], schema: pa.Schema
) -> Change:
    """Write a shard's rows again, changed; returns what that makes of its receipt."""
    rows = change(pa.ipc.open_file(output.store.read_bytes(path)).read_all().to_pylist())
    batch = pa.record_batch([[row[name] for row in rows] for name in schema.names], schema=schema)
    (old,) = (shard for receipt in output.receipts for shard in receipt.shards if shard.path == path)
    new = write_blocks(
        output.store, path, schema, [batch], tokens=old.tokens, text_bytes=old.text_bytes, first_row_id=old.first_row_id
    )
    return lambda receipts: [new if receipt.path == path else receipt for receipt in receipts]


def number_from_one(receipts: list[ShardReceipt]) -> list[int]:
    return [receipt.first_row_id + (1 << 32) for receipt in receipts]


def number_all_alike(receipts: list[ShardReceipt]) -> list[int]:
    return [0 for _ in receipts]


def leave_a_shard_out(receipts: list[ShardReceipt]) -> list[int]:
    return [receipt.first_row_id + (index > 2) * (1 << 33) for index, receipt in enumerate(receipts)]


def leave_a_row_out(receipts: list[ShardReceipt]) -> list[int]:
    return [receipt.first_row_id + (index == 1) for index, receipt in enumerate(receipts)]


def number_an_empty_shard_as_the_next(receipts: list[ShardReceipt]) -> list[int]:
    empty = next(index for index, receipt in enumerate(receipts) if not receipt.rows)
    return [receipt.first_row_id - (index > empty) * (1 << 32) for index, receipt in enumerate(receipts)]


@pytest.mark.parametrize(
    "number",
    [number_from_one, number_all_alike, leave_a_shard_out, leave_a_row_out, number_an_empty_shard_as_the_next],
)
def test_rows_that_are_not_numbered_on_are_found(
    tmp_path: Path, number: Callable[[list[ShardReceipt]], list[int]]
) -> None:
    output = write_output(str(tmp_path), make_pack("parts"), TRAIN)
    change_table(
        output,
        "packed",
        lambda receipts: [
            receipt.model_copy(update={"first_row_id": first})
            for receipt, first in zip(receipts, number(receipts), strict=True)
        ],
    )
    assert any("which does not follow" in found for found in findings_of(output))


def test_masks_are_those_of_the_rows_numbers(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("default"), TRAIN, copies=1)
    change_table(
        output,
        "packed",
        lambda receipts: [
            receipt.model_copy(update={"first_row_id": receipt.first_row_id + (index == 3) * (1 << 32)})
            for index, receipt in enumerate(receipts)
        ],
    )
    found = findings_of(output)
    assert any("which does not follow" in one for one in found)
    assert any("is not the mask of epoch 0" in one for one in found)


def test_a_part_that_is_gone_from_the_table_is_found(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("parts"), TRAIN)
    last = max(shard.path for shard in output.receipts[0].shards)
    change_table(output, "packed", lambda receipts: [receipt for receipt in receipts if receipt.path != last])
    output.store.delete(last)
    assert any("rows" in found for found in findings_of(output))


def test_a_bin_that_lost_its_documents_is_found(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("bins"), TRAIN)
    output.store.delete_tree("packed-48")
    assert any("reached all length bins" in found for found in findings_of(output))


def test_held_out_bins_that_are_gone_are_found(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("bins"), TRAIN, HELD_OUT)
    output.store.delete_tree("packed-heldout-48")
    assert any("packed-heldout-48: 3 held-out documents are gone" in found for found in findings_of(output))


def test_a_bin_in_the_place_of_another_is_found(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("documents of several lengths"), TRAIN)
    for path in output.store.list("packed-32"):
        output.store.delete(path)
    for path in output.store.list("packed-64"):
        output.store.write_bytes(path.replace("packed-64", "packed-32"), output.store.read_bytes(path))
    assert any("the manifest of another part" in found for found in findings_of(output))


SCHEMA = packed_row_schema(64, 1000, 0)


def drop_continuation(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pretend that the last segment of a document is of another place in it."""
    row = next(row for row in rows if max(row["segment_offset"]) > 0)
    row["segment_offset"] = [offset + (offset > 0) for offset in row["segment_offset"]]
    return rows


def overlap(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    row = next(row for row in rows if max(row["segment_offset"]) > 0)
    row["segment_offset"] = [offset - (offset > 0) for offset in row["segment_offset"]]
    return rows


def of_another_shard(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows[0]["segment_document"] = [document + (9 << 32) for document in rows[0]["segment_document"]]
    return rows


@pytest.mark.parametrize("layout", ["default", "full_sentences", "document"])
@pytest.mark.parametrize(
    ("change", "word"),
    [(drop_continuation, "continue"), (overlap, "a segment begins at token"), (of_another_shard, "document shard 0")],
)
def test_segments_that_do_not_make_up_their_documents_are_found(
    tmp_path: Path, layout: str, change: Any, word: str
) -> None:
    pack = make_pack(layout).model_copy(update={"rows_per_shard": None})
    output = write_output(str(tmp_path), pack, TRAIN)
    change_table(output, "packed", rewrite_shard(output, "packed/shard-00000.arrow", change, SCHEMA))
    assert any(word in found for found in findings_of(output)), findings_of(output)
    if layout == "default":
        assert any(word in found for found in findings_of(str(tmp_path / "packed")))
    if layout == "full_sentences":  # a dataset of whole documents alone may be a length bin
        assert findings_of(str(tmp_path / "packed"))


def join_sequences(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two sequences said to be one of two segments: [CLS] of the second would be a token."""
    row = next(row for row in rows if len(row["sequence_lengths"]) > 1)
    first, second, *rest = row["sequence_lengths"]
    row["sequence_lengths"] = [first + second, *rest]
    return rows


def part_sequences(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    row = next(row for row in rows if len(row["segment_lengths"]) > 1)
    row["sequence_lengths"] = list(row["segment_lengths"])
    return rows


@pytest.mark.parametrize(
    ("layout", "change", "word"),
    [
        ("default", join_sequences, "a sequence has several segments"),
        ("full_sentences", part_sequences, "does not begin with [CLS]"),
    ],
)
def test_sequences_that_are_not_made_as_the_manifest_says_are_found(
    tmp_path: Path, layout: str, change: Any, word: str
) -> None:
    pack = make_pack(layout).model_copy(update={"rows_per_shard": None})
    output = write_output(str(tmp_path), pack, TRAIN)
    change_table(output, "packed", rewrite_shard(output, "packed/shard-00000.arrow", change, SCHEMA))
    assert any(word in found for found in findings_of(output)), findings_of(output)


@pytest.mark.parametrize(("sequences", "word"), [("document", "several sequences"), ("full_sentences", "several")])
def test_rows_of_several_sequences_are_found_where_there_may_be_one(tmp_path: Path, sequences: str, word: str) -> None:
    output = write_output(str(tmp_path), make_pack("default"), TRAIN)
    manifest = read_manifest(output.store.below("packed"), PackedManifest)
    write_manifest(output.store, "packed", manifest.model_copy(update={"sequences": sequences}))
    assert any(word in found for found in findings_of(output))


@pytest.mark.parametrize("cut", [lambda one, two: [2, one + two - 2], lambda one, two: [one, 1, two - 1]])
def test_segments_without_a_token_are_found(tmp_path: Path, cut: Callable[[int, int], list[int]]) -> None:
    def empty(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        row = next(row for row in rows if len(row["segment_lengths"]) > 1)
        first, second, *rest = row["segment_lengths"]
        row["segment_lengths"] = [*cut(first, second), *rest]
        return rows

    output = write_output(str(tmp_path), make_pack("full_sentences").model_copy(update={"rows_per_shard": None}), TRAIN)
    change_table(output, "packed", rewrite_shard(output, "packed/shard-00000.arrow", empty, SCHEMA))
    assert any("a segment has no token" in found for found in findings_of(output))


def test_text_bytes_that_do_not_add_up_are_found(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("default"), TRAIN)
    change_table(
        output,
        "packed",
        lambda receipts: [receipts[0].model_copy(update={"text_bytes": 1}), *receipts[1:]],
    )
    assert any("text_bytes" in found for found in findings_of(output))


def encoded_of(output: Output) -> dict[DataSplit, EncodedManifest]:
    return {DataSplit.TRAIN: read_manifest(output.store.below("encoded"), EncodedManifest)}


def test_encoded_documents_that_do_not_add_up_are_found(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("encoded"), TRAIN)

    def drop_a_document(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return rows[1:]

    schema = encoded_schema(1000)
    change_table(
        output,
        "encoded",
        rewrite_shard(output, "encoded/shard-00000.arrow", drop_a_document, schema),
        EncodedManifest,
    )
    found = findings_of(output)
    assert any("documents: 61 counted when written, 60 found" in one for one in found), found
    assert any("tokens: " in one for one in found)


def test_tokens_that_were_encoded_and_came_to_no_row_are_found(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("encoded bins"), TRAIN)
    manifest = encoded_of(output)[DataSplit.TRAIN]
    counts = manifest.counts.model_copy(update={"tokens": manifest.counts.tokens + 1})
    write_manifest(output.store, "encoded", manifest.model_copy(update={"counts": counts}))
    assert any("reached all length bins" in found for found in findings_of(output))


def test_rejected_documents_that_do_not_add_up_are_found(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("encoded"), TRAIN)

    def reject(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"is_rejected": not row["input_ids"]} for row in rows]

    change = rewrite_shard(output, "encoded/shard-00000.arrow", reject, encoded_schema(1000))
    change_table(output, "encoded", change, EncodedManifest)
    assert any("quarantined: 0 counted when written, 1 found" in found for found in findings_of(output))


def test_parts_of_different_runs_are_found_and_rows_packed_again_are_not(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("several lengths"), TRAIN)
    for folder, are_different in (("packed-32", True), ("packed-64", False)):
        manifest = read_manifest(output.store.below(folder), PackedManifest)
        write_manifest(output.store, folder, manifest.model_copy(update={"run_fingerprint": "e" * 32}))
        assert any("different runs" in found for found in findings_of(output)) == are_different


def test_encoded_documents_of_another_tokenizer_or_other_documents_are_found(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("encoded"), TRAIN)
    manifest = encoded_of(output)[DataSplit.TRAIN]
    for name, word in (("tokenizer_checksum", "a tokenizer other"), ("documents_fingerprint", "documents other")):
        write_manifest(output.store, "encoded", manifest.model_copy(update={name: "0" * 32}))
        assert any(word in found for found in findings_of(output))


def test_flipped_bits_of_encoded_and_compressed_shards_are_found(tmp_path: Path) -> None:
    pack = make_pack("encoded").model_copy(update={"compression": Compression.ZSTD})
    output = write_output(str(tmp_path), pack, TRAIN)
    for name in ("encoded/shard-00000.arrow", "packed/shard-00000.arrow"):
        whole = output.store.read_bytes(name)
        for place in np.linspace(0, len(whole) - 1, 12).astype(int).tolist():
            damaged = bytearray(whole)
            damaged[place] ^= 4
            output.store.write_bytes(name, bytes(damaged))
            assert any(str(tmp_path / name) in found for found in findings_of(output)), place
        output.store.write_bytes(name, whole)
    assert findings_of(output) == []


def test_rows_packed_again_from_encoded_documents_are_verified(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("encoded"), TRAIN)
    output.store.delete_tree("packed")
    output.pack = make_pack("encoded bins")
    pack_output(output, encoded_of(output))
    assert findings_of(output) == []


PAIRS_SCHEMA = packed_row_schema(64, 1000, 0, pairs=True)


def find_pair(rows: list[dict[str, Any]], label: int, other: bool | None = None) -> tuple[dict[str, Any], int]:
    """A row and the number of a sequence in it with a label; `other` says whether B is of another document."""
    for row in rows:
        for sequence, found in enumerate(row["sequence_labels"]):
            a, b = row["segment_document"][2 * sequence : 2 * sequence + 2]
            if found == label and other in (a != b, None):
                return row, sequence
    raise AssertionError("no such pair")


def flip_0(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    row, sequence = find_pair(rows, 0)
    row["sequence_labels"][sequence] = 1
    return rows


def flip_1(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    row, sequence = find_pair(rows, 1)
    row["sequence_labels"][sequence] = 0
    return rows


def label_2(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows[0]["sequence_labels"][0] = 2
    return rows


def add_label(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows[0]["sequence_labels"].append(0)
    return rows


def lose_label(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows[0]["sequence_labels"].pop()
    return rows


def join_segments(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A sequence of one segment, and one of three."""
    for row in rows:
        lengths = row["segment_lengths"]
        if len(lengths) > 2 and lengths[0] > 5:
            row["segment_lengths"] = [3, lengths[0] - 3, *lengths[1:-2], sum(lengths[-2:])]
            return rows
    raise AssertionError("no such row")


def swap_origins(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pretend that B precedes A in the document."""
    row, sequence = find_pair(rows, 0)
    a = 2 * sequence
    for name in ("segment_document", "segment_offset"):
        row[name][a], row[name][a + 1] = row[name][a + 1], row[name][a]
    return rows


def of_another_document(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pretend that a pair of a document that has several is from one that has none."""
    firsts = [document for row in rows for document in row["segment_document"][::2]]
    for row in rows:
        for sequence, label in enumerate(row["sequence_labels"]):
            if label == 0 and firsts.count(row["segment_document"][2 * sequence]) > 1:
                row["segment_document"][2 * sequence : 2 * sequence + 2] = [90, 90]
                return rows
    raise AssertionError("no such pair")


NOT_OF_LABEL = "the label of a pair does not fit its segments"


@pytest.mark.parametrize("layout", ["nsp", "sop", "sop, single"])
@pytest.mark.parametrize(
    ("change", "word"),
    [
        (flip_0, NOT_OF_LABEL),
        (flip_1, NOT_OF_LABEL),
        (swap_origins, NOT_OF_LABEL),
        (label_2, "a value of sequence_labels is not below 2"),
        (add_label, "not every sequence has a value in every column"),
        (lose_label, "not every sequence has a value in every column"),
        (join_segments, "a sequence is not a pair of segments"),
        (of_another_shard, "from another document shard"),
        (of_another_document, "packed: "),
    ],
)
def test_pairs_that_are_not_what_they_say_are_found(tmp_path: Path, layout: str, change: Any, word: str) -> None:
    pack = make_pack(layout).model_copy(update={"rows_per_shard": None})
    output = write_output(str(tmp_path), pack, TRAIN)
    assert findings_of(output) == []
    change_table(output, "packed", rewrite_shard(output, "packed/shard-00000.arrow", change, PAIRS_SCHEMA))
    assert any(word in found for found in findings_of(output)), findings_of(output)


@pytest.mark.parametrize("name", ["pairs", "pairs_of_label_1", "tokens_of_others", "segments", "packed"])
def test_counts_of_pairs_that_are_not_those_of_the_rows_are_found(tmp_path: Path, name: str) -> None:
    output = write_output(str(tmp_path), make_pack("nsp"), TRAIN)
    counts = read_manifest(output.store.below("packed"), PackedManifest).counts
    more = {
        "pairs": {"pairs": counts.pairs + 1, "segments": counts.segments + 2},
        "segments": {"pairs": counts.pairs + 1, "segments": counts.segments + 2},
        "pairs_of_label_1": {name: counts.pairs_of_label_1 - 1},
        "tokens_of_others": {name: counts.tokens_of_others + 1, "tokens_truncated": counts.tokens_truncated + 1},
        "packed": {name: counts.packed - 1, "unpaired": counts.unpaired + 1},
    }
    change_table(output, "packed", lambda receipts: receipts, **more[name])
    assert any(found.partition(": ")[2].startswith(f"{name}: ") for found in findings_of(output)), findings_of(output)


def test_the_manifest_of_pairs_adds_up(tmp_path: Path) -> None:
    output = write_output(str(tmp_path), make_pack("sop"), TRAIN)
    packed = output.store.below("packed")
    manifest = read_manifest(packed, PackedManifest)
    assert (manifest.pairs, manifest.duplicates, manifest.sop_random_single) == ("sop", 2, False)
    counts = manifest.counts
    assert counts.tokens_repeated == counts.tokens_encoded > 0
    assert counts.tokens_encoded * 2 == counts.tokens_in_rows + counts.tokens_truncated + counts.tokens_unpaired
    assert counts.documents == counts.packed + counts.without_tokens + counts.unpaired
    for changes in ({"duplicates": 1}, {"duplicates": 3}, {"pairs": None}):
        write_manifest(output.store, "packed", manifest.model_copy(update=changes))
        with pytest.raises(ShardCorruptError, match="the manifest is invalid"):
            read_manifest(packed, PackedManifest)
    for name in ("tokens_truncated", "tokens_unpaired", "tokens_repeated", "unpaired"):
        changed = counts.model_copy(update={name: getattr(counts, name) + 1})
        write_manifest(output.store, "packed", manifest.model_copy(update={"counts": changed}))
        with pytest.raises(ShardCorruptError, match="the manifest is invalid"):
            read_manifest(packed, PackedManifest)
