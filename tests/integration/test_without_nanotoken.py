"""Without `nanotoken`, which is optional, a run gives the same bytes and says once what is lost."""

from __future__ import annotations

import json
import random
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from maskmill.pipeline.run.prepare import prepare
from maskmill.schemas.run_file import RunFile

DIFFERENT = {"run.json", "timings.json", "tokenizer/proof.json"}
"""What says which libraries a run was made with, and how long it took."""
COMPARED_BOTH_WAYS = ("proof_documents", "proof_bytes", "fallback_shards")
"""Counts of the documents that were encoded by both libraries."""


def run(folder: Path, name: str) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    events: list[Any] = []
    output = folder / name
    prepare(
        RunFile.model_validate(
            {
                "input": {"paths": [str(folder / "*.txt")], "text_document": "line"},
                "output": {"url": str(output)},
                "documents": {"held_out": 0.1},
                "tokenizer": {"vocab_size": 120},
                "pack": {"seq_len": 64, "min_segment": 4},
                "mask": {"copies": 1},
                "engine": {"workers": 1},
            }
        ),
        events.append,
    )
    files = {str(path.relative_to(output)): path for path in output.rglob("*") if path.is_file()}
    return {name: read(path) for name, path in files.items() if name not in DIFFERENT}, events


def read(path: Path) -> bytes:
    """A file, or of a manifest what does not say how its rows were proven."""
    if path.name != "manifest.json":
        return path.read_bytes()
    values = json.loads(path.read_bytes())
    values.pop("fingerprint")
    for name in COMPARED_BOTH_WAYS:
        values["counts"].pop(name, None)
    return json.dumps(values).encode()


def test_a_run_without_it_gives_the_same_bytes_and_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nanotoken", reason="nanotoken is optional, and this compares a run with it and one without")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    generator = random.Random(3)
    letters = "abcdefghij\u00e9\u00df\u4e2d\u0416 ,.-"
    lines = ["".join(generator.choices(letters, k=generator.randint(1, 900))) for _ in range(300)]
    (tmp_path / "lines.txt").write_text("\n".join([*lines, "[MASK] and [CLS]"]))
    expected, _ = run(tmp_path, "with")

    find_version = metadata.version

    def find_none(name: str) -> str:
        if name == "nanotoken":
            raise metadata.PackageNotFoundError(name)
        return find_version(name)

    monkeypatch.setattr(metadata, "version", find_none)
    monkeypatch.setitem(sys.modules, "nanotoken", None)
    found, events = run(tmp_path, "without")
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    warnings = [event.message for event in events if event.event == "warning" and "nanotoken" in event.message]
    assert len(warnings) == 1
    assert "nanotoken is not installed" in warnings[0]
    assert "maskmill[fast]" in warnings[0]
