"""Masked batches a second on one core, against `datasets` with `DataCollatorForLanguageModeling`."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterable
from typing import Any

from jobs.prepare import prepare
from tests.benchmarks.measuring import Figure, find_text, make_run_file

ROWS = 32
SECONDS = 5.0


def measure(scratch: str) -> list[Figure]:
    """Rows of 512, 32 a batch, memory-mapped, dynamic masks of exact counts and everything a batch carries."""
    import torch

    from pipeline.loader import MaskedBatches, Masking

    torch.set_num_threads(1)
    path, name = find_text("eltec-eng", scratch)
    output = os.path.join(scratch, "packing")
    prepare(make_run_file([path], output, workers=1), listen=str)
    packed = os.path.join(output, "packed")
    ours = _tokens_per_second(MaskedBatches(packed, global_batch_rows=ROWS, masking=Masking()))
    work = f"masked batches of {ROWS} rows of 512, {name}"
    return [
        Figure(work, ours, "datasets map-style + collator", _measure_datasets(packed), "M tokens/s"),
    ]


def _tokens_per_second(batches: Iterable[Any]) -> float:
    iterator = iter(batches)
    for _ in range(20):
        next(iterator)
    tokens = 0
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < SECONDS:
        for _ in range(10):
            batch = next(iterator)
            tokens += batch["input_ids"].numel() if isinstance(batch, dict) else batch.input_ids.numel()
    return tokens / elapsed / 1e6


def _measure_datasets(packed: str) -> float:
    from datasets import load_dataset
    from torch.utils.data import DataLoader
    from transformers import AutoTokenizer, DataCollatorForLanguageModeling

    tokenizer = AutoTokenizer.from_pretrained(os.path.join(os.path.dirname(packed), "tokenizer"))
    files = sorted(glob.glob(os.path.join(packed, "shard-*.arrow")))
    dataset = load_dataset("arrow", data_files=files, split="train").select_columns(["input_ids"])
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)

    def forever() -> Iterable[Any]:
        while True:
            yield from DataLoader(dataset, batch_size=ROWS, shuffle=True, collate_fn=collator)

    return _tokens_per_second(forever())
