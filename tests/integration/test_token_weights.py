"""Weights that put rare tokens first, from the words of an output: what counting its text token by token gives."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from maskmill import MaskedBatches, Masking, find_rare_first
from maskmill.pipeline.wordpiece.vocabulary.weigh_pieces import weigh_rare_first
from maskmill.schemas.errors import ConfigError
from tests.integration.conftest import Undisturbed


def test_an_outputs_tokens_weigh_what_its_text_says(undisturbed: Undisturbed) -> None:
    folder = undisturbed.output
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    counts: Counter[int] = Counter()
    for path in sorted((folder / "documents").glob("shard-*.arrow")):
        for text in pa.ipc.open_file(path.read_bytes()).read_all().column("text").to_pylist():
            counts.update(tokenizer.encode(text, add_special_tokens=False).ids)
    size = json.loads((folder / "packed" / "manifest.json").read_bytes())["vocabulary"]["vocab_size"]
    weights = find_rare_first(f"{folder}/tokenizer")
    assert weights == weigh_rare_first(np.array([counts[token] for token in range(size)], np.int64))
    assert max(weights) == 255 > min(weights)
    masking = Masking(token_weights=weights)
    batch = next(iter(MaskedBatches(f"{folder}/packed", global_batch_rows=4, masking=masking)))
    assert (batch.labels != -100).any()
    with pytest.raises(ConfigError, match=f"expected {size}, one for each id.*found {size - 1}"):
        MaskedBatches(f"{folder}/packed", global_batch_rows=4, masking=Masking(token_weights=weights[1:]))


def test_a_folder_without_counts_is_refused(undisturbed: Undisturbed) -> None:
    with pytest.raises(ConfigError, match=r"no counts of words.*word_counts\.parquet"):
        find_rare_first(f"{undisturbed.output}/packed")
    with pytest.raises(ConfigError, match="not a path or URL"):
        find_rare_first(7)
