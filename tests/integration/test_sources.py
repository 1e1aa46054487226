"""Text is counted under the folder that its pattern names, and a run elsewhere under another name is another run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import Prepared, prepare
from maskmill.schemas.errors import ConfigError, StaleArtifactError
from maskmill.schemas.run_file import RunFile
from tests.integration.runs import read_tree
from tests.integration.shards import read_shards


def run(paths: list[str], output: Path, last: Part = Part.SHARD, **sections: Any) -> Prepared:
    whole = {
        "input": {"paths": paths} | sections.pop("input", {}),
        "output": {"url": str(output)},
        "documents": {"held_out": 0.0},
        "tokenizer": {"vocab_size": 80} | sections.pop("tokenizer", {}),
        "engine": {"workers": 1},
    }
    return prepare(RunFile.model_validate(whole), lambda _: None, last)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two languages: `de` has sixteen small files, `en` one with ten times the text of all of them."""
    folder = tmp_path / "corpus"
    for name in [f"de/{number}.jsonl" for number in range(16)] + ["en/0.jsonl"]:
        lines = [f"{name} hallo welt {number}" for number in range(5 if name.startswith("de") else 800)]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return folder


def test_alpha_weighs_languages_and_not_files(corpus: Path, tmp_path: Path) -> None:
    paths = [f"{corpus}/de/*.jsonl", f"{corpus}/en/*.jsonl"]
    prepared = run(paths, tmp_path / "out", Part.TOKENIZER, tokenizer={"alpha": 0.3})
    assert prepared.tokenizer is not None
    words = {line.source: line.words for line in prepared.tokenizer.sources}
    assert list(words) == ["de", "en"]
    assert words["en"] > 5 * words["de"]
    sources = {row["source"] for shard in read_shards(tmp_path / "out" / "documents") for row in shard}
    assert sources == {"de", "en"}
    ids = {row["doc_id"] for shard in read_shards(tmp_path / "out" / "documents") for row in shard}
    assert {"de/0.jsonl#1", "en/0.jsonl#1"} < ids
    table = pq.read_table(tmp_path / "out" / "tokenizer" / "word_counts.parquet")
    assert set(table["source"].to_pylist()) == {"de", "en"}


def test_the_name_is_what_text_counts_under(corpus: Path, tmp_path: Path) -> None:
    run([f"{corpus}/*/*.jsonl"], tmp_path / "out", input={"name": "web ñ"})
    assert {row["source"] for shard in read_shards(tmp_path / "out" / "documents") for row in shard} == {"web ñ"}


def test_another_name_is_another_run_and_the_same_name_elsewhere_is_not(corpus: Path, tmp_path: Path) -> None:
    run([f"{corpus}/*/*.jsonl"], tmp_path / "out")
    before = read_tree(tmp_path / "out")
    moved = tmp_path / "moved"
    shutil.copytree(corpus, moved)
    with pytest.raises(ConfigError, match=r"input\.sources.*corpus.*moved|input\.sources.*moved.*corpus"):
        run([f"{moved}/*/*.jsonl"], tmp_path / "out")
    run([f"{moved}/*/*.jsonl"], tmp_path / "out", input={"name": "corpus"})
    run([f"{moved}/*/*.jsonl"], tmp_path / "other", input={"name": "corpus"})
    assert read_tree(tmp_path / "out") == read_tree(tmp_path / "other") == before
    (corpus / "en" / "more.jsonl").write_text('{"text": "more"}\n')
    with pytest.raises(StaleArtifactError, match="input files are not those that this run began with"):
        run([f"{corpus}/*/*.jsonl"], tmp_path / "out")
