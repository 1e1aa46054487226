"""Every stage is declared once, and what its receipts say is written and read as it always was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from maskmill.pipeline.engine.receipts import Receipts, _seal, receipt_path, write_receipt
from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitDescription, UnitOutcome
from maskmill.pipeline.run.stages import STAGE_OF_NAME
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.counts import EncodingCounts, PackingCounts
from maskmill.schemas.errors import ShardCorruptError

LISTS = {"buckets": [0, 3], "rows": [1, 2], "offsets": [8, 72], "lengths": [64, 64]}
BLOCKS = [[8, 72], [64, 64], [1, 2**64 - 1]]
TOKENIZER = {
    "checksums": {"tokenizer.json": "a"},
    "vocab_size": 9,
    "sources": [],
    "strips_accents": True,
    "pieces_never_made": 0,
    "no_vocab_txt": None,
    "max_word_characters": 100,
}
KEY = {"tokenizer_sha256": "a", "special_in_text": "text", "tokenizers_version": "1", "nanotoken_version": "1"} | {
    "hostile_text_version": 2
}
RECORDS = {"rows": [1, 2], "offsets": [8, 72], "lengths": [64, 64], "checksums": [1, 2**64 - 1]}
CLUSTER = {"place": 2**64 - 1, "number": 1, "size": 2, "members": [3]}
SOURCES = {"counts": {"a": {"read": 2}}, "is_one": False}
DETAILS: dict[str, dict[str, Any]] = {
    "map": {
        **LISTS,
        "checksums": [1, 2**64 - 1],
        "text_bytes": [9, 9],
        "first_empty": "",
        "first_misnamed": "a",
        "sources": SOURCES,
    },
    "sort": {"sources": SOURCES},
    "sign": RECORDS,
    "match": RECORDS,
    "join": RECORDS,
    "locate": {**RECORDS, "largest": [CLUSTER]},
    "keep": {"sources": SOURCES, "excerpts": [{"number": 1, "doc_id": "a", "source": "b", "text": "c"}]},
    "count": {"sources": [["a", 1, 2, 3, 4, 5]], "one_source": False, "checksum": "c", "blocks": BLOCKS},
    "gather": {"checksum": "c", "blocks": BLOCKS},
    "merge": {"checksum": "c"},
    "collect": {"checksum": "c"},
    "train": TOKENIZER,
    "bring": TOKENIZER,
    "prove": {"proof": {"key": KEY, "num_texts": 1, "num_bytes": 2, "difference": None}},
    "pack": {
        "datasets": {"32": {"counts": dict.fromkeys([*PackingCounts.model_fields, "text_bytes"], 1), "num_shards": 1}},
        "encoding": dict.fromkeys([*EncodingCounts.model_fields, "text_bytes"], 1),
        "sample": {"documents": 1, "bytes": 1, "is_equal": True},
        "fell_back": None,
        "sentences_unmatched": 0,
    },
    "mask": {},
}
"""Of each stage what version 0.2 wrote, keys in their order; it had no `mask`, no counts by source and nothing for near
duplicates."""
COUNTS = {"words": 1, "written": 2, "duplicates": 3, "near_duplicates": 5, "text_bytes": 4}


class OfAnyStage(UnitDescription):
    """A unit of any stage."""


def test_stages_have_their_names_and_words() -> None:
    assert list(STAGE_OF_NAME) == list(DETAILS)
    for stage in STAGE_OF_NAME.values():
        assert stage.label
        assert stage.work
        assert stage.function.__module__.startswith("maskmill.pipeline.")


@pytest.mark.parametrize("stage", STAGE_OF_NAME.values(), ids=STAGE_OF_NAME)
def test_details_are_written_and_read_as_they_were(stage: Stage[Any, Any, Any]) -> None:
    store = open_store(f"memory://stages-{stage.name}")
    unit = OfAnyStage(stage=stage.name, unit=0)
    details = stage.details.model_validate_json(json.dumps(DETAILS[stage.name]))
    write_receipt(store, unit, UnitOutcome([], COUNTS, details))
    body = {"stage": stage.name, "unit": 0, "description": unit.digest(), "shards": [], "counts": COUNTS}
    expected = json.dumps({**body, "details": DETAILS[stage.name]}, separators=(",", ":")).encode()
    assert store.read_bytes(receipt_path(stage.name, 0)) == _seal(expected)
    (receipt,) = Receipts(store, [unit], stage.details)
    assert receipt.details == details


@pytest.mark.parametrize(
    ("stage", "change", "place"),
    [
        ("map", {"buckets": [0]}, "details: its lists differ in length"),
        ("map", {"checksums": [1, 2**64]}, "details.checksums.1: Input should be less than"),
        ("map", {"rows": [1, "2"]}, "details.rows.1: Input should be a valid integer"),
        ("sort", {"more": 1}, "details.more: Extra inputs are not permitted"),
        ("join", {"rows": [1]}, "details: its lists differ in length"),
        ("locate", {"largest": [{**CLUSTER, "members": [1] * 6}]}, "details.largest.0.members: List should have at"),
        ("count", {"sources": [["a", 1]]}, "details.sources.0.2: Field required"),
        ("gather", {"blocks": [[1], [], [1]]}, "details: its lists of blocks are not of the same"),
        ("merge", {"checksum": None}, "details.checksum: Input should be a valid string"),
        ("train", {"vocab_size": -1}, "details.vocab_size: Input should be greater than or equal to 0"),
        ("train", {"checksums": {}}, "details: checksums lack tokenizer.json"),
        ("pack", {"datasets": {"32": {"counts": {}}}}, "details.datasets.32.counts: it lacks cuts, "),
        ("pack", {"encoding": {"tokens": 1}}, "details.encoding: it lacks documents, "),
    ],
)
def test_details_of_another_form_are_refused_by_their_place(stage: str, change: dict[str, Any], place: str) -> None:
    store = open_store("memory://stages-refused")
    unit = OfAnyStage(stage=stage, unit=0)
    details = {**DETAILS[stage], **change}
    body = {"stage": stage, "unit": 0, "description": unit.digest(), "counts": COUNTS, "details": details}
    store.write_bytes(receipt_path(stage, 0), _seal(json.dumps(body).encode()))
    with pytest.raises(ShardCorruptError) as caught:
        list(Receipts(store, [unit], STAGE_OF_NAME[stage].details))
    assert str(caught.value.found).startswith(place)


@pytest.mark.parametrize("stage", [stage for stage in STAGE_OF_NAME.values() if stage.details.counted])
@pytest.mark.parametrize("missing", COUNTS)
def test_a_count_that_is_missing_is_named(stage: Stage[Any, Any, Any], missing: str) -> None:
    store = open_store("memory://stages-counted")
    unit = OfAnyStage(stage=stage.name, unit=0)
    counts = {name: count for name, count in COUNTS.items() if name != missing}
    body = {"stage": stage.name, "unit": 0, "description": unit.digest(), "counts": counts}
    store.write_bytes(receipt_path(stage.name, 0), _seal(json.dumps({**body, "details": DETAILS[stage.name]}).encode()))
    receipts = Receipts(store, [unit], stage.details)
    if missing not in stage.details.counted:
        assert len(list(receipts)) == 1
        return
    with pytest.raises(ShardCorruptError, match=f"counts lack {missing}"):
        list(receipts)
