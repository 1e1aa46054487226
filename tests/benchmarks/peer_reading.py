"""What a peer's script does with its loader: read the rows once, then measure; runs in the peer's own environment.

Only batches after the first of an epoch count, and the time between them: what a peer does between two epochs (a new
shuffle, barriers, threads) is left out, for a small corpus has many epochs in a few seconds and a real one has few.
That is in the peer's favour; our own figure takes everything in. The pace with the peer's own epoch starts is told
beside it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable

import numpy as np

WINDOWS = 3
BATCH_ROWS = 32


def report(loaders: dict[str, Iterable], num_rows: int, seconds: float) -> None:
    """Measure each way of reading and print a line of JSON.

    Args:
        loaders: By name, what gives the batches of one epoch, tensors `(32, 512)`, each time it is iterated.
        num_rows: In an epoch.
        seconds: Of each of three windows; the best one counts.
    """
    within, whole, token_sums = {}, {}, []
    for name, loader in loaders.items():
        token_sum, rows = _read_epoch(loader)  # warms it up, too
        if rows != num_rows:
            sys.exit(f"{name}: an epoch has {rows} rows, not {num_rows}")
        token_sums.append(token_sum)
        windows = [_measure_window(loader, seconds) for _ in range(WINDOWS)]
        within[name], whole[name] = (max(pace) for pace in zip(*windows, strict=True))
    print(json.dumps({"million_tokens_per_second": within, "with_epoch_starts": whole, "token_sums": token_sums}))


def _read_epoch(epoch: Iterable) -> tuple[int, int]:
    token_sum = rows = 0
    for batch in epoch:
        token_sum += int(np.asarray(batch).sum(dtype=np.int64))
        rows += len(batch)
    return token_sum, rows


def _measure_window(loader: Iterable, seconds: float) -> tuple[float, float]:
    """Million tokens a second within epochs, and with what lies between them."""
    tokens, spent = 0, 0.0
    begun = time.perf_counter()
    while spent < seconds:
        batches = iter(loader)
        next(batches)
        started = time.perf_counter()
        for batch in batches:
            tokens += batch.numel()
        spent += time.perf_counter() - started
    return tokens / spent / 1e6, tokens / (time.perf_counter() - begun) / 1e6
