"""Near duplicates in whole runs: what stays is what comparing all pairs leaves, and every document is counted."""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.corpus.near_duplicates import locate_stage, plan, records
from maskmill.pipeline.corpus.near_duplicates.locate_stage import SHOWN_MEMBERS
from maskmill.pipeline.run.describe_counts import document_lines
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import Prepared, prepare
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.verification.verify_output import verify_output
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.near_duplicates import NearDuplicatesSection
from maskmill.schemas.run_file import RunFile
from tests.corpus.near_duplicates.plain_minhash import join_texts, plant_edit
from tests.integration.shards import read_manifest, read_shards

NEAR = {"bands": 4, "rows": 2, "shingle_words": 3}
WORDS = ("some", "words", "of", "THE", "text", "and", "others", "你好", "ที่")


def shard(
    url: str, files: dict[str, list[str]], near: dict[str, Any] | None, **documents: Any
) -> tuple[Prepared, Store]:
    for name, texts in files.items():
        with fsspec.open(f"{url}/in/{name}", "w", auto_mkdir=True, encoding="utf-8") as file:
            file.write(
                "".join(json.dumps({"text": text, "id": f"{name}:{line}"}) + "\n" for line, text in enumerate(texts, 1))
            )
    sections: dict[str, Any] = {
        "input": {"paths": [f"{url}/in/*/*.jsonl"], "id_field": "id"},
        "output": {"url": f"{url}/out"},
        "documents": {"held_out": 0.0} | documents | ({} if near is None else {"near_duplicates": near}),
        "engine": {"workers": 1},
    }
    return prepare(RunFile.model_validate(sections), up_to=Part.SHARD), open_store(f"{url}/out")


def ids_of(store: Store) -> list[str]:
    """Ids of the documents that were written, in the order of (path, line)."""
    paths = [path for path in store.list() if path.startswith("documents") and "/shard-" in path]
    tables = [pa.ipc.open_file(pa.BufferReader(store.read_bytes(path))).read_all() for path in paths]
    found = [doc_id for table in tables for doc_id in table.column("doc_id").to_pylist()]
    return sorted(found, key=lambda doc_id: (doc_id.split(":")[0], int(doc_id.split(":")[1])))


@contextmanager
def divided(units: int, pass_records: int) -> Iterator[None]:
    """Another division into units."""
    with ExitStack() as stack:
        for module, name, value in (
            (plan, "MAX_UNITS", units),
            (plan, "BYTES_PER_PARTITION", 1),
            (plan, "DOCUMENTS_PER_PARTITION", 1),
            (records, "MAX_PASS_RECORDS", pass_records),
            (records, "MAX_RUN_RECORDS", pass_records),
        ):
            stack.enter_context(patch.object(module, name, value))
        yield


TEXTS = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(TEXTS, min_size=1, max_size=14),
    num_files=st.integers(1, 3),
    held_out=st.sampled_from([0.0, 0.3]),
    deduplicate=st.booleans(),
    seed=st.integers(0, 3),
)
def test_what_stays_is_what_comparing_all_pairs_leaves(
    texts: list[str], num_files: int, held_out: float, deduplicate: bool, seed: int
) -> None:
    texts = [f"{text}." if text else "..." for text in texts] + ["so that there is always one"]
    files = {f"{name}/{name}.jsonl": texts[place::num_files] for place, name in enumerate("abc"[:num_files])}
    ordered = [(f"{name}:{line}", text) for name, own in files.items() for line, text in enumerate(own, 1)]
    once = [
        one
        for place, one in enumerate(ordered)
        if not deduplicate or one[1] not in [text for _, text in ordered[:place]]
    ]
    leaders = join_texts([text for _, text in once], 4, 2, 3, seed)
    expected = [doc_id for place, (doc_id, _) in enumerate(once) if leaders[place] == place]
    try:
        prepared, store = shard(
            f"memory://{uuid.uuid4().hex}", files, NEAR | {"seed": seed}, held_out=held_out, deduplicate=deduplicate
        )
    except ConfigError as error:
        if "held out" in error.what or "held-out" in error.what:
            return
        raise
    assert ids_of(store) == expected
    counts = prepared.documents[0].counts
    assert counts.near_duplicates == len(once) - len(expected) == sum(one.near_duplicates for one in counts.sources)
    assert counts.duplicates == len(ordered) - len(once)
    report = json.loads(store.read_bytes("documents/near_duplicates.json"))
    sizes = Counter(leaders)
    assert report["near_duplicates"] == counts.near_duplicates
    clusters = sorted((-size, leader) for leader, size in sizes.items() if size > 1)
    assert report["clusters"] == len(clusters)
    for (size, leader), found in zip(clusters, report["largest_clusters"], strict=True):
        members = [place for place, own in enumerate(leaders) if own == leader][:SHOWN_MEMBERS]
        assert found["documents"] == -size
        assert [one["doc_id"] for one in (found["kept"], *found["dropped"])] == [once[place][0] for place in members]
        assert [one["text"] for one in (found["kept"], *found["dropped"])] == [once[place][1] for place in members]
    assert not [path for path in store.list() if path.startswith("work/")]


