"""Counts by source are those of the documents, however units divide them, and of a bounded number of sources."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.corpus import source_tally
from maskmill.pipeline.corpus.source_tally import ALL_SOURCES, SourceTally
from maskmill.pipeline.run.describe_counts import source_rows
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import prepare
from maskmill.schemas.counts import DocumentCounts
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.source_counts import SourceCounts
from tests.integration.shards import read_shards

sources = st.sampled_from(["a", "b", "ü: c", "", "filtered: d", "e"])
texts = st.text(min_size=1, max_size=40)
units = st.lists(st.lists(st.tuples(sources, texts), max_size=6), max_size=5)


def tally_of(documents: list[tuple[str, str]]) -> SourceTally:
    tally = SourceTally()
    tally.add([source for source, _ in documents], "read")
    columns = {"source": [source for source, _ in documents], "text": [text for _, text in documents]}
    schema = pa.schema([("source", pa.string()), ("text", pa.string())])
    tally.add_texts(pa.Table.from_pydict(columns, schema), "written")
    return tally


def summarise(tally: SourceTally) -> list[SourceCounts]:
    return [SourceCounts.model_validate(one) for one in tally.summarise()]


@given(units)
def test_units_add_up_to_what_is_counted_by_hand(units: list[list[tuple[str, str]]]) -> None:
    total = SourceTally()
    for unit in units:
        total.merge(tally_of(unit).tallied())
    everything = [document for unit in units for document in unit]
    expected = []
    for source in sorted({source for source, _ in everything}):
        own = [text for name, text in everything if name == source]
        sizes = [len(text.encode()) for text in own]
        lengths = [sum(2**power <= size < 2 ** (power + 1) for size in sizes) for power in range(9)]
        while lengths and not lengths[-1]:
            lengths.pop()
        expected.append((source, len(own), len(own), sum(sizes), sum(map(len, own)), tuple(lengths)))
    found = [
        (one.source, one.read, one.written, one.text_bytes, one.characters, one.lengths) for one in summarise(total)
    ]
    assert found == expected


@given(units)
def test_too_many_sources_are_counted_together_whatever_the_units(units: list[list[tuple[str, str]]]) -> None:
    everything = [document for unit in units for document in unit]
    limit, source_tally.MAX_SOURCES = source_tally.MAX_SOURCES, 3
    try:
        total = SourceTally()
        for unit in units:
            total.merge(tally_of(unit).tallied())
        found = summarise(total)
        assert found == summarise(tally_of(everything))
    finally:
        source_tally.MAX_SOURCES = limit
    if len({source for source, _ in everything}) > 3:
        assert [one.source for one in found] == [ALL_SOURCES]
    assert sum(one.read for one in found) == len(everything)
    assert sum(one.text_bytes for one in found) == sum(len(text.encode()) for _, text in everything)


def test_sources_of_long_names_are_told_apart_by_their_beginnings() -> None:
    tally = SourceTally()
    tally.add(["s" * 201, "s" * 200, "s" * 199], "read")
    assert {name: dict(own) for name, own in tally.tallied().counts.items()} == {
        "s" * 199: {"read": 1},
        "s" * 200: {"read": 2},
    }


LINES = {
    "de": ["Der Ausschuss hat beschlossen, dass der Bericht veröffentlicht wird."] * 3 + ["Zu kurz"],
    "en": [
        "The committee has agreed that the report should be published.",
        "Too short",
        "Not a German text of many words",
    ],
    "ja": [f"これは日本語の文章です。番号は{number}です。" for number in range(40)],
}
DAMAGE = ['{"text": 3}', "{", '{"text": ""}']


def shard(folder: Path, output: str, num_files: int, **sections: Any) -> DocumentCounts:
    """Shard `LINES`, three of which are damaged, as a number of files."""
    lines = [json.dumps({"text": text, "from": source}) for source, own in LINES.items() for text in own]
    lines += DAMAGE
    corpus = folder / f"corpus-{num_files}"
    corpus.mkdir(exist_ok=True)
    for number in range(num_files):
        (corpus / f"{number}.jsonl").write_text("\n".join(lines[number::num_files]) + "\n")
    run = {
        "input": {
            "paths": [str(corpus / "*.jsonl")],
            "source_field": "from",
            "name": "damaged",
            "max_quarantined": 0.5,
        },
        "documents": {"held_out": 0.2},
        "output": {"url": str(folder / output)},
        "filters": {"language": {"keep": ["de", "en", "ja"]}, "length": {"min_characters": 12}},
        **sections,
    }
    return prepare(RunFile.model_validate(run), up_to=Part.SHARD).documents[0].counts


@pytest.mark.parametrize("near_duplicates", [False, True])
def test_the_manifest_says_what_became_of_each_source(tmp_path: Path, near_duplicates: bool) -> None:
    documents = {"held_out": 0.2} | ({"near_duplicates": {}} if near_duplicates else {})
    counts = shard(tmp_path, "out", 1, documents=documents, engine={"workers": 1})
    found = {one.source: one for one in counts.sources}
    assert list(found) == ["damaged", "de", "en", "ja"]
    assert (found["damaged"].read, found["damaged"].quarantined, found["damaged"].lengths) == (3, 3, ())
    assert (found["de"].read, found["de"].duplicates, found["de"].filtered, found["de"].kept) == (4, 2, 1, 1)
    assert found["de"].filtered_by_reason == {"length: too few characters": 1}
    assert found["ja"].languages == {"ja": 40}
    rows = [
        row
        for folder in ("documents", "documents-heldout")
        for shard_rows in read_shards(tmp_path / "out" / folder)
        for row in shard_rows
    ]
    assert Counter(row["source"] for row in rows) == {name: one.kept for name, one in found.items() if one.kept}
    for name, one in found.items():
        own = [row["text"] for row in rows if row["source"] == name]
        assert one.text_bytes == sum(len(text.encode()) for text in own)
        assert one.characters == sum(map(len, own))
    shown = {row["source"]: row for row in source_rows(counts)}
    assert shown["ja"]["read"] == "40"
    assert shown["ja"]["languages"] == "ja 40"


def test_one_file_or_many_and_any_number_of_workers_count_the_same(tmp_path: Path) -> None:
    alone = shard(tmp_path, "one", 1, engine={"workers": 1})
    assert shard(tmp_path, "many", 7, engine={"workers": 2}) == alone


def test_sources_that_do_not_add_up_are_refused() -> None:
    plain = {"written": 1, "held_out": 0, "duplicates": 0, "quarantined": 0}
    one = {"source": "a", "read": 1, **plain, "text_bytes": 5, "characters": 4, "lengths": [0, 0, 1]}
    total = {"read": 1, **plain, "quarantined_by_reason": {}}
    assert DocumentCounts.model_validate(total | {"sources": [one]}).sources[0].lengths == (0, 0, 1)
    for wrong in (
        {"read": 2},
        {"lengths": [0, 0, 2]},
        {"characters": 6},
        {"characters": 1},
        {"repaired": 2},
        {"languages": {"de": 2}},
        {"filtered_by_reason": {"length: too few words": 1}},
        {"read": 2, "filtered": 1, "filtered_by_reason": {"length: too few words": 1}},
        {"written": 0, "held_out": 1},
    ):
        with pytest.raises(ValueError, match=r"add up|accounted|lengths|characters|looked at"):
            DocumentCounts.model_validate(total | {"sources": [one | wrong]})
    empty = {name: 0 for name in one if name != "source"} | {"source": "a", "lengths": []}
    with pytest.raises(ValueError, match="counted twice"):
        DocumentCounts.model_validate(total | {"sources": [one, empty]})
