"""One request: neighbouring blocks from the store to the disk, each checked on its way.

A block is written as soon as it has arrived, from memory that the next one reuses: of an extent from S3 one block is in
memory, and what arrived before a connection broke is kept. Blocks stay in memory where the disk has no space for them,
and where their checksum is wrong.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import xxhash

from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.block_states import Request, Stage
from maskmill.pipeline.loader.cache.block_writer import BlockWriter
from maskmill.pipeline.loader.cache.cache_locks import Claim
from maskmill.pipeline.loader.cache.extents import group_neighbours
from maskmill.pipeline.loader.cache.fetch_planner import Outcome
from maskmill.pipeline.storage.datasets import explain_gone
from maskmill.pipeline.storage.shard_table import ShardTable
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import TransientStorageError

Arriving = Iterator[tuple[int, memoryview, bool]]
"""A block, its bytes, valid until the next one is drawn, and whether they are whole."""


@dataclass
class _Progress:
    """The results of a request so far.

    Attributes:
        outcomes: By block.
        written: Bytes in finished files.
    """

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    written: int = 0


class Downloads:
    """Downloads blocks of one dataset. Safe to call from several threads.

    Args:
        store: The dataset's.
        shards: Its blocks.
        cache: Where they are kept.

    Attributes:
        num_bytes: What was downloaded so far.
    """

    def __init__(self, store: Store, shards: ShardTable, cache: BlockCache) -> None:
        self.num_bytes = 0
        self._store = store
        self._shards = shards
        self._cache = cache
        self._lock = threading.Lock()

    def download(self, request: Request, is_announced: Callable[[int, int], bool]) -> dict[int, Outcome]:
        """Download the blocks of a request; an error becomes the outcome of the blocks that did not arrive.

        Args:
            request: What is wanted.
            is_announced: Whether the reader is going to read a block of a shard.
        """
        progress = _Progress()
        claim: Claim | None = None
        missed: Outcome = (Stage.POSTPONED, None)
        try:
            if self._cache.ledger.takes_blocks and not request.cause.ignores_claims:
                claim = self._cache.claim(request.cause.shard, request.blocks)
                if claim is None:
                    return dict.fromkeys(request.blocks, missed)
            self._fill(request, progress, is_announced, keep=claim is not None)
        except TransientStorageError as error:
            missed = (Stage.POSTPONED, error)
        except Exception as error:  # noqa: BLE001  # raised where the block is read
            missed = (Stage.FAILED, error)
        finally:
            if claim is not None:
                claim.release()
        return dict.fromkeys(request.blocks, missed) | progress.outcomes

    def _fill(
        self, request: Request, progress: _Progress, is_announced: Callable[[int, int], bool], *, keep: bool
    ) -> None:
        shard = request.cause.shard
        missing = []
        for block in request.blocks:
            # Another process may have downloaded it since this one looked; with the claim held, none will any more.
            fresh = request.cause.bypasses_disk and block == request.cause.block
            if not fresh and self._cache.find(shard, block, look=block == request.blocks[0]) is not None:
                progress.outcomes[block] = (Stage.CACHED, None)
            else:
                missing.append(block)
        lengths = self._shards.block_lengths[int(self._shards.first_block[shard]) :]
        num_bytes = sum(int(lengths[block]) for block in missing)
        if keep and num_bytes and self._cache.ledger.reserve(num_bytes):
            try:
                for blocks in group_neighbours(missing):
                    if self._cache.ledger.takes_blocks:
                        self._keep(request, blocks, progress)
            finally:
                self._cache.ledger.settle(num_bytes, progress.written)
            return
        # Keep only announced blocks in memory: nobody would take the others.
        for blocks in group_neighbours(block for block in missing if is_announced(shard, block)):
            for block, data, _ in self._iter_blocks(shard, blocks):
                progress.outcomes[block] = (Stage.IN_MEMORY, bytes(data))

    def _keep(self, request: Request, blocks: list[int], progress: _Progress) -> None:
        """Write blocks to the disk as they arrive, neighbours to one file.

        Ends if the disk fails: the blocks of the unfinished file are lost and requested again.
        """
        shard, fresh = request.cause.shard, request.cause.block if request.cause.bypasses_disk else None
        writer: BlockWriter | None = None
        try:
            for block, data, is_whole in self._iter_blocks(shard, blocks):
                if writer is not None and block != writer.stop:
                    self._finish(writer, shard, progress)
                    writer = None
                if is_whole and writer is None:
                    writer = self._cache.begin(shard, block, blocks[-1] + 1 - block)
                is_kept = is_whole and writer is not None and writer.add(data)
                if not is_kept or block == fresh:
                    progress.outcomes[block] = (Stage.IN_MEMORY, bytes(data))
                if is_whole and not is_kept:
                    return
        finally:
            if writer is not None:
                self._finish(writer, shard, progress)

    def _finish(self, writer: BlockWriter, shard: int, progress: _Progress) -> None:
        with contextlib.closing(writer):
            if self._cache.finish(writer, shard):
                progress.written += writer.num_bytes
                for block in range(writer.first, writer.stop):
                    progress.outcomes.setdefault(block, (Stage.CACHED, None))

    def _iter_blocks(self, shard: int, blocks: list[int]) -> Arriving:
        """Download blocks and what lies between them with one request; a damaged one is requested a second time."""
        start = int(self._shards.first_block[shard])
        span = slice(start + blocks[0], start + blocks[-1] + 1)
        offsets = self._shards.block_offsets[span].tolist()
        lengths = self._shards.block_lengths[span].tolist()
        checksums = self._shards.block_checksums[span].tolist()
        path = self._shards.path(shard)
        wanted = set(blocks)
        try:
            for place, data in enumerate(self._store.iter_pieces(path, offsets[0], lengths)):
                self._count(data)
                if blocks[0] + place not in wanted:
                    continue
                is_whole = xxhash.xxh3_64_intdigest(data) == checksums[place]
                if not is_whole:
                    data = memoryview(self._store.read_range(path, offsets[place], lengths[place]))
                    self._count(data)
                    is_whole = xxhash.xxh3_64_intdigest(data) == checksums[place]
                yield blocks[0] + place, data, is_whole
        except FileNotFoundError:
            raise explain_gone(self._store.locate(path)) from None

    def _count(self, data: memoryview) -> None:
        with self._lock:
            self.num_bytes += len(data)
