"""Arrow text as Python objects, a slice of documents at a time, and the ids of the slices joined again.

`nanotoken` 0.1.0 takes neither Arrow arrays nor views of their memory, only `str` and `bytes` objects. `bytes` of 64 MB
of novels are made in 8 ms; `str` objects take 47 ms and, for what is not ASCII, as much memory again for their UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.wordpiece.encoding.load_encoders import Ids, Offsets

SLICE_BYTES = 1 << 22  # of text alive as Python objects


def iter_contents(texts: pa.ChunkedArray) -> Iterator[list[bytes]]:
    """The texts as UTF-8, in slices of a bounded number of bytes; a longer text is a slice of its own."""
    for chunk in texts.chunks:
        ends = np.cumsum(pc.binary_length(chunk).to_numpy().astype(np.int64))
        start, filled = 0, 0
        while start < len(chunk):
            stop = max(start + 1, int(np.searchsorted(ends, filled + SLICE_BYTES, side="right")))
            yield chunk.slice(start, stop - start).cast(pa.binary()).to_pylist()
            start, filled = stop, int(ends[stop - 1])


def count_special(contents: list[bytes], counts: dict[str, int]) -> None:
    """Count the strings of special tokens in texts."""
    initials = {token.encode()[:1] for token in counts}
    suspects = [content for content in contents if any(initial in content for initial in initials)]
    for token in counts:
        counts[token] += sum(content.count(token.encode()) for content in suspects)


class JoinedIds:
    """Joins the ids of slices of documents, as they come.

    Args:
        dtype: What ids are kept as.
    """

    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype
        self._ids: list[npt.NDArray[Any]] = []
        self._offsets: list[Offsets] = [np.zeros(1, np.int64)]
        self._filled = 0

    def add(self, ids: Ids, offsets: Offsets) -> None:
        """Take the ids of further documents."""
        self._ids.append(ids.astype(self._dtype))
        self._offsets.append(offsets[1:] + self._filled)
        self._filled += len(ids)

    def join(self) -> tuple[npt.NDArray[Any], Offsets]:
        """All ids end to end, and where each document begins and the last one ends."""
        ids = np.concatenate(self._ids) if self._ids else np.zeros(0, self._dtype)
        return ids, np.concatenate(self._offsets)
