"""Masks of each strategy over packed rows of 512 on one core, beside what people mask with.

Hugging Face's collator masks single tokens, each by itself, and words of which a token was drawn (with [MASK] alone);
it is given rows and offsets as tensors. For spans and n-grams there is no library: their rules are followed in plain
Python, as the papers' own code does.
"""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch

from maskmill.pipeline.loader.blocks.packed_dataset import PackedDataset
from maskmill.pipeline.masking.numba_masks import mask_rows
from maskmill.pipeline.masking.tables import CONTINUES_WORD, UNMASKABLE, MaskTables
from maskmill.pipeline.wordpiece.vocabulary.weigh_pieces import weigh_rare_first
from maskmill.schemas.masking import Masking
from tests.benchmarks.measuring import Figure, prepare_packed, seconds_of
from tests.benchmarks.python_masks import mask_row, select_ngrams, select_spans

NUM_ROWS = 4096
BATCH_ROWS = 32
PEER_ROWS = 256
STRATEGIES: dict[str, dict[str, Any]] = {
    "token": {},
    "token, bernoulli": {"selection": "bernoulli"},
    "whole_word": {"strategy": "whole_word"},
    "ngram": {"strategy": "ngram"},
    "span": {"strategy": "span"},
    "rate for each sequence": {"per_sequence_rate": (0.0, 0.3)},
    "token, rare first": {},
}


def measure(scratch: str) -> list[Figure]:
    """Millions of tokens a second."""
    packed, name = prepare_packed(scratch)
    rows, row_ids, tables = read_rows(packed)
    theirs = _measure_peers(packed, rows[:PEER_ROWS], tables)
    figures = []
    for strategy, settings in STRATEGIES.items():
        weights = _weigh(rows, tables) if strategy == "token, rare first" else None
        masking = Masking(**settings, token_weights=weights)

        def work(masking: Masking = masking) -> None:
            for start in range(0, len(rows), BATCH_ROWS):
                mask_rows(rows[start : start + BATCH_ROWS], row_ids[start : start + BATCH_ROWS], 0, masking, tables)

        work()  # compiles
        ours = rows.size / 1e6 / seconds_of(work, repeats=5)
        peer, figure = theirs[strategy]
        figures.append(Figure(f"masks of rows of 512, {name}: {strategy}", ours, peer, figure, "M tokens/s"))
    return figures


def read_rows(packed: str) -> tuple[Any, Any, MaskTables]:
    """Rows of the first shard, numbers for them, and the tables of their vocabulary."""
    dataset = PackedDataset(packed)
    num_blocks = -(-int(dataset.shards.rows[0]) // dataset.manifest.block_rows)
    blocks = dataset.read_blocks(0, list(range(num_blocks)), [])
    rows = np.concatenate([block.input_ids for block in blocks])[:NUM_ROWS]
    return rows, np.arange(len(rows), dtype=np.uint64), dataset.make_tables(Masking())


def _weigh(rows: Any, tables: MaskTables) -> tuple[int, ...]:
    return weigh_rare_first(np.bincount(rows.reshape(-1), minlength=tables.vocabulary.vocab_size))


def _measure_peers(packed: str, rows: Any, tables: MaskTables) -> dict[str, tuple[str, float]]:
    from transformers import AutoTokenizer, DataCollatorForLanguageModeling

    tokenizer = AutoTokenizer.from_pretrained(
        packed if os.path.exists(f"{packed}/vocab.txt") else f"{packed}/../tokenizer"
    )
    kinds = tables.kinds[rows]
    # Tokens of one character; a blank before each that does not continue a word.
    ends = np.cumsum(1 + (kinds != CONTINUES_WORD), axis=1)
    offsets = torch.from_numpy(np.stack((ends - 1, ends), axis=2))
    special = torch.from_numpy((kinds == UNMASKABLE).astype(np.int64))
    ids = torch.from_numpy(rows.astype(np.int64))

    def collate(collator: Any) -> float:
        def work() -> None:
            for start in range(0, len(rows), BATCH_ROWS):
                batch = slice(start, start + BATCH_ROWS)
                collator.torch_mask_tokens(
                    ids[batch].clone(), special_tokens_mask=special[batch], offset_mapping=offsets[batch]
                )

        return float(rows.size / 1e6 / seconds_of(work, repeats=3))

    def follow(select: Any) -> float:
        listed, rng, table = rows.tolist(), random.Random(0), tables.kinds.tolist()

        def work() -> None:
            for row in listed:
                mask_row(row, table, tables.vocabulary.mask_id, select, rng)

        return float(rows.size / 1e6 / seconds_of(work))

    plain = "DataCollatorForLanguageModeling", collate(DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15))
    words = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15, whole_word_mask=True)
    return {
        "token": plain,
        "token, bernoulli": plain,
        "rate for each sequence": plain,
        "token, rare first": plain,
        "whole_word": ("the same, whole_word_mask", collate(words)),
        "ngram": ("ALBERT's rule in Python", follow(select_ngrams)),
        "span": ("SpanBERT's rule in Python", follow(select_spans)),
    }
