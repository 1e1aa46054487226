"""Manifests refuse what does not add up, what is damaged and what a newer maskmill wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.storage.datasets import fingerprint_manifest, read_manifest, write_manifest
from pipeline.storage.store import open_store
from schemas.counts import DocumentCounts, PackingCounts
from schemas.errors import ConfigError, ShardCorruptError
from schemas.manifest import DocumentsManifest, PackedManifest, TokenizerManifest, parse_manifest, text_fill_ppm
from schemas.version import SCHEMA_VERSION, check_schema_version

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
    with pytest.raises(ShardCorruptError, match="does not hold together") as refused:
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


def test_what_a_newer_minor_version_changed_is_no_damage() -> None:
    with pytest.raises(ConfigError, match="written by a newer maskmill"):
        parse_documents(copy_of(DOCUMENTS, schema_version="2.9", counts__read=99))


@pytest.mark.parametrize(
    "version", ["", "1", "1.", ".1", "a.b", "1.0.0", "²x.0", "².0", "-1.0", " 1.0", "1.0\n", "9" * 5000 + ".0"]
)
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match="the schema version is not readable"):
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
    with pytest.raises(ShardCorruptError, match="does not hold together"):
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
