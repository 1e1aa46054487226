"""The receipts of pack units, from which the manifests of packed datasets are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pydantic import BaseModel, field_validator

from maskmill.pipeline.engine.receipts import receipt_path
from maskmill.schemas.counting import Count
from maskmill.schemas.counts import EncodingCounts, PackingCounts
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.receipt import Details, Named, Receipt, ShardReceipt

ENCODING_COUNTS = ("special_in_text", "proof_documents", "proof_bytes", "fallback_shards")
"""The fields of `PackingCounts` about the encoding of documents."""


class SampleDetails(Details):
    """How much of a document shard was encoded by `tokenizers` too, and whether the ids were equal."""

    documents: Count
    bytes: Count
    is_equal: bool


class PackedDetails(Details):
    """The part of a receipt about one packed dataset.

    Attributes:
        counts: `PackingCounts` and `text_bytes`.
        num_shards: Packed shards.
    """

    counts: Named[Count]
    num_shards: Count

    @field_validator("counts")
    @classmethod
    def _are_complete(cls, counts: dict[str, int]) -> dict[str, int]:
        return _check_names(counts, PackingCounts)


class PackDetails(Details):
    """The result of packing one document shard.

    Attributes:
        datasets: By length of rows.
        encoding: `EncodingCounts` and `text_bytes`.
        sample: What was compared with `tokenizers`; `None` where nothing was.
        fell_back: Why the fast encoder was abandoned here; `None` if it was not.
        sentences_unmatched: Documents in which no sentences were found because they encode to other ids than the whole.
    """

    datasets: Named[PackedDetails]
    encoding: Named[Count]
    sample: SampleDetails | None
    fell_back: str | None
    sentences_unmatched: Count

    @field_validator("encoding")
    @classmethod
    def _are_complete(cls, counts: dict[str, int]) -> dict[str, int]:
        return _check_names(counts, EncodingCounts)


def _check_names(counts: dict[str, int], model: type[BaseModel]) -> dict[str, int]:
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    if missing := sorted({*required, "text_bytes"} - counts.keys()):
        raise ValueError(f"it lacks {', '.join(missing)}")
    return counts


def iter_dataset_shards(receipt: Receipt[PackDetails], folder: str) -> Iterator[ShardReceipt]:
    """The shards that a unit wrote to one dataset, in order."""
    return (shard for shard in receipt.shards if shard.path.startswith(f"{folder}/"))


def packing_counts(receipt: Receipt[PackDetails], seq_len: int) -> Counter[str]:
    """The counts of a unit for the packed dataset with rows of `seq_len`: `PackingCounts` and `text_bytes`.

    Raises:
        ShardCorruptError: It has packed no such dataset.
    """
    datasets = receipt.details.datasets
    if str(seq_len) not in datasets:
        raise ShardCorruptError(
            "a receipt does not say what its unit packed",
            path=receipt_path(receipt.stage, receipt.unit),
            place="details.datasets",
            expected=f"rows of {seq_len}",
            found=", ".join(datasets) or "none",
            action="delete it and run the same command again: its unit runs again",
        )
    return Counter(datasets[str(seq_len)].counts)


def encoding_counts(receipt: Receipt[PackDetails]) -> Counter[str]:
    """The counts of a unit for the encoded dataset: `EncodingCounts` and `text_bytes`."""
    return Counter(receipt.details.encoding)


def take_encoding(counts: Counter[str], encoding: EncodingCounts) -> Counter[str]:
    """The counts of rows that were packed from encoded shards, with what was counted when those were encoded."""
    return Counter(counts | {name: getattr(encoding, name) for name in ENCODING_COUNTS})


def summarise_fallbacks(receipts: Iterable[Receipt[PackDetails]]) -> str | None:
    """One sentence on the shards at which the fast encoder was given up; None where there are none."""
    total, given_up = 0, 0
    first: tuple[int, str] | None = None
    for receipt in receipts:
        total += 1
        reason = receipt.details.fell_back
        if reason is not None:
            given_up += 1
            first = first or (receipt.unit, reason)
    if first is None:
        return None
    return (
        f"{given_up} of {total} document shards were encoded by tokenizers, some 30 times slower, because the fast "
        f"encoder failed its check; first in unit {first[0]}: {first[1]}"
    )
