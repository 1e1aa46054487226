"""The table of parts: every folder of a run is known by its name, and to one part."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.run.list_parts import list_parts
from maskmill.pipeline.run.parts import (
    KINDS,
    PARTS,
    Part,
    is_of_run,
    model_of_manifest,
    parse_part,
    part_of_section,
    promised_folders,
    scope_of_folder,
)
from maskmill.pipeline.run.stages import STAGES
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.layout import DataSplit, Folder, Kind, packed_folders
from maskmill.schemas.run_file import PackSection, RunFile
from maskmill.schemas.section import NAME_PATTERN, RESERVED_NAME
from maskmill.schemas.version import SCHEMA_VERSION

LENGTHS = st.lists(st.integers(32, 4096), min_size=1, max_size=4, unique=True)


NAMES = st.one_of(
    st.just(""), st.from_regex(f"^{NAME_PATTERN}$", fullmatch=True).filter(lambda name: name != RESERVED_NAME)
)


@given(
    lengths=LENGTHS,
    is_list=st.booleans(),
    held_out=st.sampled_from([0.0, 0.1]),
    keep=st.booleans(),
    tokenizer=NAMES,
    packing=NAMES,
)
def test_what_a_run_promises_is_parsed_back_and_in_order(
    lengths: list[int], is_list: bool, held_out: float, keep: bool, tokenizer: str, packing: str
) -> None:
    pack = {"seq_len": lengths if is_list else lengths[0], "min_segment": 1, "keep_encoded": keep}
    decisive = {"documents": {"held_out": held_out}, "pack": pack}
    splits = ["", "-heldout"] if held_out else [""]
    rows = [f"-{length}" for length in lengths] if is_list else [""]
    of_tokenizer, of_packing = (f"-{name}" if name else "" for name in (tokenizer, packing))
    expected = [f"documents{split}" for split in splits] + [f"tokenizer{of_tokenizer}"]
    needed = expected + [f"packed{split}{of_packing}{row}" for split in splits for row in rows]
    expected += [f"encoded{split}{of_tokenizer}" for split in splits if keep] + needed[len(expected) :]
    names = {Part.TOKENIZER: tokenizer, Part.PACK: packing}
    assert promised_folders(decisive, names) == expected
    assert promised_folders(decisive, names, by_products=False) == needed
    assert promised_folders(decisive, names, up_to=Part.SHARD) == expected[: len(splits)]
    for name in expected:
        folder = Folder.parse(name)
        assert folder is not None
        assert folder.name == name
        assert folder.split.is_held_out == ("-heldout" in name.replace("-heldout_", ""))
        assert is_of_run(name)
        assert scope_of_folder(name) == (KINDS[folder.kind].part, names.get(KINDS[folder.kind].part, ""))
    parsed = [Folder.parse(name) for name in expected]
    if sorted(lengths) == lengths:
        assert parsed == sorted(parsed, key=lambda folder: folder.place_in_order if folder else (9, "", False, 0))


@pytest.mark.parametrize(
    "name",
    [
        "packed-More",
        "packed-a-b",
        "packed-8-a",
        "packed-8-8",
        "packed-heldout-",
        "packed-heldout-heldout",
        "packed-_a",
        "documents-more",
        "training",
        "packed/x",
        "",
    ],
)
def test_a_folder_that_no_part_writes_is_of_no_part(name: str) -> None:
    assert Folder.parse(name) is None
    assert scope_of_folder(name) is None
    assert not is_of_run(name)


def test_every_section_of_a_run_file_decides_one_part_or_none() -> None:
    filters = {"length": {"min_words": 1}}  # where none is on, the section is left out
    run = RunFile.model_validate({"input": {"paths": ["x"]}, "output": {"url": "y"}, "filters": filters})
    decisive = run.fingerprinted()
    sections = [section for entry in PARTS.values() for section in entry.sections]
    assert sorted(sections) == sorted(decisive)
    assert [part_of_section(section) for section in ("input", "tokenizer", "mask", "of a later version")] == [
        Part.SHARD,
        Part.TOKENIZER,
        Part.PACK,
        Part.PACK,
    ]


def test_every_part_has_stages_and_every_kind_a_manifest_that_names_it() -> None:
    assert list(STAGES) == list(PARTS) == list(Part)
    assert list(KINDS) == list(Kind)
    store = open_store("memory://kinds")
    for kind, entry in KINDS.items():
        assert entry.manifest.model_fields["kind"].default == kind
        store.write_bytes("manifest.json", json.dumps({"kind": kind, "schema_version": SCHEMA_VERSION}).encode())
        assert model_of_manifest(store) is entry.manifest


def test_folders_are_listed_in_order_and_with_whether_they_are_finished() -> None:
    store = open_store("memory://listed")
    for path in (
        "packed-64/manifest.json",
        "packed-8/x.arrow",
        "encoded/manifest.json",
        "mine/manifest.json",
        "packed",
    ):
        store.write_bytes(path, b"")
    assert list_parts(store) == {"encoded": True, "packed-8": False, "packed-64": True}


def test_a_folder_with_a_name_is_of_the_run_whose_record_knows_the_name() -> None:
    store = open_store("memory://named")
    for path in (
        "packed-old/manifest.json",
        "packed-short/shard-00000.arrow",
        "tokenizer-old/x",
        "packed/manifest.json",
    ):
        store.write_bytes(path, b"")
    assert list_parts(store) == {"packed": True, "packed-old": True}  # parts that were copied out of a run
    decisive = {"documents": {"held_out": 0.0}, "tokenizer": {}, "pack": {}}
    record = {
        "fingerprints": {},
        "decisive": decisive,
        "packings": {"short": {"decisive": {"pack": {}}, "versions": {}}},
    }
    store.write_bytes("run.json", json.dumps(record).encode())
    assert list_parts(store) == {"packed": True, "packed-short": False}  # and what somebody copied into it


def test_a_part_is_asked_for_by_name_or_refused_by_argument() -> None:
    assert [parse_part(name, "up_to") for name in ("shard", Part.PACK)] == [Part.SHARD, Part.PACK]
    for wrong in ("rows", 1, True, None):
        with pytest.raises(ConfigError, match="up_to: unknown part of a run; expected shard, tokenizer, pack"):
            parse_part(wrong, "up_to")


@given(lengths=LENGTHS)
def test_the_splits_of_rows_differ_in_their_folders_alone(lengths: list[int]) -> None:
    pack = PackSection(seq_len=tuple(lengths), min_segment=1)
    train, held_out = (packed_folders(pack, split) for split in DataSplit)
    assert list(train) == list(held_out) == lengths
    for length in lengths:
        side = Folder(Kind.PACKED, DataSplit.TRAIN, seq_len=length).held_out_side
        assert side is not None
        assert (train[length], held_out[length]) == (f"packed-{length}", side.name)
