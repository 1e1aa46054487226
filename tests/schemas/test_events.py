"""Events: JSON as it always was, one line read back as what was written."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from maskmill.jobs.progress import JsonLines
from maskmill.schemas.events import AnyEvent, Event, StageStarted, parse_line
from maskmill.schemas.field_docs import read_field_docs

SOURCE = {"source": "de", "text_bytes": 9, "words": 2, "tokens": 3, "unknown": 1, "characters": 8}
SOURCE |= {"characters_unknown": 1, "letters": 8, "letters_changed": 1}
LATER = {"words_changed": 1, "words_too_long": 1, "characters_too_long": 1}  # not written where they are 0
MASKING = {"strategy": "token", "rate": 0.15, "mask_share": 0.8, "random_share": 0.1, "seed": 0}

WRITTEN: list[dict[str, Any]] = [
    {"event": "stage_started", "stage": "map", "units": 3, "reused": 1},
    {"event": "unit_progress", "stage": "map", "unit": 1, "share": 0.25},
    {"event": "unit_done", "stage": "map", "unit": 1, "seconds": 0.5, "host": "h", "counts": {"read": 3}},
    {"event": "stage_done", "stage": "map", "units": 3, "ran": 2, "seconds": 1.5, "retries": 0},
    {"event": "warning", "message": "a key is missing"},
    {"event": "note", "message": "other masks"},
    {"event": "finished", "seconds": 9.125},
    {"event": "tokenizer_measured", "tokenizer": "this run", "sources": [SOURCE, SOURCE | LATER]},
    {"event": "shard_verified", "path": "out/packed", "done": 1, "shards": 2},
    {"event": "verified", "path": "out/packed", "findings": ["out/packed/a: gone"]},
    {
        "event": "start",
        "step": 3,
        "resumed_from": None,
        "device": "cpu",
        "precision": "fp32",
        "num_parameters": 7,
        "masking": MASKING,
    },
    {
        "event": "train_step",
        "step": 4,
        "epoch": 0,
        "loss": 2.5,
        "learning_rate": 1e-05,
        "gradient_norm": 0.5,
        "waited_seconds": 0.0,
        "seconds": 1.25,
    },
    {"event": "checkpoint", "step": 4},
    {
        "event": "held_out",
        "step": 4,
        "loss": 2.5,
        "unigram_entropy": 3.0,
        "gap": 0.5,
        "num_labels": 70,
        "seconds": 2.0,
    },
    {"event": "export", "step": 4, "url": "out/training/model"},
    {
        "event": "filters_inspected",
        "files": 2,
        "sampled_files": 1,
        "documents": 3,
        "kept": 2,
        "kept_by_source": {"de": 2},
        "quarantined": 0,
        "text_bytes": 90,
        "filters": [
            {
                "name": "length",
                "seen": 3,
                "changed": 0,
                "dropped": 1,
                "reasons": [
                    {
                        "reason": "too few words",
                        "documents": 1,
                        "by_source": {"en": 1},
                        "examples": [{"doc_id": "a.jsonl#1", "source": "en", "excerpt": "a"}],
                    }
                ],
            }
        ],
        "read_seconds": 0.1,
        "filter_seconds": 0.2,
        "corpus_bytes": 900,
        "estimated_seconds": 3.0,
    },
]
"""What version 0.2 wrote, and the events that came later; keys in their order."""


@pytest.mark.parametrize("written", WRITTEN, ids=[line["event"] for line in WRITTEN])
def test_a_line_is_what_it_was_and_is_read_back(written: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    time, event = parse_line(json.dumps({"time": 12.5, **written}))
    assert time == 12.5
    assert json.dumps(event.fields()) == json.dumps(written)
    JsonLines()(event)
    line = capsys.readouterr().out
    assert parse_line(line)[1] == event
    assert json.dumps(written)[1:] == line.rstrip("\n").partition(", ")[2]


def test_every_event_is_known_and_every_field_explained() -> None:
    models = get_args(AnyEvent)
    assert [model.model_fields["event"].default for model in models] == [line["event"] for line in WRITTEN]
    for model in models:
        assert issubclass(model, Event)
        assert model.__doc__
        assert read_field_docs(model).keys() == model.model_fields.keys() - {"event"}, model


@pytest.mark.parametrize(
    "line",
    [
        *("", "7", "[]", "{", '{"event": "note", "message": "a"}', '{"time": 1, "event": "none"}', '{"time": "1"}'),
        *('{"time": 1, "event": "note"}', '{"time": 1, "event": "note", "message": "a", "more": 1}', "[" * 100_000),
    ],
)
def test_what_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        parse_line(line)


def test_events_are_frozen() -> None:
    event = StageStarted(stage="map", units=1, reused=0)
    with pytest.raises(ValidationError):
        event.units = 2  # type: ignore[misc]
