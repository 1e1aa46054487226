"""Several tables of input: each read by its own keys, and every document counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from maskmill.pipeline.corpus import plan_map_units
from maskmill.pipeline.run.prepare import Prepared, prepare
from maskmill.pipeline.verification.verify_output import verify_output
from tests.integration.shards import read_shards

NOTES = [f"a note of number {number}" for number in range(300)]
PAGES = [f"a page of some more words, number {number}" for number in range(200)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Notes as JSON lines, and pages as Parquet with other names of columns; the last ten pages are notes too."""
    for name in ("notes", "pages"):
        (tmp_path / name).mkdir()
    lines = [json.dumps({"text": text, "id": f"n{number}"}) for number, text in enumerate(NOTES)]
    (tmp_path / "notes" / "z.jsonl").write_text("\n".join(lines))
    texts = [*PAGES, *NOTES[:10]]
    pages = pa.table({"content": texts, "url": [f"p{number}" for number in range(len(texts))]})
    pq.write_table(pages, tmp_path / "pages" / "a.parquet")
    return tmp_path


def shard(folder: Path, output: str, *tables: dict[str, Any], **sections: Any) -> Prepared:
    return prepare(
        {
            "input": list(tables),
            "output": {"url": str(folder / output)},
            "documents": {"held_out": 0.0} | sections.pop("documents", {}),
            "engine": {"workers": 1},
            **sections,
        },
        up_to="shard",
    )


def tables_of(folder: Path, **of_pages: Any) -> list[dict[str, Any]]:
    notes = {"paths": [f"{folder}/notes/*.jsonl"], "id_field": "id"}
    pages = {"paths": [f"{folder}/pages/*.parquet"], "id_field": "url", "text_field": "content", **of_pages}
    return [notes, pages]


def documents_of(folder: Path) -> dict[str, tuple[str, str]]:
    rows = [row for shard in read_shards(folder / "documents") for row in shard]
    return {row["text"]: (row["doc_id"], row["source"]) for row in rows}


def test_each_table_is_read_by_its_own_keys_and_the_earlier_one_keeps_what_both_have(corpus: Path) -> None:
    made = shard(corpus, "out", *tables_of(corpus))
    found = documents_of(corpus / "out")
    assert found == {text: (f"n{number}", "notes") for number, text in enumerate(NOTES)} | {
        text: (f"p{number}", "pages") for number, text in enumerate(PAGES)
    }
    counts = made.documents[0].counts
    assert (counts.read, counts.written, counts.duplicates) == (510, 500, 10)
    notes, pages = tables_of(corpus)
    shard(corpus, "turned", pages, notes)  # though notes/ comes before pages/ by name
    assert documents_of(corpus / "turned")[NOTES[0]] == ("p200", "pages")
    verify_output(str(corpus / "out"), lambda _: None)


def test_a_share_keeps_the_documents_with_the_smallest_hashes(corpus: Path) -> None:
    kept = {}
    for share in (0.25, 0.5):
        made = shard(corpus, f"share {share}", *tables_of(corpus, share=share), documents={"seed": 7})
        counts = made.documents[0].counts
        found = documents_of(corpus / f"share {share}")
        key = xxhash.xxh3_64_intdigest(b"maskmill share 7")
        kept[share] = {
            text for text in [*PAGES, *NOTES[:10]] if xxhash.xxh3_64_intdigest(text.encode(), key) < share * 2**64
        }
        assert set(found) == kept[share] | set(NOTES)
        left_out = len(PAGES) + 10 - len(kept[share])
        assert counts.filtered_by_reason == {"input: not in its share": left_out}
        assert {one.source: one.filtered for one in counts.sources} == {"notes": 0, "pages": left_out}
        assert counts.read == 510 == counts.written + counts.duplicates + counts.filtered
    assert kept[0.25] < kept[0.5]
    assert 0.35 < len(kept[0.5]) / 210 < 0.65


def test_a_table_has_filters_of_its_own(corpus: Path) -> None:
    own = {"length": {"min_words": 8}}
    tables = tables_of(corpus, filters=own)
    counts = shard(corpus, "out", *tables, filters={"length": {"min_words": 6}}).documents[0].counts
    assert {one.source: one.filtered for one in counts.sources} == {"notes": 300, "pages": 10}
    assert counts.filtered_by_reason == {"length: too few words": 310}


