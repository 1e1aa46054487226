"""Take a sample of the documents, an equal share of it for every source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from maskmill.pipeline.storage.arrow_reader import open_documents
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.counting.word_counts import MAX_SOURCES

_BREAKS = " \n\t\r"


def sample_texts(store: Store, shards: Sequence[tuple[str, str]], sample_bytes: int) -> dict[str, list[str]]:
    """Take texts from the beginning of document shards, whose documents are shuffled already.

    Every source is given the same number of bytes; what a source has less of goes to the others. A text that is
    longer than what is left of its source's share is cut, at a space or a line's end if it has one. The shards are
    read twice, first for sizes alone; in memory are one shard and the sample.

    Args:
        store: Of the shards.
        shards: The path and xxh3-128 of each, in order; the first few are enough for a sample.
        sample_bytes: UTF-8 bytes of text to take in all, at most.

    Returns:
        The texts of each source, sources sorted; one source "" where the shards have more than are kept apart.

    Raises:
        ShardCorruptError: The bytes of a shard are not those that were written.
    """
    sizes_bytes: dict[str, int] = {}
    for source, text in _iter_documents(store, shards):
        sizes_bytes[source] = sizes_bytes.get(source, 0) + text.as_buffer().size
    is_apart = len(sizes_bytes) <= MAX_SOURCES
    if not is_apart:
        sizes_bytes = {"": sum(sizes_bytes.values())}
    left = share_bytes(sizes_bytes, sample_bytes)
    texts: dict[str, list[str]] = {source: [] for source in sorted(sizes_bytes)}
    for source, text in _iter_documents(store, shards):
        name = source if is_apart else ""
        if left[name] > 0:
            whole = text.as_py()
            size_bytes = text.as_buffer().size
            if size_bytes > left[name]:
                whole = _cut_text(whole, left[name])
                size_bytes = left[name]
            left[name] -= size_bytes
            texts[name].append(whole)
        if not any(left.values()):
            break
    return texts


def share_bytes(sizes_bytes: dict[str, int], total_bytes: int) -> dict[str, int]:
    """Share out a number of bytes evenly, at most what each source has; the smallest are served first."""
    shares: dict[str, int] = {}
    rest = total_bytes
    for place, source in enumerate(sorted(sizes_bytes, key=lambda source: (sizes_bytes[source], source))):
        shares[source] = min(sizes_bytes[source], rest // (len(sizes_bytes) - place))
        rest -= shares[source]
    return shares


def _iter_documents(store: Store, shards: Sequence[tuple[str, str]]) -> Iterator[tuple[str, pa.StringScalar]]:
    for path, checksum in shards:
        for batch in open_documents(store, path, checksum).iter_batches():
            yield from zip(batch.column("source").to_pylist(), batch.column("text"), strict=True)


def _cut_text(text: str, size_bytes: int) -> str:
    """The text's beginning of at most so many bytes, up to the last break if it has one."""
    beginning = text.encode()[:size_bytes].decode(errors="ignore")
    return beginning[: max(map(beginning.rfind, _BREAKS)) + 1] or beginning
