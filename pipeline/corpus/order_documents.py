"""Sort documents by hash in bounded memory, however many there are and however often one of them occurs.

What fits is sorted in memory. The rest is spread over scratch files by intervals of the hash, each of which is sorted
in turn; documents with one hash need no sorting and are passed on in their order.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.corpus.exchange import EXCHANGE_SCHEMA
from maskmill.pipeline.corpus.hash_documents import Comparison, find_duplicates, sort_by_hash
from maskmill.pipeline.storage.arrow_reader import ArrowFile
from maskmill.pipeline.storage.failures import explained_failures

FAN_OUT = 16
_MAX_HASH = (1 << 64) - 1
Ordered = tuple[pa.Table, list[str]]
"""Documents in order, and the source of each duplicate that was dropped from among them."""


@dataclass
class Scratch:
    """Documents set aside on this machine's disk, and the interval of their hashes."""

    path: str
    size_bytes: int = 0
    high: tuple[int, int] = (_MAX_HASH, 0)
    low: tuple[int, int] = (_MAX_HASH, 0)

    def read(self) -> Iterator[pa.RecordBatch]:
        """The documents in the order they were set aside; the file is deleted at their end."""
        if not self.size_bytes:
            return
        with explained_failures(self.path), pa.OSFile(self.path, "rb") as file:
            yield from ArrowFile(file, EXCHANGE_SCHEMA, self.path).iter_batches()
        os.unlink(self.path)

    def _widen(self, batch: pa.RecordBatch) -> None:
        for name in ("high", "low"):
            hashes = batch.column(f"hash_{name}").to_numpy()
            least, most = getattr(self, name)
            setattr(self, name, (min(least, int(hashes.min())), max(most, int(hashes.max()))))


def spread_over_scratch(
    pieces: Iterable[pa.RecordBatch],
    part_of: Callable[[pa.RecordBatch], npt.NDArray[np.int64]],
    num_parts: int,
    folder: str,
) -> list[Scratch]:
    """Set documents aside in parts, in the order they come within each part.

    Args:
        pieces: Documents with their hashes, no piece empty.
        part_of: `(N,)` number of the part of each document of a piece.
        num_parts: A file is open for each.
        folder: On this machine's disk.

    Raises:
        ConfigError: The disk is full; TMPDIR says which it is.
    """
    parts = [Scratch(os.path.join(folder, uuid.uuid4().hex)) for _ in range(num_parts)]
    files: dict[int, pa.NativeFile] = {}
    writers: dict[int, pa.ipc.RecordBatchFileWriter] = {}
    try:
        for piece in pieces:
            number = part_of(piece)
            order = np.argsort(number, kind="stable")
            found, starts = np.unique(number[order], return_index=True)
            stops = [*starts[1:].tolist(), len(order)]
            with explained_failures(folder):
                for part, start, stop in zip(found.tolist(), starts.tolist(), stops, strict=True):
                    if part not in writers:
                        files[part] = pa.OSFile(parts[part].path, "wb")
                        writers[part] = pa.ipc.new_file(files[part], EXCHANGE_SCHEMA)
                    rows = piece.take(pa.array(order[start:stop]))
                    writers[part].write_batch(rows)
                    parts[part].size_bytes += rows.nbytes
                    parts[part]._widen(rows)  # noqa: SLF001
        with explained_failures(folder):
            for writer in writers.values():
                writer.close()
    finally:
        for file in files.values():
            file.close()
    return parts


