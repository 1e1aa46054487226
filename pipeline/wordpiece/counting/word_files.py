"""The files of words between stages, and what the next stage needs to validate them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
from pydantic import model_validator

from maskmill.pipeline.storage.arrow_batches import read_block
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.arrow_reader import ArrowFile, open_whole
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.counting import Count
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.layout import RECEIPTS
from maskmill.schemas.receipt import Details, Items, UInt32, UInt64

WORD_FILE_SCHEMA = pa.schema(
    [
        pa.field("word", pa.large_string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)
"""Between stages sources go by name: their numbers differ from unit to unit."""

Block = tuple[int, int, int]
"""Offset, length and xxh3-64 of a record batch."""


class ChecksumDetails(Details):
    """The one file that a unit wrote.

    Attributes:
        checksum: xxh3-128 of the whole file.
    """

    checksum: str


class WordFileDetails(ChecksumDetails):
    """A file of words that a unit wrote.

    Attributes:
        blocks: Offsets, lengths and xxh3-64 of its record batches.
    """

    blocks: tuple[Items[Count], Items[UInt32], Items[UInt64]]

    @model_validator(mode="after")
    def _are_of_the_same_batches(self) -> WordFileDetails:
        if len(set(map(len, self.blocks))) > 1:
            raise ValueError("its lists of blocks are not of the same record batches")
        return self


@dataclass(frozen=True)
class WordFile:
    """A file of words, as its receipt tells of it.

    Attributes:
        checksum: xxh3-128 of the whole file.
        blocks: Its record batches.
    """

    checksum: str
    blocks: tuple[Block, ...]

    @staticmethod
    def of(details: WordFileDetails) -> WordFile:
        """The file that the details of a receipt tell of."""
        return WordFile(details.checksum, tuple(zip(*details.blocks, strict=True)))


def write_words(output: Store, path: str, batches: Iterable[pa.RecordBatch]) -> WordFileDetails:
    """Write record batches of `WORD_FILE_SCHEMA`; returns what a receipt's details are to say of the file."""
    written = write_blocks(output, path, WORD_FILE_SCHEMA, batches)
    blocks = (written.block_offsets, written.block_lengths, written.block_checksums)
    return WordFileDetails(checksum=written.checksum, blocks=blocks)


def read_words(output: Store, path: str, block: Block, place: int) -> pa.RecordBatch:
    """One record batch of a file of words.

    Args:
        output: The store that has the file.
        path: The file.
        block: Which one.
        place: Its number in the file, for messages.

    Raises:
        ShardCorruptError: It is not what was written.
    """
    offset, length, checksum = block
    try:
        data = output.read_range(path, offset, length)
        return read_block(data, WORD_FILE_SCHEMA, checksum, output.locate(path), place)
    except (FileNotFoundError, ShardCorruptError):
        raise explain_unbelievable(output, path) from None


def open_words(output: Store, path: str, checksum: str) -> ArrowFile:
    """A whole file of words.

    Raises:
        ShardCorruptError: It is not what was written.
    """
    try:
        return open_whole(output, path, checksum, WORD_FILE_SCHEMA)
    except ShardCorruptError:
        raise explain_unbelievable(output, path) from None


def explain_unbelievable(output: Store, path: str) -> ShardCorruptError:
    """The error for words of a unit that are gone or have changed; it says how to count them again."""
    return ShardCorruptError(
        "the words that a unit wrote are gone or have changed",
        path=output.locate(path),
        action=f"delete {output.locate(RECEIPTS)} and run the same command again: words are counted again",
    )
