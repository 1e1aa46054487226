"""A sealed receipt that lacks a key of its stage, or has it of another type, is refused with its path."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from maskmill.pipeline.engine.receipts import MAX_RECEIPT_NAMES, Receipts
from maskmill.pipeline.engine.units import UnitDescription
from maskmill.pipeline.run.prepare import prepare
from maskmill.pipeline.run.stages import STAGE_OF_NAME
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.bounded_json import MAX_BRACKETS
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.events import RunEvent, StageDone
from maskmill.schemas.layout import RECEIPTS
from maskmill.schemas.receipt import Receipt
from tests.hostile.values import Place, at_place, list_places
from tests.hostile.words import read_receipt, write_receipt

STAGES = ("map", "sort", "count", "merge", "collect", "train", "pack")
"""Those of a small run."""
RUN = """
[input]
paths = ["{folder}/corpus.txt"]
text_document = "line"
[output]
url = "{folder}/out"
[tokenizer]
vocab_size = 60
[pack]
seq_len = 32
min_segment = 4
[engine]
kind = "local"
workers = 1
"""
OTHERS: list[Any] = [None, True, 1.5, "text", [], {}, [None], {"x": None}, 7]
NULLABLE = {"fell_back", "no_vocab_txt", "sample"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """The folder of a run, and a receipt of each stage."""
    folder = tmp_path_factory.mktemp("run")
    receipts: dict[str, dict[str, Any]] = {}
    draw = random.Random(3)
    (folder / "corpus.txt").write_text("\n".join("".join(draw.choices("abc d", k=60)) for _ in range(12)))
    (folder / "run.toml").write_text(RUN.format(folder=folder))

    def listen(event: RunEvent) -> None:
        if isinstance(event, StageDone):
            path = folder / "out" / RECEIPTS / event.stage / "000000.json"
            receipts[event.stage] = read_receipt(path)
            shutil.copytree(folder / "out", folder / f"behind-{event.stage}")

    prepare(folder / "run.toml", listen)
    return folder, receipts


def read_as(stage: str, receipt: dict[str, Any], folder: Path) -> None:
    """Seal a receipt and read it as the next stage does."""
    path = folder / RECEIPTS / stage / "000000.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_receipt(path, receipt)

    class Unit(UnitDescription):
        def digest(self) -> str:
            return str(receipt["description"])

    list(Receipts(open_store(str(folder)), [Unit(stage=stage, unit=0)], STAGE_OF_NAME[stage].details))


def list_declared(stage: str, receipt: dict[str, Any]) -> list[Place]:
    """Places of what the next stages take: all details, and counts by their names."""
    places = [place for place in list_places(receipt) if place[0] == "details" and len(place) > 1]
    return places + [("counts", name) for name in sorted(STAGE_OF_NAME[stage].details.counted)]


@pytest.mark.parametrize("stage", STAGES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_receipt_that_lacks_or_retypes_a_key_is_refused(
    run: tuple[Path, dict[str, dict[str, Any]]],
    tmp_path_factory: pytest.TempPathFactory,
    stage: str,
    data: st.DataObject,
) -> None:
    receipt = copy.deepcopy(run[1][stage])
    place = data.draw(st.sampled_from(list_declared(stage, receipt)))
    parent = at_place(receipt, place[:-1])
    old = parent[place[-1]]
    new = data.draw(st.sampled_from(["drop", *(one for one in OTHERS if type(one) is not type(old))]))
    if may_be(stage, place, new):
        return
    if new == "drop":
        del parent[place[-1]]
        if isinstance(parent, list) and not is_tuple(stage, place):
            return
    else:
        parent[place[-1]] = new
    folder = tmp_path_factory.getbasetemp() / "sealed"
    with pytest.raises(ShardCorruptError, match=rf"{RECEIPTS}/{stage}/000000.json.*details|counts"):
        read_as(stage, receipt, folder)


def may_be(stage: str, place: Place, new: object) -> bool:
    """Whether a receipt may say so: a later version says more of a source, and numbers of counts are converted."""
    of_source = stage == "train" and place[:2] == ("details", "sources") and len(place) > 3
    of_source |= new == "drop" and place[:3] == ("details", "sources", "counts") and len(place) > 3  # found by its sums
    if of_source or (place[0] == "counts" and new is True):
        return True
    if new == "drop":  # whoever asks for the dataset of a pack unit misses it, and of a tokenizer's files the first
        of_file = place[:2] == ("details", "checksums") and len(place) == 3 and place[2] != "tokenizer.json"
        return of_file or (stage == "pack" and place == ("details", "datasets", "32"))
    return place[-1] in NULLABLE and (new is None or isinstance(new, str))


def is_tuple(stage: str, place: Place) -> bool:
    """Whether a list has a fixed length."""
    in_source = stage == "count" and len(place) == 4 and place[1] == "sources"
    in_blocks = "blocks" in place and len(place) == 3
    return in_source or in_blocks


@pytest.mark.parametrize("stage", STAGES)
def test_many_invalid_items_anywhere_in_a_receipt_are_few_errors(
    run: tuple[Path, dict[str, dict[str, Any]]], stage: str
) -> None:
    """pydantic keeps 900 bytes for an error: a list of three million invalid items took 2.8 GB."""
    kind: Any = Receipt[STAGE_OF_NAME[stage].details]  # type: ignore[misc]  # which details they are is known only here
    whole = run[1][stage] | {"shards": run[1]["sort"]["shards"]}
    for place in list_places(whole):
        receipt = copy.deepcopy(whole)
        parent = at_place(receipt, place)
        if isinstance(parent, list):
            parent[:] = [None] * 1000
        elif isinstance(parent, dict):
            parent |= {f"{number}:": None for number in range(1000)}
        else:
            continue
        errors = list_errors(kind, receipt)
        # Of a name that a receipt does not have there is an error each, and few names.
        has_fields = isinstance(parent, dict) and errors and errors[-1]["type"] == "extra_forbidden"
        assert len(errors) <= (1000 if has_fields else 12), place


def list_errors(kind: Any, receipt: dict[str, Any]) -> Sequence[Any]:
    try:
        kind.model_validate_json(json.dumps(receipt))
    except ValidationError as error:
        return error.errors()
    return []


def test_more_names_or_objects_than_any_receipt_has_are_refused_before_they_are_parsed(
    run: tuple[Path, dict[str, dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Receipt, "model_validate_json", None)
    for hostile in ({f"{number:x}": 0 for number in range(MAX_RECEIPT_NAMES)}, {"x": [[]] * MAX_BRACKETS}):
        with pytest.raises(ShardCorruptError, match=rf"{RECEIPTS}/sort/000000.json: .* more .* than any"):
            read_as("sort", run[1]["sort"] | hostile, tmp_path)


@pytest.mark.parametrize("stage", ["map", "count", "merge", "train", "pack"])
def test_the_command_names_the_receipt(run: tuple[Path, dict[str, dict[str, Any]]], tmp_path: Path, stage: str) -> None:
    folder, receipts = run
    for name in ("corpus.txt", "run.toml"):
        (tmp_path / name).write_text((folder / name).read_text().replace(f'url = "{folder}', f'url = "{tmp_path}'))
    shutil.copytree(folder / f"behind-{stage}", tmp_path / "out")
    receipt = copy.deepcopy(receipts[stage])
    receipt["details"].pop(next(iter(receipt["details"])))
    write_receipt(tmp_path / "out" / RECEIPTS / stage / "000000.json", receipt)
    with pytest.raises(ShardCorruptError, match=f"{RECEIPTS}/{stage}/000000.json.*details"):
        prepare(tmp_path / "run.toml")
