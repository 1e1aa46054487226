"""A packed dataset to look at from a program: its manifest, any row of it, and its tokenizer.

It reads one block at a time, straight from storage, and checks each before its first row is given. To train on rows
use `MaskedBatches`, which masks, shuffles, prefetches and caches.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.settings import check_url
from maskmill.pipeline.storage.datasets import read_manifest, read_tokenizer, refuse_replaced
from maskmill.pipeline.storage.packed_blocks import PackedBlock, PackedBlocks
from maskmill.pipeline.storage.shard_table import read_shard_table
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import RESTORE, ConfigError, ShardCorruptError
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.rows import MASK_INPUT_IDS, MASK_LABELS, MASK_POSITIONS

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class StoredMask(NamedTuple):
    """One stored copy of the mask of a row, of M masked positions.

    Attributes:
        positions: uint16 (M,), rising.
        input_ids: (M,), what the model reads there.
        labels: (M,), the true ids.
    """

    positions: npt.NDArray[np.uint16]
    input_ids: npt.NDArray[Any]
    labels: npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Row:
    """A row as it is stored, of Q sequences and D segments.

    Attributes:
        row_id: Its number: shard * 2^32 + row in the shard.
        input_ids: uint16 or uint32 (S,), [PAD] behind the last sequence.
        sequence_lengths: uint16 (Q,), tokens that attend to each other.
        segment_lengths: uint16 (D,); special tokens belong to the segment before them, [CLS] to the first.
        segment_document: uint64 (D,), the document that a segment is of: document shard * 2^32 + row in it.
        segment_offset: uint32 (D,), tokens into the document.
        masks: The stored copies.
        sequence_labels: uint8 (Q,), of sequences that are pairs; `None` if they are not.
        word_starts: bool (S,), whether a word starts at a position, in datasets that store what a segmenter found;
            `None` in others.
    """

    row_id: int
    input_ids: npt.NDArray[Any]
    sequence_lengths: npt.NDArray[np.uint16]
    segment_lengths: npt.NDArray[np.uint16]
    segment_document: npt.NDArray[np.uint64]
    segment_offset: npt.NDArray[np.uint32]
    masks: tuple[StoredMask, ...]
    sequence_labels: npt.NDArray[np.uint8] | None = None
    word_starts: npt.NDArray[np.bool_] | None = None


class Dataset:
    """The rows of a packed dataset in their stored order; see `open_dataset`.

    Attributes:
        url: Where it is, without credentials.
        manifest: What it holds and what was counted when it was written.
    """

    def __init__(self, url: str, storage_options: dict[str, Any] | None = None) -> None:
        self._store = open_store(url, storage_options)
        self.url = self._store.display_url
        self.manifest = read_manifest(self._store, PackedManifest)
        self._shards = read_shard_table(self._store, self.manifest)
        self._first_row = np.concatenate([[0], np.cumsum(self._shards.rows)])
        self._reader = PackedBlocks(self.manifest)
        self._held: tuple[tuple[int, int], PackedBlock] | None = None

    @property
    def tokenizer_json(self) -> bytes:
        """The `tokenizer.json` that encoded the rows.

        Raises:
            ShardCorruptError: It is missing, has changed, or did not encode these rows.
        """
        return read_tokenizer(self._store, self.manifest)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that encoded the rows, as the `tokenizers` library has it; `decode(row.input_ids)` gives text.

        Raises:
            ShardCorruptError: It is missing, has changed, or did not encode these rows.
        """
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.tokenizer_json.decode())

    def __len__(self) -> int:
        return int(self._first_row[-1])

    def __iter__(self) -> Iterator[Row]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, row: int) -> Row:
        """A row by its place in the dataset, from 0; a negative place counts from the end.

        Raises:
            ConfigError: There is no such row.
            ShardCorruptError: Its block is not what was written.
            StaleArtifactError: It is gone because the dataset was replaced since it was opened.
        """
        place = self._check_place(row)
        shard = int(np.searchsorted(self._first_row, place, side="right")) - 1
        row_in_shard = place - int(self._first_row[shard])
        number, row_in_block = divmod(row_in_shard, self.manifest.block_rows)
        block = self._read_block(shard, number)
        masks = (lists.values_of(row_in_block) for lists in block.masks.values())
        return Row(
            row_id=int(self._shards.first_row_id[shard]) + row_in_shard,
            input_ids=block.input_ids[row_in_block],
            **block.sequences.values_of(row_in_block),
            **block.segments.values_of(row_in_block),
            word_starts=None if block.word_starts is None else block.word_starts[row_in_block],
            masks=tuple(StoredMask(mask[MASK_POSITIONS], mask[MASK_INPUT_IDS], mask[MASK_LABELS]) for mask in masks),
        )

    def _check_place(self, row: object) -> int:
        try:
            place = None if isinstance(row, bool) else operator.index(row)  # type: ignore[arg-type]  # refuse others below
        except TypeError:
            place = None
        if place is None or not -len(self) <= place < len(self):
            raise ConfigError(
                "the row does not exist",
                path="row",
                expected=f"a whole number below {len(self)}, the rows of {self.url}",
                found=repr(row),
                action="give another row",
            )
        return place % len(self)

    def _read_block(self, shard: int, number: int) -> PackedBlock:
        if self._held is not None and self._held[0] == (shard, number):
            return self._held[1]
        shards, path = self._shards, self._shards.path(shard)
        index = int(shards.first_block[shard]) + number
        try:
            data = self._store.read_range(path, int(shards.block_offsets[index]), int(shards.block_lengths[index]))
        except FileNotFoundError:
            refuse_replaced(self._store, self.manifest, path)
            raise ShardCorruptError(
                "the shard is gone",
                path=self._store.locate(path),
                expected=f"{shards.size_bytes[shard]} bytes",
                found="no file",
                action=RESTORE,
            ) from None
        num_rows = min(self.manifest.block_rows, int(shards.rows[shard]) - number * self.manifest.block_rows)
        block = self._reader.read(
            data,
            int(shards.block_checksums[index]),
            num_rows,
            self._store.locate(path),
            number,
            range(self.manifest.copies),
        )
        self._held = (shard, number), block
        return block


def open_dataset(url: Any, *, storage_options: dict[str, Any] | None = None) -> Dataset:
    """Open a packed dataset to look at its manifest, its rows and its tokenizer.

    For example::

        dataset = open_dataset("out/packed")
        print(dataset.manifest.seq_len, len(dataset))
        print(dataset.tokenizer.decode(dataset[0].input_ids))
        for row in dataset:
            ...

    Args:
        url: The dataset's folder: a path or any fsspec URL.
        storage_options: For the fsspec file system.

    Raises:
        ConfigError: There is no packed dataset, or a newer maskmill wrote it.
        ShardCorruptError: Its manifest or table of shards is damaged.
    """
    return Dataset(check_url(url, "url"), storage_options)
