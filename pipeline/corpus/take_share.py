"""Keep a share of the documents of an input table, the same ones whatever file they are in."""

from __future__ import annotations

from collections import Counter

import xxhash

from maskmill.pipeline.corpus.filters.table import count_dropped
from maskmill.pipeline.corpus.formats.document_block import DocumentBlock
from maskmill.pipeline.corpus.source_tally import SourceTally

SHARE = "input"
"""In place of the name of a filter, where documents are counted that are not in the share."""
_DROPPED = f"{SHARE}: not in its share"


def take_share(
    block: DocumentBlock, share: float, seed: int, counts: Counter[str], sources: SourceTally
) -> DocumentBlock:
    """The documents of a block that are in the share; counts the others as filtered.

    A document is in a share if a hash of its text is below that share of all hashes, so a smaller share is a part of a
    larger one, and of documents with one text all are in it or none. The hash is another than that of their order.

    Args:
        block: The documents.
        share: Above 0, at most 1.
        seed: Key of the hash.
        counts: Where documents are counted.
        sources: The same by source.
    """
    key = xxhash.xxh3_64_intdigest(f"maskmill share {seed}".encode())
    limit = round(share * (1 << 64))
    kept = [row for row, text in enumerate(block.text) if xxhash.xxh3_64_intdigest(text, key) < limit]
    if len(kept) == len(block.text):
        return block
    taken = set(kept)
    for row, source in enumerate(block.source):
        if row not in taken:
            count_dropped(counts, sources, _DROPPED, source)
    return block.take(kept)
