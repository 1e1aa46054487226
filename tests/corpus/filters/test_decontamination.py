"""Documents that share an n-gram with evaluation text are found, all of them and no others, and counted by file."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from maskmill.pipeline.corpus.filters import compared_words, decontamination, evaluation_index
from maskmill.pipeline.corpus.filters.characters import code_points
from maskmill.pipeline.corpus.filters.decision import Changed
from maskmill.pipeline.corpus.filters.decontamination import NEAR, cut_out
from maskmill.pipeline.corpus.filters.evaluation_index import EvaluationIndex, open_index, write_index
from maskmill.pipeline.corpus.filters.filtered_text import FilteredText
from maskmill.pipeline.run.describe_counts import document_lines
from maskmill.pipeline.run.prepare import Prepared
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError, InputDataError, ShardCorruptError, StaleArtifactError
from maskmill.schemas.filters import Action, DecontaminationFilter
from tests.corpus.filters.test_in_run import shard, texts_of

ALONE = re.compile("[\u3041-\u3096\u30a1-\u30fa\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
FULL = "The quick brown fox jumps over the lazy dog while nobody is looking at it closely"
SHORT = "Eight words are just enough to be compared"
SCRAP = "too short to compare"


def words_of(text: str) -> list[tuple[str, int, int]]:
    """The words of a text and where they are, by the rules as they are written down."""
    words: list[tuple[str, int, int]] = []
    before = False
    for place, character in enumerate(text):
        is_part = character.isalnum() or unicodedata.category(character).startswith("M")
        is_alone = is_part and ALONE.match(character) is not None
        small = character.lower() if len(character.lower()) == 1 else character
        if is_part and before and not is_alone:
            words[-1] = (words[-1][0] + small, words[-1][1], place + 1)
        elif is_part:
            words.append((small, place, place + 1))
        before = is_part and not is_alone
    return words


def brute_force(text: str, evaluation: list[tuple[int, str]], ngram: int, least: int) -> set[tuple[int, int, int]]:
    """The file and place of every shared n-gram, by comparing all with all."""
    grams = set[tuple[int, tuple[str, ...]]]()
    for file, one in evaluation:
        words = [word for word, _, _ in words_of(one)]
        size = min(ngram, len(words))
        if size >= least:
            grams |= {(file, tuple(words[start : start + size])) for start in range(len(words) - size + 1)}
    words = words_of(text)
    return {
        (file, words[start][1], words[start + len(gram) - 1][2])
        for file, gram in grams
        for start in range(len(words) - len(gram) + 1)
        if gram == tuple(word for word, _, _ in words[start : start + len(gram)])
    }


letters = st.sampled_from(
    ["a", "B", "b", "é", "e\u0301", "ß", "İ", "日", "本", "ア", "ー", "7", "²", "привет", "\U00020000"]
)
gaps = st.sampled_from([" ", " ", ", ", "\n", "-", "'", "\u3000"])
texts = st.builds("".join, st.lists(letters | gaps, max_size=24))


def index_of(store: Store, evaluation: list[tuple[int, str]], ngram: int, least: int) -> EvaluationIndex:
    return open_index(store, write_index(store, evaluation, ["one", "two"], ngram, least))


@settings(max_examples=300)
@given(
    texts,
    st.lists(st.tuples(st.integers(0, 1), texts), min_size=1, max_size=6),
    st.integers(1, 4),
    st.integers(1, 4),
    st.booleans(),
)
def test_what_is_found_is_what_comparing_all_with_all_finds(
    text: str, evaluation: list[tuple[int, str]], ngram: int, least: int, collide: bool
) -> None:
    least = min(ngram, least)
    store = open_store("memory://decontamination")
    hashes = (lambda hashed, size: np.zeros(max(len(hashed) - size + 1, 0), np.uint64)) if collide else None
    with mock.patch.object(evaluation_index, "hash_ngrams", hashes or compared_words.hash_ngrams):
        try:
            index = index_of(store, evaluation, ngram, least)
        except ConfigError:
            assert all(len(words_of(one)) < least for _, one in evaluation)
            return
        found = index.find(text)
    numbers = {"one": 0, "two": 1}
    assert {(numbers[one.file], one.start, one.stop) for one in found} == brute_force(text, evaluation, ngram, least)
    assert len(found) == len({(one.file, one.start, one.stop) for one in found})
    for one in found:
        assert one.ngram == " ".join(word for word, _, _ in words_of(text[one.start : one.stop]))
    for number, file in enumerate(index.place.files):
        lengths = [len(words_of(one)) for of, one in evaluation if of == number]
        counted = (len(lengths), sum(least <= length < ngram for length in lengths), sum(n < least for n in lengths))
        assert (file.texts, file.whole, file.too_short) == counted


@settings(max_examples=300)
@given(
    texts, st.lists(st.tuples(st.integers(0, 1), texts), min_size=1, max_size=6), st.integers(2, 4), st.integers(0, 3)
)
def test_no_ngram_is_left_in_a_trimmed_text_and_matches_are_the_first_of_each_file(
    text: str, evaluation: list[tuple[int, str]], ngram: int, window: int
) -> None:
    assume(any(len(words_of(one)) >= 2 for _, one in evaluation))
    index = index_of(open_store("memory://trimmed"), evaluation, ngram, 2)
    found = index.find(text)
    first = {one.file: one.ngram for one in reversed(found)}
    for action in Action:
        own = DecontaminationFilter(paths=("x",), ngram=ngram, min_words=2, action=action, window=window)
        decision = decontamination.decontaminate(FilteredText(text, "", index), own)
        if not found:
            assert decision is None
            continue
        assert decision is not None
        assert {match.file: match.ngram for match in decision.matches} == first
        if isinstance(decision, Changed):
            assert action is Action.TRIM
            assert not index.find(decision.text)
            assert len(decision.text) < len(text)


def test_what_a_cut_brings_together_is_cut_too() -> None:
    words = [f"w{number}" for number in range(13)]
    index = index_of(open_store("memory://together"), [(0, " ".join(words))], 13, 8)
    own = DecontaminationFilter(paths=("x",), action=Action.TRIM, window=0)
    text = " ".join([*words[:6], *words, *words[6:], "end"])
    decision = decontamination.decontaminate(FilteredText(text, "", index), own)
    assert isinstance(decision, Changed)
    assert decision.text == "end"


@given(st.text())
def test_words_are_those_that_are_described(text: str) -> None:
    starts, stops, _ = compared_words.find_words(code_points(text), *compared_words.tables())
    assert list(zip(starts.tolist(), stops.tolist(), strict=True)) == [place[1:] for place in words_of(text)]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20), st.integers(1, 6))
def test_equal_ngrams_have_equal_hashes(words: list[int], size: int) -> None:
    """Wherever it is, an n-gram has the hash that it has alone."""
    rolled = compared_words.hash_ngrams(np.array(words, np.uint64), size)
    alone = [
        compared_words.hash_ngrams(np.array(words[start : start + size], np.uint64), size)[0]
        for start in range(len(words) - size + 1)
    ]
    assert rolled.tolist() == [int(one) for one in alone]


@given(st.text(st.sampled_from("ab \n"), max_size=60), st.data(), st.integers(0, 8))
def test_what_is_cut_out_is_gone_and_nothing_else_beyond_white_space(
    text: str, data: st.DataObject, window: int
) -> None:
    places = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted)
    spans = [(start, stop) for start, stop in data.draw(st.lists(places, min_size=1, max_size=3)) if start < stop]
    left = cut_out(text, spans, window)
    cut = set[int]()
    for start, stop in spans:
        begin, end = max(0, start - window), min(len(text), stop + window)
        while begin > max(0, start - window - NEAR) and not text[begin - 1].isspace():
            begin -= 1
        while end < min(len(text), stop + window + NEAR) and not text[end].isspace():
            end += 1
        cut |= set(range(begin, end))
    kept = "".join(" " if place in cut else character for place, character in enumerate(text))
    assert left.split() == kept.split()
    assert left == left.strip()


def write_files(folder: Path) -> None:
    """Documents of two sources, and two evaluation files."""
    documents = {
        "one": [f"Before. {FULL.upper()}! After.", "Nothing of it is here", f"x {SHORT.replace(' ', ', ')} y", SCRAP],
        "two": [FULL.rsplit(" ", 4)[0], "and " * 80 + FULL + " or" * 80, f"{FULL} {SHORT}"],
    }
    for source, lines in documents.items():
        (folder / "corpus" / source).mkdir(parents=True)
        written = "".join(json.dumps({"text": text}) + "\n" for text in lines)
        (folder / "corpus" / source / "a.jsonl").write_text(written)
    (folder / "evaluation").mkdir()
    questions = [json.dumps({"question": text}) for text in (FULL, SCRAP, FULL)]
    (folder / "evaluation" / "a.jsonl").write_text("\n".join(questions))
    pq.write_table(pa.table({"question": [SHORT, "no words of it"]}), folder / "evaluation" / "b.parquet")


def decontaminate(folder: Path, output: str = "out", **keys: Any) -> Prepared:
    own = {"paths": [f"{folder}/evaluation/*"], "text_field": "question", **keys}
    return shard(folder, output, {"decontamination": own}, documents={"held_out": 0.0})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path)
    return tmp_path


def test_documents_are_dropped_and_counted(folder: Path) -> None:
    made = decontaminate(folder).documents[0]
    counts = made.counts
    assert texts_of(folder / "out") == sorted(["Nothing of it is here", SCRAP, FULL.rsplit(" ", 4)[0]])
    assert counts.filtered_by_reason == {"decontamination: shares text with evaluation files": 4}
    assert {one.source: one.filtered for one in counts.sources} == {"one": 2, "two": 2}
    assert (counts.contaminated, counts.contaminated_by_file) == (4, {"a.jsonl": 3, "b.parquet": 2})
    assert counts.evaluation_texts == {"a.jsonl": 3, "b.parquet": 2}
    assert counts.evaluation_whole == {"b.parquet": 1}
    assert counts.evaluation_too_short == {"a.jsonl": 1, "b.parquet": 1}
    rows = pq.read_table(folder / "out" / "quarantine" / "contamination.parquet").to_pylist()
    assert [(row["doc_id"], row["file"]) for row in rows] == [
        ("one/a.jsonl#1", "a.jsonl"),
        ("one/a.jsonl#3", "b.parquet"),
        ("two/a.jsonl#2", "a.jsonl"),
        ("two/a.jsonl#3", "a.jsonl"),
        ("two/a.jsonl#3", "b.parquet"),
    ]
    assert rows[0]["ngram"] == " ".join(FULL.lower().split()[:13])
    assert "Before. THE QUICK" in rows[0]["around"]
    assert dict(document_lines(made))["evaluation files"] == "5 texts, 1 compared whole, 2 too short to compare"
    assert not (folder / "out" / "work" / "evaluation-index").exists()


def test_the_shared_part_is_trimmed(folder: Path) -> None:
    made = decontaminate(folder, action="trim", window=10).documents[0]
    assert made.counts.contaminated == 4
    assert made.counts.filtered_by_reason == {
        "decontamination: nothing is left without evaluation text": 3,
    }
    left = next(text for text in texts_of(folder / "out") if text.startswith("and"))
    assert left == ("and " * 77).strip() + "\n\n" + ("or " * 76).strip()


def test_the_same_bytes_for_any_number_of_workers_and_place(folder: Path) -> None:
    first = decontaminate(folder).documents[0]
    (folder / "evaluation").rename(folder / "moved")
    moved = {"paths": [f"{folder}/moved/*"], "text_field": "question"}
    sections = {"documents": {"held_out": 0.0}, "engine": {"workers": 2}}
    again = shard(folder, "again", {"decontamination": moved}, **sections).documents[0]
    assert again == first
    assert shard(folder, "out", {"decontamination": moved}, **sections).is_unchanged


def test_other_evaluation_text_is_another_run(folder: Path) -> None:
    decontaminate(folder)
    (folder / "evaluation" / "a.jsonl").write_text(json.dumps({"question": FULL.replace("quick", "swift")}))
    with pytest.raises(ConfigError, match=r"filters\.decontamination"):
        decontaminate(folder)


def test_evaluation_text_that_cannot_be_read_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"the pattern matches no file; .*check filters\.decontamination\.paths"):
        decontaminate(folder, paths=[f"{folder}/nothing/*"])
    with pytest.raises(InputDataError, match="an evaluation text cannot be read; expected every text"):
        decontaminate(folder, "wrong", text_field="answer")
    with pytest.raises(ConfigError, match=r"no evaluation text is long enough to compare; .*found 5 shorter ones"):
        decontaminate(folder, "short", ngram=40, min_words=40)
    with (
        mock.patch.object(evaluation_index, "MAX_WORD_BYTES", 50),
        pytest.raises(ConfigError, match="too much evaluation text"),
    ):
        decontaminate(folder, "large")


def test_a_damaged_index_is_refused(folder: Path) -> None:
    store = open_store(str(folder / "store"))
    place = write_index(store, [(0, FULL)], ["one"], 13, 8)
    path = folder / "store" / "work" / "evaluation-index"
    assert open_index(store, place) is open_index(open_store(str(folder / "store")), place)
    evaluation_index._opened.clear()  # as in another process
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ShardCorruptError, match="index of the evaluation text is not what was written"):
        open_index(store, place)
    path.unlink()
    with pytest.raises(ShardCorruptError, match="is not what was written"):
        open_index(store, place)


def test_files_that_change_while_they_are_read_are_refused(folder: Path) -> None:
    with (
        mock.patch("maskmill.pipeline.corpus.read_evaluation.digest_evaluation", side_effect=["a", "b"]),
        pytest.raises(StaleArtifactError, match="evaluation files have changed"),
    ):
        decontaminate(folder)


def test_matches_are_taken_with_the_units_that_found_them(folder: Path) -> None:
    own = {"decontamination": {"paths": [f"{folder}/evaluation/*"], "text_field": "question"}}
    keep = {"documents": {"held_out": 0.0, "appendable": True}}
    paths = [f"{folder}/corpus/{name}/*.jsonl" for name in ("one", "two")]
    fresh = shard(folder, "fresh", own, **keep).documents[0]
    (folder / "corpus" / "one" / "b.jsonl").write_text(json.dumps({"text": f"{FULL} again"}))
    reuse = {"input": {"paths": paths, "max_quarantined": 0.5, "reuse": str(folder / "fresh")}}
    taken = shard(folder, "taken", own, **keep, **reuse).documents[0]
    whole = shard(folder, "whole", own, **keep).documents[0]
    assert taken == whole
    assert taken.counts.contaminated == fresh.counts.contaminated + 1
    tables = [
        (folder / name / "quarantine" / "contamination.parquet").read_bytes() for name in ("fresh", "taken", "whole")
    ]
    assert tables[1] == tables[2] != tables[0]
