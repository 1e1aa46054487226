"""What the receipts of pack units say, for the manifests of the datasets that they wrote to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from maskmill.schemas.counts import EncodingCounts
from maskmill.schemas.receipt import Receipt, ShardReceipt

ENCODING_COUNTS = ("special_in_text", "proof_documents", "proof_bytes", "fallback_shards")
"""What `PackingCounts` says of how documents were encoded."""


def iter_dataset_shards(receipt: Receipt, folder: str) -> Iterator[ShardReceipt]:
    """The shards that a unit wrote to one dataset, in order."""
    return (shard for shard in receipt.shards if shard.path.startswith(f"{folder}/"))


def packing_counts(receipt: Receipt, seq_len: int) -> Counter[str]:
    """What a unit counted for the packed dataset of rows of `seq_len`: `PackingCounts` and `text_bytes`."""
    return Counter(receipt.details["datasets"][str(seq_len)]["counts"])


def encoding_counts(receipt: Receipt) -> Counter[str]:
    """What a unit counted for the encoded dataset: `EncodingCounts` and `text_bytes`."""
    return Counter(receipt.details["encoding"])


def take_encoding(counts: Counter[str], encoding: EncodingCounts) -> Counter[str]:
    """The counts of rows that were packed from encoded shards, with what was counted when those were encoded."""
    return Counter(counts | {name: getattr(encoding, name) for name in ENCODING_COUNTS})


def summarise_fallbacks(receipts: Iterable[Receipt]) -> str | None:
    """One sentence on the shards at which the fast encoder was given up; None where there are none."""
    total, given_up = 0, 0
    first: tuple[Any, str] | None = None
    for receipt in receipts:
        total += 1
        reason = receipt.details["fell_back"]
        if reason is not None:
            given_up += 1
            first = first or (receipt.unit, reason)
    if first is None:
        return None
    return (
        f"{given_up} of {total} document shards were encoded by tokenizers, some 30 times slower, because the fast "
        f"encoder failed its check; first in unit {first[0]}: {first[1]}"
    )