def test_keys_that_match_nothing_are_named_with_their_table(corpus: Path) -> None:
    warned: list[str] = []
    notes, pages = tables_of(corpus)
    run = {"input": [notes | {"source_field": "kind"}, pages], "output": {"url": str(corpus / "other")}}
    prepare(run, up_to="shard", on_event=lambda event: warned.append(getattr(event, "message", "")))
    (said,) = [message for message in warned if "source_field" in message]
    assert "input.source_field = 'kind': 0 of 300 documents have this key" in said
    run = {"input": [pages, notes | {"source_field": "kind"}], "output": {"url": str(corpus / "third")}}
    prepare(run, up_to="shard", on_event=lambda event: warned.append(getattr(event, "message", "")))
    assert any("input.2.source_field = 'kind': 0 of 300" in message for message in warned)


def test_an_added_table_leaves_the_units_of_the_others_as_they_are(corpus: Path) -> None:
    notes, pages = tables_of(corpus, share=0.5)
    kept = {"documents": {"appendable": True}}
    (corpus / "more").mkdir()
    (corpus / "more" / "a.txt").write_text("a text of its own")
    more = {"paths": [f"{corpus}/more/*.txt"]}
    shard(corpus, "first", notes, pages, **kept)
    whole = shard(corpus, "whole", notes, pages, more, **kept)
    noted: list[str] = []
    run = {
        "input": [notes | {"reuse": str(corpus / "first")}, pages, more],
        "output": {"url": str(corpus / "again")},
        "documents": {"held_out": 0.0, "appendable": True},
    }
    again = prepare(run, up_to="shard", on_event=lambda event: noted.append(getattr(event, "message", "")))
    assert any("2 of 3 units" in message for message in noted), noted
    assert again.documents[0].shards_checksum == whole.documents[0].shards_checksum
    assert Counter(documents_of(corpus / "again")) == Counter(documents_of(corpus / "whole"))


def test_a_filter_of_one_table_may_need_a_library(corpus: Path) -> None:
    pytest.importorskip("ftfy")
    tables = tables_of(corpus, filters={"repair_unicode": {}, "length": {"min_words": 1}})
    assert shard(corpus, "out", *tables).documents[0].counts.written == 500


def test_documents_read_in_parts_are_listed_by_their_lines_in_the_whole_file(corpus: Path) -> None:
    evaluation = "a text of thirteen words or more that some of the documents hold in the middle of theirs"
    lines = [f"line {number} " * 40 + (evaluation if number % 300 == 7 else "") for number in range(1000)]
    (corpus / "long.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    (corpus / "evaluation.txt").write_text(evaluation)
    listed = []
    for name, range_bytes in (("whole", 1 << 28), ("parts", 40_000)):
        with patch.object(plan_map_units, "RANGE_BYTES", range_bytes):
            shard(
                corpus,
                name,
                {"paths": [f"{corpus}/long.jsonl"]},
                filters={"decontamination": {"paths": [f"{corpus}/evaluation.txt"]}},
            )
        listed.append(
            pq.read_table(corpus / name / "quarantine" / "contamination.parquet").column("doc_id").to_pylist()
        )
    assert listed == [[f"long.jsonl#{line}" for line in (8, 308, 608, 908)]] * 2


def test_ids_full_of_colons_fit_into_receipts(corpus: Path) -> None:
    """A receipt with more than 131,072 names is refused; colons inside of its texts are none."""
    evaluation = "a text of thirteen words or more that some of the documents hold in the middle of theirs"
    rows = [{"id": ":" * 400 + str(number), "text": f"{evaluation} {number}"} for number in range(400)]
    (corpus / "colons.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (corpus / "evaluation.txt").write_text(evaluation)
    own = {"paths": [f"{corpus}/colons.jsonl"], "id_field": "id"}
    compared = {"decontamination": {"paths": [f"{corpus}/evaluation.txt"]}}
    made = shard(corpus, "out", own, tables_of(corpus)[0], filters=compared)
    assert made.documents[0].counts.contaminated == 400
