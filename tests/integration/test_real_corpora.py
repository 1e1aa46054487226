"""The spine on real text; skipped unless MASKMILL_CORPORA names a folder with `ms-cpp-docs.jsonl.zst`."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from maskmill.pipeline.packing.fitting.lower_bound import lower_bound_l2
from tests.integration.runs import (
    PARALLEL_STAGES,
    assert_same_tree,
    prepare,
    read_tree,
    units_of,
    write_run_file,
)
from tests.integration.shards import iter_segments, read_shards

CORPUS = Path(os.environ.get("MASKMILL_CORPORA", "/nonexistent")) / "ms-cpp-docs.jsonl.zst"
NUM_FILES = 9

pytestmark = pytest.mark.skipif(not CORPUS.exists(), reason="MASKMILL_CORPORA is not set")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The C++ documentation in nine files, prepared by each engine."""
    folder = tmp_path_factory.mktemp("real")
    lines = pa.input_stream(str(CORPUS), compression="zstd").read().splitlines(keepends=True)
    (folder / "in").mkdir()
    for number in range(NUM_FILES):
        part = lines[len(lines) * number // NUM_FILES : len(lines) * (number + 1) // NUM_FILES]
        (folder / "in" / f"{number}.jsonl").write_bytes(b"".join(part))
    options = ["documents.shard_mb=2", "tokenizer.vocab_size=16000", "pack.seq_len=512", "input.max_document_mb=64.0"]
    for engine in ("local", "ray"):
        run_file = write_run_file(folder / f"{engine}.toml", "", folder / engine, [f"{folder}/in/*.jsonl"])
        events = prepare(run_file, *options, engine=engine, workers=2).events
        assert all(units_of(events, stage) >= 8 for stage in PARALLEL_STAGES)
    return {engine: folder / engine for engine in ("local", "ray")}


def test_both_engines_write_the_same_bytes(outputs: dict[str, Path]) -> None:
    assert_same_tree(read_tree(outputs["ray"]), read_tree(outputs["local"]))


def test_ids_are_those_of_tokenizers(outputs: dict[str, Path]) -> None:
    output = outputs["local"]
    law = Tokenizer.from_file(str(output / "packed" / "tokenizer.json"))
    law.encode_special_tokens = True
    for documents, rows in zip(read_shards(output / "documents"), read_shards(output / "packed"), strict=True):
        found: dict[int, list[tuple[int, list[int]]]] = defaultdict(list)
        for row in rows:
            for document, offset, segment in iter_segments(row):
                found[document & 0xFFFFFFFF].append((offset, segment[1:-1]))
        texts = [row["text"] for row in documents]
        for index, encoding in enumerate(law.encode_batch_fast(texts, add_special_tokens=False)):
            assert [token for _, tokens in sorted(found[index]) for token in tokens] == encoding.ids


def test_rows_are_next_to_as_few_as_can_be(outputs: dict[str, Path]) -> None:
    for rows in read_shards(outputs["local"] / "packed"):
        lengths = np.array([length for row in rows for length in row["segment_lengths"]])
        bound = lower_bound_l2(lengths, 512)
        assert bound <= len(rows) <= bound + max(1, bound // 1000)
