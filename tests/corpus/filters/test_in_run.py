"""Law 1 with filters: every document is written, held out, a duplicate, filtered or quarantined, and counted once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from maskmill.pipeline.corpus.list_inputs import list_inputs
from maskmill.pipeline.corpus.plan import Buckets
from maskmill.pipeline.corpus.plan_map_units import plan_map_units
from maskmill.pipeline.corpus.unit_keys import key_units, list_reading_settings
from maskmill.pipeline.run.describe_counts import document_lines
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import Prepared, prepare
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.verification.verify_output import verify_output
from maskmill.schemas.errors import ConfigError, InputDataError, ShardCorruptError
from maskmill.schemas.run_file import InputSection, RunFile
from tests.hostile.words import read_receipt, write_receipt
from tests.integration.shards import read_manifest, read_shards

FILTERS: dict[str, Any] = {
    "regex": {"drop_lines": {"one": ["^menu$"]}, "drop": {"*": ["(?i)LOREM"]}},
    "length": {"min_words": 4},
}
REASON = "filtered: length: too few words"
RECEIPT = "work/receipts/map/000000.json"


def write_corpus(folder: Path) -> Counter[str]:
    """Two files, and what becomes of their lines."""
    becomes = Counter[str]()
    folder.mkdir()
    for source in ("one", "two"):
        lines = []
        for number in range(200):
            text = f"some words of document {number} of {source}"
            fate = {0: "filtered", 1: "lorem", 2: "quarantined", 3: "duplicates", 4: "changed"}.get(number % 20, "kept")
            text = {
                "filtered": f"too few {number}",
                "lorem": f"{text} lorem",
                "duplicates": "one of many equal texts",
            }.get(fate, text)
            if fate == "changed":
                text = f"menu\n{text}"
            becomes[f"{fate} {source}"] += 1
            lines.append("broken" if fate == "quarantined" else json.dumps({"text": text}))
        (folder / source).mkdir()
        (folder / source / "a.jsonl").write_text("\n".join(lines))
    return becomes


def shard(folder: Path, output: str = "out", filters: dict[str, Any] | None = None, **sections: Any) -> Prepared:
    run = {
        "input": {"paths": [f"{folder}/corpus/{name}/*.jsonl" for name in ("one", "two")], "max_quarantined": 0.5},
        "output": {"url": str(folder / output)},
        "documents": {"held_out": 0.2},
        "engine": {"workers": 1},
    }
    whole = {name: {**run.get(name, {}), **sections.get(name, {})} for name in {*run, *sections}}
    if filters is not None:
        whole["filters"] = filters
    return prepare(RunFile.model_validate(whole), up_to=Part.SHARD)


@pytest.fixture
def becomes(tmp_path: Path) -> Counter[str]:
    return write_corpus(tmp_path / "corpus")


def texts_of(output: Path) -> list[str]:
    folders = (output / "documents", output / "documents-heldout")
    return sorted(row["text"] for folder in folders for rows in read_shards(folder) for row in rows)


def test_every_document_is_counted_once(tmp_path: Path, becomes: Counter[str]) -> None:
    made = shard(tmp_path, filters=FILTERS)
    manifest = read_manifest(tmp_path / "out" / "documents")
    counts = manifest["counts"]
    assert manifest["schema_version"] == "2.4"
    filtered = {source: becomes[f"filtered {source}"] + becomes[f"lorem {source}"] for source in ("one", "two")}
    assert counts["filtered"] == sum(filtered.values()) == 40
    assert {one["source"]: one["filtered"] for one in counts["sources"]} == filtered
    assert counts["filtered_by_reason"] == {
        "length: too few words": sum(number for name, number in becomes.items() if name.startswith("filtered")),
        "regex: matches drop": sum(number for name, number in becomes.items() if name.startswith("lorem")),
    }
    assert counts["read"] == becomes.total()
    parts = ("written", "held_out", "duplicates", "filtered", "quarantined")
    assert counts["read"] == sum(counts[name] for name in parts)
    assert counts["quarantined"] == 20
    assert counts["duplicates"] == 19
    texts = texts_of(tmp_path / "out")
    assert len(texts) == counts["written"] + counts["held_out"] == len(set(texts))
    assert sum(text.startswith("menu\n") for text in texts) == becomes["changed two"]
    assert not [text for text in texts if "lorem" in text or "too few" in text]
    shown = dict(document_lines(made.documents[0]))
    assert shown["  filtered"] == "40"
    assert (shown["    length: too few words"], shown["    regex: matches drop"]) == ("20", "20")
    for folder in ("documents", "documents-heldout"):
        for verified in verify_output(open_store(str(tmp_path / "out" / folder)), progress=lambda *_: None):
            assert not verified.findings


def test_repaired_documents_are_counted_whatever_becomes_of_them(tmp_path: Path) -> None:
    texts = {"one": ["schÃ¶n", "schön und gut", "\ufeff", "schÃ¶n und gut"], "two": ["plain", "dÃ©jÃ vu", "plain"]}
    for source, lines in texts.items():
        (tmp_path / "corpus" / source).mkdir(parents=True)
        written = "\n".join(json.dumps({"text": text}) for text in lines)
        (tmp_path / "corpus" / source / "a.jsonl").write_text(written)
    made = shard(tmp_path, filters={"repair_unicode": {}, "length": {"max_characters": 10}})
    counts = made.documents[0].counts
    assert (counts.repaired, {one.source: one.repaired for one in counts.sources}) == (3, {"one": 2, "two": 1})
    assert counts.filtered_by_reason == {"length: too many characters": 2, "repair_unicode: no text is left": 1}
    assert (counts.read, counts.duplicates) == (7, 1)
    assert texts_of(tmp_path / "out") == ["déjà vu", "plain", "schön"]
    assert dict(document_lines(made.documents[0]))["repaired"] == "3"
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["decisive"]["filters"]["ftfy"] == "6.3.1"


def test_the_same_bytes_for_any_number_of_workers(tmp_path: Path, becomes: Counter[str]) -> None:
    shard(tmp_path, "one", FILTERS)
    shard(tmp_path, "two", FILTERS, engine={"workers": 2})
    names = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert any(name.suffix == ".arrow" for name in names)
    for name in names:
        if name.name not in ("timings.json", "run.json", "driver.lock"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_run_without_filters_says_nothing_of_them(tmp_path: Path, becomes: Counter[str]) -> None:
    made = shard(tmp_path)
    shard(tmp_path, "empty", {})
    for output in ("out", "empty"):
        manifest = (tmp_path / output / "documents" / "manifest.json").read_text()
        assert "filtered" not in manifest
        assert '"2.4"' in manifest
        assert "filters" not in json.loads((tmp_path / output / "run.json").read_text())["decisive"]
    assert "  filtered" not in dict(document_lines(made.documents[0]))
    assert read_manifest(tmp_path / "empty" / "documents") == read_manifest(tmp_path / "out" / "documents")


def test_filters_that_drop_nothing_change_the_fingerprint_alone(tmp_path: Path, becomes: Counter[str]) -> None:
    shard(tmp_path)
    shard(tmp_path, "loose", {"length": {"min_words": 1}})
    plain, loose = (read_manifest(tmp_path / output / "documents") for output in ("out", "loose"))
    assert plain["shards_checksum"] == loose["shards_checksum"]
    assert plain["counts"] == loose["counts"]
    assert plain["run_fingerprint"] != loose["run_fingerprint"]
    with pytest.raises(ConfigError, match=r"filters\.length"):
        shard(tmp_path, filters={"length": {"min_words": 1}})
    with pytest.raises(ConfigError, match=r"filters\.length"):
        shard(tmp_path, "loose")


def test_a_corpus_of_which_filters_leave_nothing_is_refused(tmp_path: Path, becomes: Counter[str]) -> None:
    with pytest.raises(ConfigError, match=r"filters: every document is filtered; .*380 of 400: 380 length: too few w"):
        shard(tmp_path, filters={"length": {"min_words": 99}})


def test_filtered_documents_do_not_count_as_quarantined(tmp_path: Path, becomes: Counter[str]) -> None:
    limit = {"max_quarantined": 0.05}
    shard(tmp_path, filters={"length": {"max_words": 6}}, input=limit)
    with pytest.raises(InputDataError, match="too much of the input is bad"):
        shard(tmp_path, "stricter", {"length": {"max_words": 6}}, input={"max_quarantined": 0.04})


def test_units_read_with_the_same_filters_are_taken(tmp_path: Path, becomes: Counter[str]) -> None:
    keep = {"appendable": True}
    shard(tmp_path, "fresh", FILTERS, documents=keep)
    said: list[str] = []

    def reuse(output: str, filters: dict[str, Any] | None) -> str:
        said.clear()
        reused = {
            "reuse": str(tmp_path / "fresh"),
            "paths": [f"{tmp_path}/corpus/{name}/*.jsonl" for name in ("one", "two")],
        }
        run = {
            "input": {"max_quarantined": 0.5, **reused},
            "output": {"url": str(tmp_path / output)},
            "documents": {"held_out": 0.2, **keep},
            "engine": {"workers": 1},
        } | ({} if filters is None else {"filters": filters})
        prepare(RunFile.model_validate(run), lambda event: said.append(getattr(event, "message", "")), Part.SHARD)
        return " ".join(filter(None, said))

    assert "units, " in reuse("taken", FILTERS) or "unit, " in " ".join(said)
    assert "are taken from" in " ".join(said)
    assert read_manifest(tmp_path / "taken" / "documents") == read_manifest(tmp_path / "fresh" / "documents")
    assert "nothing is taken" in reuse("other", None)
    assert "filters.length" in " ".join(said)
    receipt = read_receipt(tmp_path / "fresh" / RECEIPT)
    counts = dict(receipt["counts"])
    for harm in (
        {"filtered": counts["filtered"] + 1, "read": counts["read"] + 1},
        {"filtered: gopher_quality: too few words": 0},
        {name: count + 10**15 for name, count in counts.items() if name in ("filtered", "read", REASON)},
    ):
        receipt["counts"] = counts | harm
        write_receipt(tmp_path / "fresh" / RECEIPT, receipt)
        with pytest.raises(ShardCorruptError, match=r"(40|41|0,040) filtered document|dropped by filters"):
            reuse(f"harmed {len(str(harm))}", FILTERS)


def test_units_read_before_there_were_later_settings_keep_their_keys(tmp_path: Path, becomes: Counter[str]) -> None:
    inputs = list_inputs([f"{tmp_path}/corpus/*/*.jsonl"], None)
    units = plan_map_units(inputs, 1 << 20, Buckets(1, 0), [InputSection(paths=["a"])], appendable=True)
    settings = list_reading_settings({"input": {}, "documents": {}}, {})
    before = {name: value for name, value in settings.items() if not name.startswith(("filters.", "input.text_join"))}
    assert len(settings) > len(before) + 1
    keys = [[unit.key for unit in key_units(units, [one])] for one in (before, settings)]
    assert keys[0] == keys[1]
    filtered = list_reading_settings({"input": {}, "documents": {}, "filters": {"c4_lines": {}}}, {})
    joined = list_reading_settings({"input": {"text_join": "x"}, "documents": {}}, {})
    for later in (filtered, joined):
        assert keys[0] != [unit.key for unit in key_units(units, [later])]
