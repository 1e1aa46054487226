"""MosaicML Streaming as its documentation advises; runs in its own environment.

A sample is a row, written by `MDSWriter` uncompressed without hashes (nothing to undo or to check when it is read);
`StreamingDataset(local=..., shuffle=True, batch_size=32)` under torch's `DataLoader` in this process. Two ways to
write a row, in shards of the default 64 MiB:

bytes  which a subclass sees as an array of tokens: what trainers of language models built on it do, and twice as quick
arrays of fixed type and shape, the format's own

The package imports torchvision for its vision datasets; those names are stood in for here.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
import types
import warnings

import numpy as np
from peer_reading import BATCH_ROWS, report
from torch.utils.data import DataLoader


def stand_in(name: str, **members: object) -> types.ModuleType:
    """A module of a few names."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__dict__.update(members)
    sys.modules[name] = module
    return module


stand_in(
    "torchvision",
    datasets=stand_in("torchvision.datasets", VisionDataset=object),
    transforms=stand_in(
        "torchvision.transforms", functional=stand_in("torchvision.transforms.functional", to_tensor=None)
    ),
)
from streaming import MDSWriter, StreamingDataset  # noqa: E402
from streaming.base.util import clean_stale_shared_memory  # noqa: E402


class BytesDataset(StreamingDataset):
    """Rows stored as bytes."""

    def __getitem__(self, at):
        return np.frombuffer(super().__getitem__(at)["input_ids"], np.uint16)


class ArrayDataset(StreamingDataset):
    """Rows stored as arrays."""

    def __getitem__(self, at):
        return super().__getitem__(at)["input_ids"]


def main(path: str, folder: str, seconds: float) -> None:
    """Write what is not written yet, read it."""
    rows = np.load(path, mmap_mode="r")
    clean_stale_shared_memory()
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # stacking copies it anyway
    loaders = {}
    kinds = {"bytes": ("bytes", BytesDataset), "arrays": (f"ndarray:uint16:{rows.shape[1]}", ArrayDataset)}
    for kind, (encoding, dataset_class) in kinds.items():
        output = os.path.join(folder, kind)
        if not os.path.exists(os.path.join(output, "index.json")):
            with MDSWriter(out=output, columns={"input_ids": encoding}) as writer:
                for row in rows:
                    writer.write({"input_ids": row.tobytes() if kind == "bytes" else np.array(row)})
        dataset = dataset_class(local=output, shuffle=True, batch_size=BATCH_ROWS)
        loaders[f"samples of {kind}"] = DataLoader(dataset, batch_size=BATCH_ROWS, num_workers=0)
    report(loaders, len(rows), seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
