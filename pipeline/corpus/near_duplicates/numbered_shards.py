"""Read the document shards from which near duplicates are to be left out, as the sort stage wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from maskmill.pipeline.corpus.near_duplicates.plan import ShardsUnit
from maskmill.pipeline.corpus.near_duplicates.records import Records
from maskmill.pipeline.corpus.sort_documents import SORT, SortDetails
from maskmill.pipeline.engine.receipts import read_left_receipt
from maskmill.pipeline.storage.arrow_batches import read_block
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.documents import NUMBERED_SCHEMA
from maskmill.schemas.errors import StaleArtifactError
from maskmill.schemas.receipt import ShardReceipt

ROW_BITS = 32
"""A document's number is that of its shard * 2^32 + its row, where held-out shards follow those to train on."""


@dataclass(frozen=True)
class NumberedShard:
    """One of these shards.

    Attributes:
        output: Of the run.
        receipt: Where it is, and its checksums.
        shard: Its number in its dataset.
        number: Its number among those of both datasets.
    """

    output: Store
    receipt: ShardReceipt
    shard: int
    number: int

    def iter_blocks(self) -> Iterator[tuple[pa.RecordBatch, Records]]:
        """Its record batches, and `(N,)` uint64 the numbers of their documents.

        Raises:
            ShardCorruptError: The bytes are not those that were written.
            StaleArtifactError: The file is gone.
        """
        shown, first = self.output.locate(self.receipt.path), self.number << ROW_BITS
        for block, (offset, length, checksum) in enumerate(
            zip(self.receipt.block_offsets, self.receipt.block_lengths, self.receipt.block_checksums, strict=True)
        ):
            try:
                data = self.output.read_range(self.receipt.path, offset, length)
            except FileNotFoundError:
                raise StaleArtifactError(
                    "a shard of sorted documents is gone",
                    path=shown,
                    expected="what the sort stage wrote",
                    found="no file",
                    action="delete work/ in the output, then run the same command again",
                ) from None
            documents = read_block(data, NUMBERED_SCHEMA, checksum, shown, block)
            yield documents, np.arange(first, first + documents.num_rows, dtype=np.uint64)
            first += documents.num_rows


def iter_shards(output: Store, unit: ShardsUnit) -> Iterator[NumberedShard]:
    """The shards of a unit in their order."""
    for number in range(unit.first_unit, unit.stop_unit):
        for receipt in read_left_receipt(output, SORT.name, number, SortDetails).shards:
            shard = receipt.first_row_id >> ROW_BITS
            yield NumberedShard(output, receipt, shard, unit.first_number + shard)