def make_texts(count: int, rng: random.Random) -> list[str]:
    """Documents of which a third are earlier ones with a word changed."""
    texts: list[str] = []
    for number in range(count):
        words = [f"w{rng.randrange(5000)}" for _ in range(60)]
        if number % 3 == 2:
            words = rng.choice(texts).split()
            words[rng.randrange(60)] = "changed"
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize("units", [1, 3, 17])
def test_the_division_into_units_changes_no_byte(units: int, tmp_path: Path) -> None:
    texts = make_texts(120, random.Random(4))
    files = {"a/a.jsonl": texts[:50], "b/b.jsonl": texts[50:]}
    near = {"shingle_words": 2}

    def tree(store: Store) -> dict[str, bytes]:
        return {path: store.read_bytes(path) for path in store.list() if path.startswith("documents")}

    prepared, whole = shard(f"memory://{uuid.uuid4().hex}", files, near, held_out=0.2, shard_mb=0.005)
    assert prepared.documents[0].num_shards > 4
    assert prepared.documents[0].counts.near_duplicates > 25
    with divided(units, 100):
        _, parts = shard(f"memory://{uuid.uuid4().hex}", files, near, held_out=0.2, shard_mb=0.005)
    assert tree(parts) == tree(whole)


def test_all_documents_are_counted_and_verified(tmp_path: Path) -> None:
    files = {
        "a/a.jsonl": ["one two three four", "One, two: three FOUR!", "others"],
        "b/b.jsonl": ["one  two three four", "others", "..", ".,"],
    }
    prepared, store = shard(str(tmp_path), files, {})
    counts = read_manifest(tmp_path / "out" / "documents")["counts"]
    assert {one["source"]: one["near_duplicates"] for one in counts["sources"]} == {"in": 2}
    assert (counts["read"], counts["written"], counts["duplicates"], counts["near_duplicates"]) == (7, 4, 1, 2)
    assert read_manifest(tmp_path / "out" / "documents")["schema_version"] == "2.4"
    assert dict(document_lines(prepared.documents[0]))["  near duplicates"] == "2"
    assert sorted(row["text"] for rows in read_shards(tmp_path / "out" / "documents") for row in rows) == [
        ".,",
        "..",
        "one two three four",
        "others",
    ]
    for verified in verify_output(store.below("documents"), progress=lambda *_: None):
        assert not verified.findings


def test_without_near_duplicates_nothing_is_written_otherwise(tmp_path: Path) -> None:
    files = {"a/a.jsonl": ["one two three four five six", "seven eight"]}
    _, plain = shard(str(tmp_path / "plain"), files, None)
    prepared, near = shard(str(tmp_path / "near"), files, {})
    assert "near_duplicates" not in plain.read_bytes("documents/manifest.json").decode()
    assert "near_duplicates" not in json.loads(plain.read_bytes("run.json"))["decisive"]["documents"]
    assert prepared.documents[0].counts.near_duplicates == 0
    assert near.read_bytes("documents/shard-00000.arrow") == plain.read_bytes("documents/shard-00000.arrow")


def test_a_report_has_no_control_characters(tmp_path: Path) -> None:
    hostile = "\u001b[31m one two\u202e three \u0007"
    _, store = shard(str(tmp_path), {"a/a.jsonl": [hostile, hostile.upper() + "!"]}, {})
    report = store.read_bytes("documents/near_duplicates.json")
    assert all(32 <= byte < 127 or byte == 10 for byte in report)
    assert json.loads(report)["largest_clusters"][0]["kept"]["text"] == hostile


def test_the_report_is_of_the_largest_clusters_alone(tmp_path: Path) -> None:
    texts = [f"{'!' * copy}cluster {cluster}" for cluster in range(9) for copy in range(2 + cluster % 4)]
    with patch.object(locate_stage, "LARGEST_CLUSTERS", 3):
        _, store = shard(str(tmp_path), {"a/a.jsonl": texts}, {})
    report = json.loads(store.read_bytes("documents/near_duplicates.json"))
    assert report["clusters"] == 9
    assert [one["documents"] for one in report["largest_clusters"]][:2] == [5, 5]


