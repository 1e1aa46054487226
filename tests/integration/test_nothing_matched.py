"""A setting that matches nothing is named with the count: a warning, or an error where nothing useful can follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import prepare
from maskmill.pipeline.wordpiece.encoding.prove_encoder import WITHOUT_NANOTOKEN
from maskmill.schemas.errors import ConfigError, InputDataError, MaskmillError
from maskmill.schemas.run_file import RunFile
from tests.integration.runs import read_tree

LINES = [{"text": f"text number {number}", "lang": "de" if number % 3 else None} for number in range(12)]


def write(folder: Path, files: dict[str, list[dict[str, Any]]]) -> list[str]:
    for name, lines in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [str(folder / name) for name in files]


def run(folder: Path, paths: list[str], last: Part = Part.SHARD, workers: int = 1, **sections: Any) -> list[str]:
    """What a run warns of, apart from the encoder that it lacks where `nanotoken` is not installed."""
    whole = {
        "input": {"paths": paths} | sections.pop("input", {}),
        "output": {"url": str(folder / "out")},
        "documents": {"held_out": 0.0} | sections.pop("documents", {}),
        "engine": {"workers": workers},
    }
    events: list[Any] = []
    prepare(RunFile.model_validate(whole | sections), events.append, last)
    messages = [event.message for event in events if event.event == "warning"]
    return [message for message in messages if WITHOUT_NANOTOKEN not in message]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_key_that_no_line_has_is_named_with_the_count(tmp_path: Path, workers: int) -> None:
    paths = write(tmp_path, {"in/a.jsonl": LINES, "in/b.jsonl": [*LINES[:2], {"text": ""}]})
    source, doc_id = run(
        tmp_path,
        paths,
        workers=workers,
        input={"source_field": "meta.name", "id_field": "uid", "max_quarantined": 1.0},
        documents={"shard_mb": 0.001},
    )
    assert "input.source_field = 'meta.name': 0 of 14 documents have this key; their source is 'in'" in source
    assert "input.id_field = 'uid': 0 of 14 documents have this key" in doc_id


def test_a_key_that_some_lines_lack_is_named_with_the_count(tmp_path: Path) -> None:
    paths = write(tmp_path, {"in/a.jsonl": LINES})
    (warning,) = run(tmp_path, paths, input={"source_field": "lang"})
    assert "input.source_field = 'lang': 4 of 12 documents lack this key" in warning


def test_a_key_that_all_lines_have_is_no_warning(tmp_path: Path) -> None:
    paths = write(tmp_path, {"in/a.jsonl": LINES})
    assert run(tmp_path, paths, input={"source_field": "text", "id_field": "text"}) == []


def test_files_without_a_document_are_named(tmp_path: Path) -> None:
    paths = write(tmp_path, {"in/a.jsonl": LINES, "in/b.jsonl": [], "in/c.jsonl": []})
    (warning,) = run(tmp_path, paths, documents={"shard_mb": 0.001})
    assert warning == "2 of 3 input files contain no document, the first is b.jsonl"


def test_a_corpus_of_which_nothing_is_held_out_is_named(tmp_path: Path) -> None:
    paths = write(tmp_path, {"in/a.jsonl": LINES})
    (warning,) = run(tmp_path, paths, documents={"held_out": 0.001})
    assert "documents.held_out = 0.001 holds out 0 of 12 documents" in warning


NOTHING_LEFT: list[tuple[list[dict[str, Any]], dict[str, Any], type[MaskmillError], list[str]]] = [
    ([], {}, InputDataError, ["contain no document"]),
    (
        [{"txt": "a"}, {"text": ""}],
        {"input": {"max_quarantined": 1.0}},
        InputDataError,
        ["every document is quarantined", "2 of 2: 1 empty text, 1 no text field", "input.text_field"],
    ),
    (
        # With this seed the hash of the one document lies in the lower half.
        [{"text": "text"}],
        {"documents": {"held_out": 0.5, "seed": 2}},
        ConfigError,
        ["documents.held_out", "every document is held out", "1 of 1 documents", "documents.seed"],
    ),
]


@pytest.mark.parametrize(("lines", "sections", "kind", "words"), NOTHING_LEFT)
def test_a_run_without_a_document_to_train_on_is_stopped(
    tmp_path: Path, lines: list[dict[str, Any]], sections: dict[str, Any], kind: type[MaskmillError], words: list[str]
) -> None:
    paths = write(tmp_path, {"in/a.jsonl": lines})
    for _ in range(2):
        with pytest.raises(kind) as stopped:
            run(tmp_path, paths, **{name: dict(values) for name, values in sections.items()})
        assert not [word for word in words if word not in str(stopped.value)], stopped.value
        assert "documents/manifest.json" not in read_tree(tmp_path / "out")


@pytest.mark.parametrize(("texts", "counted"), [(["\x01", " \u3000"], "2 documents"), (["\x01"], "1 document")])
def test_a_run_without_a_word_is_stopped_before_it_trains(tmp_path: Path, texts: list[str], counted: str) -> None:
    paths = write(tmp_path, {"in/a.jsonl": [{"text": text} for text in texts]})
    with pytest.raises(InputDataError, match=rf"no word.*{counted} of spaces"):
        run(tmp_path, paths, Part.TOKENIZER)


def test_a_run_without_a_row_is_stopped(tmp_path: Path) -> None:
    paths = write(tmp_path, {"in/a.jsonl": [{"text": f"word{number} " * 60} for number in range(5)]})
    pack = {"seq_len": 32, "split": "never"}
    with pytest.raises(InputDataError, match="no row to train on") as stopped:
        run(tmp_path, paths, Part.PACK, tokenizer={"vocab_size": 60}, pack=pack)
    assert "of 5 documents 0 without tokens, 5 longer than a row, 0 not encoded" in str(stopped.value.found)
    assert "packed/manifest.json" not in read_tree(tmp_path / "out")


def test_a_length_that_no_document_has_is_named(tmp_path: Path) -> None:
    paths = write(tmp_path, {"in/a.jsonl": [{"text": f"word{number} " * 60} for number in range(5)]})
    pack = {"seq_len": 512, "sequences": "document", "length_bins": [32, 512]}
    warnings = run(tmp_path, paths, Part.PACK, tokenizer={"vocab_size": 60, "alpha": 0.3}, pack=pack)
    assert [warning.partition(":")[0] for warning in warnings] == [
        "tokenizer.alpha = 0.3 changes nothing, since all text is of one source, 'in'",
        "packed-32 has no row",
    ]
