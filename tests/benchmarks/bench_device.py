"""`python -m tests.benchmarks.bench_device`: batches on a device, tokens a second, and what they take from a model.

Rows are random, so it needs no corpus. Where there is no CUDA device its lines are named and left out.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator

import torch

from maskmill.pipeline.loader import MaskedBatches, Masking
from maskmill.pipeline.loader.batches.batch import Batch
from tests.benchmarks.measuring import describe_machine
from tests.loader.datasets import write_dataset

SEQ_LEN, VOCAB_SIZE = 512, 30_522
SECONDS = 3.0
WARM_UP_BATCHES = 50
MODEL_WIDTH, NUM_PRODUCTS = 768, 288
"""A stand-in for a training step: as many products of (B * S, 768) and (768, 768)."""


def main() -> None:
    """Measure what there is a device for, and print a line for each."""
    print(f"{describe_machine()}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory(prefix="maskmill-bench-") as scratch:
        folder = os.path.join(scratch, "packed")
        os.makedirs(folder)
        write_dataset(folder, seq_len=SEQ_LEN, vocab_size=VOCAB_SIZE, shard_rows=(4096, 4096), block_rows=256, copies=1)
        measure_host(folder)
        if torch.cuda.is_available():
            print(torch.cuda.get_device_name())
            for rows in (32, 256):
                measure_gpu(folder, rows)
        else:
            print("to_device('cuda'): left out, torch finds no CUDA device here")


def measure_host(folder: str) -> None:
    """Plain iteration beside `to_device("cpu")`, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, masking in (("drawn masks", Masking()), ("stored masks", "static")):
        loader = MaskedBatches(folder, global_batch_rows=32, masking=masking)
        plain, ours = best_of(lambda loader=loader: loader), best_of(lambda loader=loader: loader.to_device("cpu"))
        print(f"32 rows of {SEQ_LEN}, {name}: iterated {plain:.0f} M tokens/s, to_device('cpu') {ours:.0f}")
    torch.set_num_threads(threads)


def measure_gpu(folder: str, num_rows: int) -> None:
    """`to_device("cuda")` alone, moved batches beside it, and what either adds to a step of a stand-in model."""
    loader = MaskedBatches(folder, global_batch_rows=num_rows, masking=Masking())
    sources: dict[str, Callable[[], Iterable[Batch]]] = {
        "to_device('cuda')": lambda: loader.to_device("cuda"),
        "batch.pin_memory().to('cuda')": lambda: (batch.pin_memory().to("cuda", non_blocking=True) for batch in loader),
    }
    step = StandInModel()
    first = next(iter(loader.to_device("cuda")))

    def forever() -> Iterator[Batch]:
        while True:
            yield first

    alone = seconds_per_batch(forever(), step)
    print(f"{num_rows} rows of {SEQ_LEN}: a step on one batch over and over {alone * 1e3:.2f} ms")
    for name, open_source in sources.items():
        rate = best_of(open_source)
        added = seconds_per_batch(open_source(), step) / alone - 1
        waited = seconds_per_batch(open_source(), StandInModel(reads_loss=True))
        waited = waited / seconds_per_batch(forever(), StandInModel(reads_loss=True)) - 1
        print(
            f"{num_rows} rows of {SEQ_LEN}, {name}: {rate:.0f} M tokens/s alone; adds {added:.1%} to a step, "
            f"{waited:.1%} where the loss is read at every step"
        )


class StandInModel:
    """Products the size of a small encoder's."""

    def __init__(self, *, reads_loss: bool = False) -> None:
        self._reads_loss = reads_loss
        self._embed = torch.randn(VOCAB_SIZE, MODEL_WIDTH, device="cuda", dtype=torch.bfloat16)
        self._weight = torch.randn(MODEL_WIDTH, MODEL_WIDTH, device="cuda", dtype=torch.bfloat16) / MODEL_WIDTH**0.5

    def __call__(self, batch: Batch) -> None:
        """One step."""
        hidden = self._embed[batch.input_ids.view(-1)]
        for _ in range(NUM_PRODUCTS):
            hidden = hidden @ self._weight
        predicted = hidden[batch.masked_positions] if batch.masked_positions is not None else hidden
        loss = predicted.float().sum() + batch.labels.sum()
        if self._reads_loss:
            loss.item()


def seconds_per_batch(batches: Iterable[Batch], step: Callable[[Batch], None]) -> float:
    """Seconds a step takes, batches and device included."""
    stream = iter(batches)
    for _ in range(WARM_UP_BATCHES):
        step(next(stream))
    torch.cuda.synchronize()
    started = time.perf_counter()
    steps = 0
    while time.perf_counter() - started < SECONDS:
        for _ in range(20):
            step(next(stream))
        steps += 20
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / steps


def best_of(open_source: Callable[[], Iterable[Batch]], repeats: int = 3) -> float:
    """Million tokens a second, the best of some runs: what else the machine does only ever takes away."""
    return max(_million_tokens_per_second(open_source()) for _ in range(repeats))


def _million_tokens_per_second(batches: Iterable[Batch]) -> float:
    stream = iter(batches)
    for _ in range(WARM_UP_BATCHES):
        next(stream)
    wait_for_device()
    started = time.perf_counter()
    tokens = 0
    while time.perf_counter() - started < SECONDS / 3:
        for _ in range(20):
            tokens += next(stream).input_ids.numel()
    wait_for_device()
    return tokens / (time.perf_counter() - started) / 1e6


def wait_for_device() -> None:
    """Until everything asked of a GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