@pytest.mark.parametrize(("bands", "rows"), [(14, 8), (20, 5)])
def test_planted_near_duplicates_are_found_as_often_as_the_formula_says(bands: int, rows: int) -> None:
    rng = random.Random(9)
    section = NearDuplicatesSection(bands=bands, rows=rows, shingle_words=3)
    originals = [[f"w{rng.randrange(10**6)}" for _ in range(80)] for _ in range(600)]
    planted = [plant_edit(words, rng.uniform(0.4, 0.95), 3, rng) for words in originals]
    files = {"a/a.jsonl": [" ".join(words) for words in originals], "b/b.jsonl": [text for text, _ in planted]}
    _, store = shard(f"memory://{uuid.uuid4().hex}", files, {"bands": bands, "rows": rows, "shingle_words": 3})
    kept = ids_of(store)
    assert sum(doc_id.startswith("a/") for doc_id in kept) == len(originals), "a document without a near duplicate"
    probabilities = [section.probability(similarity) for _, similarity in planted]
    deviation = sum(one * (1 - one) for one in probabilities) ** 0.5
    assert 2 * len(originals) - len(kept) == pytest.approx(sum(probabilities), abs=3 * deviation)


def test_documents_on_one_line_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("one two<s>three four<s>One two<s>five<s>FIVE<s>six")
    run = {
        "input": {"paths": [f"{tmp_path}/in/*.txt"], "text_document": "separator", "text_separator": "<s>"},
        "output": {"url": str(tmp_path / "out")},
        "documents": {"held_out": 0.0, "near_duplicates": {}},
        "engine": {"workers": 1},
    }
    prepared = prepare(run, up_to="shard")
    assert prepared.documents[0].counts.near_duplicates == 2
    texts = sorted(row["text"].lower() for rows in read_shards(tmp_path / "out" / "documents") for row in rows)
    assert texts == ["five", "one two", "six", "three four"]


def test_a_run_without_a_document_left_to_train_on_is_refused(tmp_path: Path) -> None:
    """Of a cluster the first stays, whichever split it is in."""
    seen = set()
    for seed in range(12):
        try:
            prepared, _ = shard(
                str(tmp_path / str(seed)), {"a/a.jsonl": ["one two", "one two!"]}, {}, held_out=0.5, seed=seed
            )
        except ConfigError as error:
            seen.add(error.what)
            continue
        assert prepared.documents[0].counts.written == 1
        seen.add("written")
    assert seen == {
        "written",
        "every document is held out",
        "every document to train on is a near duplicate of a held-out one",
    }


@pytest.mark.parametrize(
    ("near", "words"),
    [
        ({"bands": 0}, "documents.near_duplicates.bands"),
        ({"bands": 100, "rows": 11}, "bands * rows"),
        ({"shingle_words": 65}, "documents.near_duplicates.shingle_words"),
        ({"shingles": 5}, "shingle_words"),
    ],
)
def test_settings_are_refused_in_words(near: dict[str, int], words: str) -> None:
    run = {
        "input": {"paths": ["memory://x/*.txt"]},
        "output": {"url": "memory://y"},
        "documents": {"near_duplicates": near},
    }
    with pytest.raises(ConfigError) as caught:
        prepare(run)
    assert words in str(caught.value)


def test_the_documented_probabilities() -> None:
    section = NearDuplicatesSection()
    assert [round(section.probability(one), 4) for one in (0.5, 0.7, 0.75, 0.8, 0.9)] == [
        0.0533,
        0.5645,
        0.7716,
        0.9235,
        0.9996,
    ]


def test_a_run_that_takes_what_another_has_read_drops_the_same(tmp_path: Path) -> None:
    texts = make_texts(40, random.Random(5))
    (tmp_path / "in").mkdir()
    trees = []
    for name, keys in (("first", {}), ("second", {"reuse": str(tmp_path / "first")}), ("alone", {})):
        near = {} if name == "first" else {"near_duplicates": {"shingle_words": 2}}
        number = 1 if name == "first" else 2
        (tmp_path / "in" / f"{number}.jsonl").write_text(
            "".join(json.dumps({"text": one}) + "\n" for one in texts[::number])
        )
        run = {
            "input": {"paths": [f"{tmp_path}/in/*.jsonl"], **keys},
            "output": {"url": str(tmp_path / name)},
            "documents": {"held_out": 0.0, "appendable": True, **near},
            "engine": {"workers": 1},
        }
        prepare(run, up_to="shard")
        store = open_store(str(tmp_path / name))
        trees.append({path: store.read_bytes(path) for path in store.list("documents")})
        assert not [
            path
            for path in store.list("work")
            if not path.startswith(("work/exchange/", "work/receipts/map/", "work/input"))
        ]
    assert trees[1] == trees[2] != trees[0]
    assert "near_duplicates.json" in "".join(trees[1])
