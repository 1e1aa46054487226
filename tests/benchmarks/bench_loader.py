"""Masked batches a second on one core, against the loaders that people use instead.

Ours are rows of 512, 32 a batch, memory-mapped, each block checked, with dynamic masks of exact counts and everything
a batch carries (int64 ids, labels and positions, segment numbers, `cu_seqlens`, the state), epoch ends included.

datasets  map-style over the same Arrow files, shuffled, with `DataCollatorForLanguageModeling`: masked as ours are
litdata, MosaicML Streaming   the same token rows written in their own formats and read shuffled, no masks, no
          boundaries, uint16 ids as they are stored: what their users do before they mask anything. How each is used
          and why stands in `peer_litdata` and `peer_mosaicml`; each way that its documentation shows is a line here.

Everything runs in turn on the same core, ours between the peers again, the best window of each counts.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tests.benchmarks import peers
from tests.benchmarks.measuring import Figure, prepare_packed

ROWS = 32
SECONDS = 3.0
UNIT = "M tokens/s"


def measure(scratch: str) -> list[Figure]:
    """Our pace and the peers', from one run."""
    import torch

    from maskmill.pipeline.loader import MaskedBatches, Masking

    torch.set_num_threads(1)
    packed, name = prepare_packed(scratch)
    rows_path = os.path.join(scratch, "rows.npy")
    peers.save_rows(packed, rows_path, ROWS)

    def measure_ours() -> float:
        return max_pace(MaskedBatches(packed, global_batch_rows=ROWS, masking=Masking()))

    ours = [measure_ours()]
    theirs: dict[str, float | str] = {"datasets map-style + collator": max_pace(_open_datasets(packed))}
    for peer in (peers.LITDATA, peers.MOSAICML):
        try:
            found = peers.measure_peer(peer, rows_path, scratch, SECONDS)
            theirs |= {f"{peer.title}, {way}, no masks": pace for way, pace in found.items()}
        except peers.PeerUnavailableError as error:
            theirs[f"{peer.title}, no masks"] = f"none: {error}"
        ours.append(measure_ours())
    work = f"masked batches of {ROWS} rows of 512, {name}"
    return [Figure(work, max(ours), title, figure, UNIT) for title, figure in theirs.items()]


def max_pace(batches: Iterable[Any], windows: int = 2) -> float:
    """Million tokens a second in the best of some windows of an endless stream of batches, after a warm-up."""
    iterator = iter(batches)
    for _ in range(200):
        next(iterator)
    return max(_measure_window(iterator) for _ in range(windows))


def _measure_window(iterator: Iterator[Any]) -> float:
    tokens = 0
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < SECONDS:
        for _ in range(10):
            batch = next(iterator)
            tokens += batch["input_ids"].numel() if isinstance(batch, dict) else batch.input_ids.numel()
    return tokens / elapsed / 1e6


def _open_datasets(packed: str) -> Iterator[Any]:
    from datasets import load_dataset
    from torch.utils.data import DataLoader
    from transformers import AutoTokenizer, DataCollatorForLanguageModeling

    tokenizer = AutoTokenizer.from_pretrained(os.path.join(os.path.dirname(packed), "tokenizer"))
    files = sorted(glob.glob(os.path.join(packed, "shard-*.arrow")))
    dataset = load_dataset("arrow", data_files=files, split="train").select_columns(["input_ids"])
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    while True:
        yield from DataLoader(dataset, batch_size=ROWS, shuffle=True, collate_fn=collator)
