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
from maskmill.schemas.errors import ShardCorruptError

LISTS = {"buckets": [0, 3], "rows": [1, 2], "text_bytes": [9, 9], "offsets": [8, 72], "lengths": [64, 64]}
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
DETAILS: dict[str, dict[str, Any]] = {
    "map": {**LISTS, "checksums": [1, 2**64 - 1], "first_empty": "", "first_misnamed": "a"},
    "sort": {},
    "count": {"sources": [["a", 1, 2, 3, 4, 5]], "one_source": False, "checksum": "c", "blocks": BLOCKS},
    "gather": {"checksum": "c", "blocks": BLOCKS},
    "merge": {"checksum": "c"},
    "collect": {"checksum": "c"},
    "train": TOKENIZER,
    "bring": TOKENIZER,
    "prove": {"proof": {"key": KEY, "num_texts": 1, "num_bytes": 2, "difference": None}},
    "pack": {
        "datasets": {"32": {"counts": {"rows": 1}, "num_shards": 1}},
        "encoding": {"documents": 1},
        "sample": {"documents": 1, "bytes": 1, "is_equal": True},
        "fell_back": None,
        "sentences_unmatched": 0,
    },
}
"""Of each stage what version 0.2 wrote, keys in their order."""


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
    write_receipt(store, unit, UnitOutcome([], {"n": 1}, details))
    body = {"stage": stage.name, "unit": 0, "description": unit.digest(), "shards": [], "counts": {"n": 1}}
    expected = json.dumps({**body, "details": DETAILS[stage.name]}, separators=(",", ":")).encode()
    assert store.read_bytes(receipt_path(stage.name, 0)) == _seal(expected)
    (receipt,) = Receipts(store, [unit], stage.details)
    assert receipt.details == details


@pytest.mark.parametrize(
    ("stage", "change", "place"),
    [
        ("map", {"buckets": [0]}, "details: Value error, its lists are not of the same record batches"),
        ("map", {"checksums": [1, 2**64]}, "details.checksums.1: Input should be less than"),
        ("map", {"rows": [1, "2"]}, "details.rows.1: Input should be a valid integer"),
        ("sort", {"more": 1}, "details.more: Extra inputs are not permitted"),
        ("count", {"sources": [["a", 1]]}, "details.sources.0.2: Field required"),
        ("gather", {"blocks": [[1], [], [1]]}, "details: Value error, its lists of blocks are not of the same"),
        ("merge", {"checksum": None}, "details.checksum: Input should be a valid string"),
        ("train", {"vocab_size": -1}, "details.vocab_size: Input should be greater than or equal to 0"),
        ("pack", {"datasets": {"32": {"counts": {}}}}, "details.datasets.32.num_shards: Field required"),
    ],
)
def test_details_of_another_form_are_refused_by_their_place(stage: str, change: dict[str, Any], place: str) -> None:
    store = open_store("memory://stages-refused")
    unit = OfAnyStage(stage=stage, unit=0)
    body = {"stage": stage, "unit": 0, "description": unit.digest(), "details": {**DETAILS[stage], **change}}
    store.write_bytes(receipt_path(stage, 0), _seal(json.dumps(body).encode()))
    with pytest.raises(ShardCorruptError) as caught:
        list(Receipts(store, [unit], STAGE_OF_NAME[stage].details))
    assert str(caught.value.found).startswith(place)
