"""litdata as its documentation advises; runs in litdata's own environment.

Three ways, all with `StreamingDataset(shuffle=True)` and `StreamingDataLoader` with batches of 32 in this process, from
chunks of about 64 MB, ids uint16 as we store them:

tokens   for language models: `optimize(..., item_loader=TokensLoader())` lays tensors of tokens end to end without a
         header for each sample, and the reader cuts them into blocks of 512 again
arrays   for any data: a row is a sample, a dictionary of a NumPy array, read by the default loader
tensors  the same with a torch tensor: a tenth of the pace, though for `TokensLoader` tensors are the quicker ones
"""

from __future__ import annotations

import os
import sys
from functools import partial

import numpy as np
import torch
from litdata import StreamingDataLoader, StreamingDataset, TokensLoader, optimize
from peer_reading import BATCH_ROWS, report

CHUNK_BYTES = 64_000_000
ROWS_A_PART = 1024


class OneField:
    """The batches of a loader of dictionaries of one field."""

    def __init__(self, loader):
        self._loader = loader

    def __iter__(self):
        for batch in self._loader:
            yield batch["input_ids"]


def read_tokens(start: int, path: str):
    """A part of the rows, flat."""
    yield torch.from_numpy(np.load(path, mmap_mode="r")[start : start + ROWS_A_PART].reshape(-1).copy())


def read_samples(start: int, path: str, as_tensor: bool):
    """A part of the rows, one by one."""
    for row in np.load(path, mmap_mode="r")[start : start + ROWS_A_PART]:
        yield {"input_ids": torch.from_numpy(row.copy()) if as_tensor else row.copy()}


def main(path: str, folder: str, seconds: float) -> None:
    """Write what is not written yet, read it."""
    num_rows, seq_len = np.load(path, mmap_mode="r").shape
    parts = list(range(0, num_rows, ROWS_A_PART))

    def write(kind: str, **options: object) -> str:
        output = os.path.join(folder, kind)
        if not os.path.exists(os.path.join(output, "index.json")):
            optimize(inputs=parts, output_dir=output, num_workers=1, reorder_files=False, **options)
        return output

    def read(output: str, **options: object) -> StreamingDataLoader:
        dataset = StreamingDataset(output, shuffle=True, drop_last=True, **options)
        return StreamingDataLoader(dataset, batch_size=BATCH_ROWS, num_workers=0)

    # A chunk of tokens is measured in tokens and holds whole rows.
    chunk_tokens = CHUNK_BYTES // 2 // seq_len * seq_len
    tokens = write("tokens", fn=partial(read_tokens, path=path), chunk_size=chunk_tokens, item_loader=TokensLoader())
    loaders = {"TokensLoader": read(tokens, item_loader=TokensLoader(block_size=seq_len))}
    for kind in ("arrays", "tensors"):
        take = partial(read_samples, path=path, as_tensor=kind == "tensors")
        loaders[f"samples of {kind}"] = OneField(read(write(kind, fn=take, chunk_bytes=CHUNK_BYTES)))
    report(loaders, num_rows, seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
