"""What filters do with a sample is what they do with the same documents in a run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.jobs.inspect import inspect
from maskmill.pipeline.run.inspect_filters import MAX_FILES, describe_inspected, inspect_filters, plan_sample
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import prepare
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.events import parse_line
from maskmill.schemas.run_file import RunFile


def write_run(folder: Path, **filters: Any) -> RunFile:
    for source in ("one", "two"):
        (folder / source).mkdir(exist_ok=True)
        texts = [f"document {number} of {source} with some words" for number in range(40)]
        texts[::4] = [f"short {number}" for number in range(10)]
        texts[3] = "lorem \x1b[31m ipsum"
        texts[5] = "schÃ¶n and a few words"
        lines = [json.dumps({"text": text}) for text in texts]
        (folder / source / "a.jsonl").write_text("\n".join([*lines, "broken"]))
    return RunFile.model_validate(
        {
            "input": {"paths": [f"{folder}/{source}/*.jsonl" for source in ("one", "two")], "max_quarantined": 0.5},
            "output": {"url": str(folder / "out")},
            "engine": {"workers": 1},
            "filters": filters,
        }
    )


FILTERS = {"repair_unicode": {}, "regex": {"drop": {"*": ["^lorem"]}}, "length": {"min_words": 3}}


def test_it_says_what_a_run_does_and_writes_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path, **FILTERS)
    inspected = inspect_filters(run, 1000)
    assert not (tmp_path / "out").exists()
    counts = prepare(run, up_to=Part.SHARD).documents[0].counts
    reasons = {f"{one.name}: {reason.reason}": reason.documents for one in inspected.filters for reason in one.reasons}
    assert reasons == counts.filtered_by_reason == {"regex: matches drop": 2, "length: too few words": 20}
    by_source = Counter[str]()
    for one in inspected.filters:
        for reason in one.reasons:
            by_source.update(reason.by_source)
    assert by_source == Counter({one.source: one.filtered for one in counts.sources if one.filtered})
    assert inspected.documents + inspected.quarantined == counts.read
    assert inspected.kept == inspected.documents - counts.filtered
    assert [(one.name, one.seen, one.changed) for one in inspected.filters] == [
        ("repair_unicode", 80, 4),
        ("regex", 80, 0),
        ("length", 78, 0),
    ]
    lines = describe_inspected(inspected)
    assert lines[0] == "80 documents from the beginnings of 2 of 2 files, 2 more are quarantined; 58 stay, 72.5%"
    assert "    one/a.jsonl#4: lorem \\x1b[31m ipsum" in lines
    assert "  too few words: 20 (one 10, two 10)" in lines
    assert len([line for line in lines if ": short" in line]) == 3


def test_the_sample_is_the_same_and_spread_over_the_files(tmp_path: Path) -> None:
    run = write_run(tmp_path, **FILTERS)
    first, again = inspect_filters(run, 10), inspect_filters(run, 10)
    assert first.filters == again.filters
    assert 10 <= first.documents <= 12
    assert set(first.kept_by_source) == {"one", "two"}


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=500), st.integers(1, 3000))
def test_as_many_documents_are_planned_as_are_wanted(sizes: list[int], documents: int) -> None:
    plan = plan_sample(sizes, documents)
    assert min(documents, len(plan)) <= sum(plan.values()) <= documents + len(plan)
    assert len(plan) == min(len(sizes), MAX_FILES, documents)
    assert all(wanted >= 1 for wanted in plan.values())
    if any(sizes[file] for file in plan):
        assert sum(plan.values()) >= documents


def test_evaluation_text_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("document 7 of one with some words\n")
    run = write_run(tmp_path, decontamination={"paths": [str(tmp_path / "test.txt")], "min_words": 5})
    (found,) = inspect_filters(run, 1000).filters
    assert [(reason.documents, reason.examples[0].doc_id) for reason in found.reasons] == [(1, "one/a.jsonl#8")]


def test_a_run_without_filters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the run file has no filter"):
        inspect_filters(write_run(tmp_path), 10)


def test_the_command_prints_lines_or_one_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path)
    lines = f'[input]\npaths = ["{tmp_path}/one/*.jsonl"]\n[output]\nurl = "{tmp_path}/out"\n'
    (tmp_path / "run.toml").write_text(f"{lines}[filters.length]\nmin_words = 3")
    assert inspect(str(tmp_path / "run.toml"), 20, [], False) == 0
    assert "length: 5 of 2" in capsys.readouterr().out
    assert inspect(str(tmp_path / "run.toml"), 20, ["filters.length.min_words=1"], True) == 0
    _, event = parse_line(capsys.readouterr().out)
    assert event.event == "filters_inspected"
    assert event.kept == event.documents


def test_each_filter_is_said_to_have_seen_the_documents_of_its_tables(tmp_path: Path) -> None:
    write_run(tmp_path)
    one, two = ({"paths": [f"{tmp_path}/{source}/*.jsonl"]} for source in ("one", "two"))
    tables = [one | {"filters": {"length": {"min_words": 3}}, "max_quarantined": 0.5}, two | {"filters": FILTERS}]
    run = RunFile.model_validate({"input": tables, "output": {"url": str(tmp_path / "out")}})
    inspected = inspect_filters(run, 1000)
    assert [(own.name, own.seen, own.dropped) for own in inspected.filters] == [
        ("repair_unicode", 40, 0),
        ("regex", 40, 1),
        ("length", 79, 20),
    ]
