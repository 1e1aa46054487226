"""Manifests refuse what does not add up, what is damaged and what a newer maskmill wrote."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from maskmill.pipeline.run.parts import model_of_manifest
from maskmill.pipeline.storage.datasets import fingerprint_manifest, read_manifest, write_manifest
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.counts import DocumentCounts, PackingCounts, SourceReport
from maskmill.schemas.errors import ConfigError, ShardCorruptError
from maskmill.schemas.manifest import (
    MAX_MANIFEST_BYTES,
    DocumentsManifest,
    PackedManifest,
    TokenizerManifest,
    kind_of_manifest,
    parse_manifest,
    text_fill_ppm,
)
from maskmill.schemas.version import SCHEMA_VERSION, check_schema_version

DOCUMENTS: dict[str, Any] = {
    "schema_version": "2.0",
    "run_fingerprint": "aa",
    "num_shards": 2,
    "shards_checksum": "bb",
    "fingerprint": "cc",
    "kind": "documents",
    "held_out": False,
    "documents": 5,
    "text_bytes": 99,
    "counts": {
        "read": 14,
        "written": 5,
        "held_out": 4,
        "duplicates": 3,
        "quarantined": 2,
        "quarantined_by_reason": {"broken JSON": 1, "empty text": 1},
    },
}
FILTERED: dict[str, Any] = {
    "counts__filtered": 2,
    "counts__filtered_by_reason": {"length: too few words": 2},
}
NEAR: dict[str, Any] = {"counts__near_duplicates": 3}
PACKING_COUNTS = {
    "documents": 7,
    "packed": 4,
    "without_tokens": 2,
    "quarantined": 1,
    "too_long": 1,
    "tokens_encoded": 50,
    "tokens_in_rows": 50,
    "rows": 2,
    "segments": 5,
    "special_tokens": 10,
    "padding": 4,
    "cuts": 1,
    "cuts_to_fill": 0,
    "cuts_inside_sentences": 1,
    "cuts_inside_words": 0,
    "special_in_text": 0,
    "rows_lower_bound_l1": 2,
    "rows_lower_bound_l2": 2,
    "proof_documents": 1,
    "proof_bytes": 10,
    "fallback_shards": 0,
}
TOKENIZER: dict[str, Any] = {
    "kind": "tokenizer",
    "schema_version": "2.0",
    "run_fingerprint": "aa",
    "documents_fingerprint": "",
    "trained": True,
    "vocab_size": 10,
    "counts": {"words": 3},
    "sources": [
        {
            "source": "a",
            "text_bytes": 20,
            "words": 3,
            "tokens": 4,
            "unknown": 1,
            "characters": 9,
            "characters_unknown": 2,
            "letters": 8,
            "letters_changed": 1,
        }
    ],
    "checksums": {"tokenizer.json": "ff"},
    "fingerprint": "cc",
}


def copy_of(values: dict[str, Any], **changes: Any) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(values))
    for key, value in changes.items():
        *outer, last = key.split("__")
        inner = copied
        for name in outer:
            inner = inner[name]
        inner[last] = value
    return copied


def parse_documents(values: dict[str, Any]) -> DocumentsManifest:
    return parse_manifest(DocumentsManifest, json.dumps(values).encode(), "out/manifest.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"counts__read": 15},
        {"counts__read": 13},
        {"counts__held_out": 3},
        {"counts__duplicates": 4},
        {"counts__quarantined": 3, "counts__read": 15},
        {"counts__quarantined_by_reason": {"broken JSON": 1}},
        {"counts__written": 6, "counts__read": 15},
        {"counts__read": 16, "counts__filtered": 2},
        {"counts__read": 16, "counts__filtered_by_reason": {"a: b": 2}},
        {"counts__read": 16, **FILTERED, "counts__filtered": 1},
        {"counts__read": 16, **FILTERED, "counts__filtered_by_reason": {"a: b": 1}},
        FILTERED,
        {"counts__contaminated": 1},
        {"counts__contaminated": 1, "counts__contaminated_by_file": {"a": 1}},
        {
            "counts__contaminated": 1,
            "counts__contaminated_by_file": {"a": 2},
            "counts__evaluation_texts": {"a": 1},
        },
        {"counts__repaired": 99},
        {"counts__read": 16, **NEAR},
        NEAR,
        {"documents": 4},
        {"held_out": True},
        {"documents": -1},
        {"num_shards": -1},
        {"num_shards": "two"},
        {"more": 1},
        {"counts__more": 1},
    ],
)
def test_documents_that_do_not_add_up_are_refused(changes: dict[str, Any]) -> None:
    assert parse_documents(copy_of(DOCUMENTS)).documents == 5
    assert parse_documents(copy_of(DOCUMENTS, counts__read=16, **FILTERED)).documents == 5
    assert parse_documents(copy_of(DOCUMENTS, counts__read=19, **FILTERED, **NEAR)).documents == 5
    with pytest.raises(ShardCorruptError, match="is invalid") as refused:
        parse_documents(copy_of(DOCUMENTS, **changes))
    assert refused.value.path == "out/manifest.json"
    assert refused.value.found
    assert refused.value.action


@pytest.mark.parametrize(
    "changes",
    [
        {"documents": 8},
        {"packed": 3},
        {"without_tokens": 1},
        {"quarantined": 2},
        {"tokens_encoded": 51},
        {"tokens_in_rows": 49},
        {"segments": 6},
        {"cuts": 2},
        {"cuts_inside_words": 2},
        {"cuts_inside_sentences": 2},
        {"cuts_to_fill": 2},
        {"too_long": 2},
    ],
)
def test_packing_counts_that_do_not_add_up_are_refused(changes: dict[str, int]) -> None:
    PackingCounts.model_validate(PACKING_COUNTS)
    with pytest.raises(ValueError, match=r"document|tokens|segments|cuts|too long"):
        PackingCounts.model_validate(PACKING_COUNTS | changes)


def test_every_count_of_documents_is_required() -> None:
    for name in DOCUMENTS["counts"]:
        with pytest.raises(ValueError, match=name):
            DocumentCounts.model_validate({key: value for key, value in DOCUMENTS["counts"].items() if key != name})


@pytest.mark.parametrize("version", ["3.0", "3.7", "11.0"])
@pytest.mark.parametrize("model", [DocumentsManifest, TokenizerManifest])
def test_a_newer_major_version_is_refused_in_words(version: str, model: Any) -> None:
    unreadable = {"schema_version": version, "kind": "of tomorrow", "another": "world"}
    with pytest.raises(ConfigError, match="written by a newer maskmill") as refused:
        parse_manifest(model, json.dumps(unreadable).encode(), "x")
    assert (refused.value.found, refused.value.expected) == (
        version,
        "schema version 2.x",
    )


def test_a_newer_minor_version_is_read_and_its_fields_kept() -> None:
    url = "memory://test-newer-minor"
    newer = copy_of(DOCUMENTS, schema_version="2.9", language="is", counts__too_short=0, fingerprint="")
    written = write_manifest(open_store(url), "d", DocumentsManifest.model_validate(newer))
    read = read_manifest(open_store(url).below("d"), DocumentsManifest)
    assert read == written
    assert read.fingerprint == fingerprint_manifest(read) != fingerprint_manifest(parse_documents(copy_of(DOCUMENTS)))
    dumped = read.model_dump()
    assert (dumped["language"], dumped["counts"]["too_short"]) == ("is", 0)


def test_a_vocabulary_with_an_unknown_field_is_of_a_newer_version() -> None:
    """So versions before 2.3 refuse rows that store where words start, which they cannot read, in words."""
    newer = PACKED | {"schema_version": "2.9", "vocabulary": PACKED["vocabulary"] | {"letters": "icu 99"}}
    with pytest.raises(ConfigError, match=r"written by a newer maskmill; expected schema version 2\.x; found 2\.9"):
        parse_manifest(PackedManifest, json.dumps(newer).encode(), "x")


def test_what_a_newer_minor_version_changed_is_no_damage() -> None:
    with pytest.raises(ConfigError, match="written by a newer maskmill"):
        parse_documents(copy_of(DOCUMENTS, schema_version="2.9", counts__read=99))


@pytest.mark.parametrize(
    "version", ["", "1", "1.", ".1", "a.b", "1.0.0", "²x.0", "².0", "-1.0", " 1.0", "1.0\n", "9" * 5000 + ".0"]
)
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match="the schema version cannot be read"):
        check_schema_version(version, "x")


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.99"])
def test_versions_of_our_major_one_pass(version: str) -> None:
    check_schema_version(version, "x")


@pytest.mark.parametrize("version", ["0.9", "1.0", "1.99"])
def test_an_older_major_version_is_refused_in_words(version: str) -> None:
    with pytest.raises(ConfigError, match="written by an older maskmill") as refused:
        check_schema_version(version, "x")
    assert (refused.value.found, refused.value.expected) == (version, f"schema version {SCHEMA_VERSION}")


@pytest.mark.parametrize("change", [{"unknown": 5}, {"characters_unknown": 10}, {"letters_changed": 9}])
def test_a_report_in_which_a_part_exceeds_the_whole_is_refused(change: dict[str, int]) -> None:
    values = copy_of(TOKENIZER)
    values["sources"][0] |= change
    with pytest.raises(ShardCorruptError, match="is invalid"):
        parse_manifest(TokenizerManifest, json.dumps(values).encode(), "x")


@pytest.mark.parametrize(("tokens", "places", "ppm"), [(0, 0, 0), (1, 3, 333333), (512, 512, 1000000)])
def test_the_text_fill_is_in_whole_millionths(tokens: int, places: int, ppm: int) -> None:
    assert text_fill_ppm(tokens, places) == ppm


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"{}", b'{"schema_version": 1, "kind": "documents"}', b"\xff"])
def test_what_is_no_manifest_is_damage(data: bytes) -> None:
    with pytest.raises(ShardCorruptError, match="not a manifest") as refused:
        parse_manifest(DocumentsManifest, data, "x")
    assert refused.value.action


def test_another_kind_of_dataset_is_the_operators_mistake() -> None:
    with pytest.raises(ConfigError, match="another kind") as refused:
        parse_manifest(PackedManifest, json.dumps(DOCUMENTS).encode(), "x")
    assert (refused.value.expected, refused.value.found) == ("kind 'packed'", "kind 'documents'")


def test_the_fingerprint_changes_with_every_field() -> None:
    plain = parse_documents(copy_of(DOCUMENTS))
    prints = [fingerprint_manifest(plain)]
    assert fingerprint_manifest(plain.model_copy(update={"fingerprint": "other"})) == prints[0]
    changes: dict[str, Any] = {
        "schema_version": "2.1",
        "run_fingerprint": "changed",
        "num_shards": 3,
        "shards_checksum": "changed",
        "kind": "changed",
        "held_out": True,
        "documents": 6,
        "text_bytes": 100,
        "counts": plain.counts.model_copy(update={"quarantined_by_reason": {}}),
    }
    assert changes.keys() == DocumentsManifest.model_fields.keys() - {"fingerprint"}
    updates = [{name: value} for name, value in changes.items()]
    numbers = DocumentCounts.model_fields.keys() - {"quarantined_by_reason"}
    updates += [{"counts": plain.counts.model_copy(update={name: 10**6})} for name in sorted(numbers)]
    prints += [fingerprint_manifest(plain.model_copy(update=update)) for update in updates]
    assert len(set(prints)) == len(prints)


def test_a_manifest_is_these_bytes() -> None:
    expected = (
        '{"schema_version":"2.0","run_fingerprint":"aa","num_shards":2,"shards_checksum":"bb","fingerprint":"cc",'
        '"kind":"documents","held_out":false,"documents":5,"text_bytes":99,"counts":{"read":14,"written":5,'
        '"held_out":4,"duplicates":3,"quarantined":2,"quarantined_by_reason":{"broken JSON":1,"empty text":1}}}'
    )
    assert parse_documents(copy_of(DOCUMENTS)).model_dump_json() == expected
    tokenizer = parse_manifest(TokenizerManifest, json.dumps(TOKENIZER).encode(), "x")
    assert json.loads(tokenizer.model_dump_json()) == TOKENIZER


PACKED: dict[str, Any] = {
    "kind": "packed",
    "schema_version": "2.0",
    "run_fingerprint": "aa",
    "num_shards": 1,
    "shards_checksum": "bb",
    "fingerprint": "cc",
    "held_out": False,
    "seq_len": 32,
    "block_rows": 4096,
    "vocabulary": {
        "vocab_size": 300,
        "pad_id": 0,
        "unk_id": 1,
        "cls_id": 2,
        "sep_id": 3,
        "mask_id": 4,
        "excluded_ranges": [[0, 5]],
    },
    "tokenizer_checksum": "dd",
    "documents_fingerprint": "ee",
    "sequences": "segment",
    "compression": "none",
    "text_fill_ppm": 781250,
    "copies": 100,
    "masking": {},
    "text_bytes": 99,
    "counts": PACKING_COUNTS,
}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"copies": 10**9}, "copies"),
        ({"copies": 101}, "copies"),
        ({"copies": -1}, "copies"),
        ({"vocabulary__vocab_size": 1 << 32}, "vocab_size"),
        ({"vocabulary__vocab_size": (1 << 20) + 1}, "vocab_size"),
        ({"vocabulary__excluded_ranges": [[0, 1 << 40]]}, "excluded_ranges"),
        ({"vocabulary__mask_id": 1 << 31}, "mask_id"),
        ({"block_rows": 0}, "block_rows"),
        ({"block_rows": 4097}, "4097 rows in a block"),
        ({"block_rows": 10**12}, "rows in a block"),
        ({"seq_len": 65_537}, "seq_len"),
        ({"seq_len": 31}, "seq_len"),
        ({"seq_len": 10**20}, "seq_len"),
        ({"num_shards": (1 << 24) + 1}, "num_shards"),
        ({"num_shards": 10**30}, "num_shards"),
        ({"text_bytes": 1 << 63}, "text_bytes"),
        ({"counts__rows": 1 << 70}, "rows"),
    ],
)
def test_numbers_that_size_memory_have_the_limits_of_the_run_file(changes: dict[str, Any], name: str) -> None:
    assert parse_manifest(PackedManifest, json.dumps(PACKED).encode(), "manifest.json").copies == 100
    with pytest.raises(ShardCorruptError, match=f"is invalid.*{name}"):
        parse_manifest(PackedManifest, json.dumps(copy_of(PACKED, **changes)).encode(), "manifest.json")


def test_a_tokenizer_has_no_more_pieces_than_one_that_is_trained() -> None:
    with pytest.raises(ShardCorruptError, match="vocab_size"):
        parse_manifest(TokenizerManifest, json.dumps(copy_of(TOKENIZER, vocab_size=1 << 32)).encode(), "manifest.json")


@pytest.mark.parametrize("data", [b"[" * 200_000, b'{"a":' * 200_000, b'{"kind": 7}', b"1" * 10_000, b"\xff", b""])
def test_deep_or_broken_json_is_no_manifest(data: bytes) -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}")
    store.write_bytes("manifest.json", data)
    assert model_of_manifest(store) is PackedManifest
    with pytest.raises(ShardCorruptError, match="not a manifest"):
        read_manifest(store, PackedManifest)


def test_a_manifest_is_read_to_a_limit() -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}")
    store.write_bytes("manifest.json", b" " * (MAX_MANIFEST_BYTES + 1))
    for read in (model_of_manifest, lambda dataset: read_manifest(dataset, PackedManifest)):
        with pytest.raises(ConfigError, match=r"manifest.json: the file is too large .*at most 16,777,216 bytes"):
            read(store)


@pytest.mark.parametrize("values", ["[],", "{},", "1.5,", '"",'])
def test_a_manifest_of_very_many_values_is_refused_before_it_is_parsed(values: str) -> None:
    """In a megabyte there are 350,000 empty lists, which took 780 MB and eight seconds."""
    data = json.dumps(PACKED)[:-1] + ', "more": [' + values * (1 << 19) + "0]}"
    assert kind_of_manifest(data.encode()) is None
    with pytest.raises(ShardCorruptError, match=r"manifest.json: not a manifest.*more objects, lists or values"):
        parse_manifest(PackedManifest, data.encode(), "manifest.json")


def test_a_manifest_of_a_thousand_sources_is_parsed() -> None:
    names = SourceReport.model_fields
    source = {name: "s" * 5000 if name == "source" else (1 << 40) + 1 for name in names}
    data = json.dumps(copy_of(TOKENIZER, sources=[source] * 1000), indent=2).encode()
    assert len(parse_manifest(TokenizerManifest, data, "manifest.json").sources) == 1000


VERSION = "masks-" + "0" * 32


@pytest.mark.parametrize("folder", ["..", "a", "masks-", VERSION[:-1], f"{VERSION}/..", f"{VERSION}\n"])
def test_shards_lie_in_the_dataset_or_in_a_folder_of_mask(folder: str) -> None:
    whole = parse_manifest(PackedManifest, json.dumps(PACKED).encode(), "m").model_dump(mode="json")
    assert not {"shards_folder", "rows_fingerprint"} & whole.keys()
    with pytest.raises(ShardCorruptError, match="shards_folder"):
        parse_manifest(PackedManifest, json.dumps(PACKED | {"shards_folder": folder}).encode(), "m")
    named = whole | {"shards_folder": VERSION, "rows_fingerprint": "1" * 32}
    assert parse_manifest(PackedManifest, json.dumps(named).encode(), "m").model_dump(mode="json") == named