def order_documents(
    pieces: Iterable[pa.RecordBatch], compare: Comparison | None, limit_bytes: int, folder: str
) -> Iterator[Ordered]:
    """Tables of documents in the order of their hashes, each with the sources of the duplicates that it lost.

    Equal hashes keep the order they came in, and of equal texts the first stays.

    Args:
        pieces: Documents with their hashes, in any number of batches, none of them empty.
        compare: What of documents is compared to drop those equal to an earlier one; `None` to drop none.
        limit_bytes: What may be sorted in memory at once; below 2 GiB, Arrow's limit of 32-bit offsets.
        folder: Folder for scratch files.

    Raises:
        ConfigError: The disk is full.
    """
    pieces = iter(pieces)
    held: list[pa.RecordBatch] = []
    held_bytes = 0
    for piece in pieces:
        held.append(piece)
        held_bytes += piece.nbytes
        if held_bytes > limit_bytes and sum(batch.num_rows for batch in held) > 1:
            break
    else:
        yield _sort_in_memory(held, compare)
        return
    everything = itertools.chain(held, pieces)
    del held
    whole = Scratch("", high=(0, _MAX_HASH), low=(0, _MAX_HASH))
    for part in _split(everything, whole, folder):
        yield from order_scratch(part, compare, limit_bytes, folder)


def order_scratch(part: Scratch, compare: Comparison | None, limit_bytes: int, folder: str) -> Iterator[Ordered]:
    """Like `order_documents`, for documents in a scratch file."""
    if part.size_bytes <= limit_bytes:
        yield _sort_in_memory(list(part.read()), compare)
    elif part.high[0] == part.high[1] and part.low[0] == part.low[1]:
        yield from _pass_on(part.read(), compare)
    else:
        for inner in _split(part.read(), part, folder):
            yield from order_scratch(inner, compare, limit_bytes, folder)


def _split(pieces: Iterable[pa.RecordBatch], interval: Scratch, folder: str) -> list[Scratch]:
    """Spread documents over 16 equal intervals of the hash's upper half, or of the lower where the upper is one."""
    name = "high" if interval.high[0] < interval.high[1] else "low"
    first, last = getattr(interval, name)
    width = np.uint64((last - first) // FAN_OUT + 1)

    def part_of(piece: pa.RecordBatch) -> npt.NDArray[np.int64]:
        hashes = piece.column(f"hash_{name}").to_numpy()
        part: npt.NDArray[np.int64] = ((hashes - np.uint64(first)) // width).astype(np.int64)
        return part

    return spread_over_scratch(pieces, part_of, FAN_OUT, folder)


def _pass_on(pieces: Iterable[pa.RecordBatch], compare: Comparison | None) -> Iterator[Ordered]:
    seen: set[bytes] = set()
    for piece in pieces:
        kept = list(range(piece.num_rows))
        if compare is not None:
            kept = []
            for row, text in enumerate(map(compare, piece.column("text").cast(pa.binary()).to_pylist())):
                if text not in seen:
                    seen.add(text)
                    kept.append(row)
        dropped = np.ones(piece.num_rows, np.bool_)
        dropped[kept] = False
        yield pa.Table.from_batches([piece.take(pa.array(kept, pa.int64()))]), _sources(piece, np.flatnonzero(dropped))


def _sort_in_memory(pieces: list[pa.RecordBatch], compare: Comparison | None) -> Ordered:
    table = pa.Table.from_batches(pieces, schema=EXCHANGE_SCHEMA)
    high = table.column("hash_high").to_numpy()
    low = table.column("hash_low").to_numpy()
    order = sort_by_hash(high, low)
    duplicates: list[str] = []
    if compare is not None and len(order):
        high, low = high[order], low[order]
        repeated = np.zeros(len(order), dtype=np.bool_)
        repeated[1:] = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
        suspects = np.flatnonzero(repeated | np.append(repeated[1:], False))
        if len(suspects):
            texts = table.column("text").cast(pa.binary())
            candidates = texts.take(pa.array(order[suspects])).to_pylist()
            repeated[suspects] = find_duplicates(high[suspects], low[suspects], candidates, compare)
        duplicates = _sources(table, order[repeated])
        order = order[~repeated]
    return table.take(pa.array(order)), duplicates


def _sources(documents: pa.Table | pa.RecordBatch, rows: npt.NDArray[np.int64]) -> list[str]:
    sources: list[str] = documents.column("source").take(pa.array(rows)).to_pylist() if len(rows) else []
    return sources
