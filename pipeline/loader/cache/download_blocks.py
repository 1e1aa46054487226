"""One request: neighbouring blocks from the store to the disk, each checked on its way.

A block is written as soon as it has come, out of memory that the next one takes: of a run of 40 MiB from S3 one block
is in memory, and what came before a connection broke is kept. Held in memory are blocks that find no room on the disk,
and those that are not whole.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import xxhash

from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.block_writer import BlockWriter
from maskmill.pipeline.loader.cache.cache_locks import Claim
from maskmill.pipeline.loader.cache.plan_fetches import split_runs
from maskmill.pipeline.loader.cache.upcoming_blocks import Run, Stage
from maskmill.pipeline.storage.datasets import ShardTable, explain_gone
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import TransientStorageError

Outcome = tuple[Stage, bytes | memoryview | Exception | None]
Coming = Iterator[tuple[int, memoryview, bool]]
"""A block, its bytes, valid until the next one is drawn, and whether they are whole."""


@dataclass
class _Brought:
    """What has become of a run so far.

    Attributes:
        outcomes: Of blocks.
        written: Bytes in finished files.
    """

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    written: int = 0


class Downloads:
    """Brings runs of one dataset's blocks. Safe to call from several threads.

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

    def bring(self, run: Run, is_announced: Callable[[int, int], bool]) -> dict[int, Outcome]:
        """Bring a run; whatever fails is said of the blocks that did not come.

        Args:
            run: What is wanted.
            is_announced: Whether somebody is going to read a block of a shard.
        """
        brought = _Brought()
        claim: Claim | None = None
        missed: Outcome = (Stage.LATER, None)
        try:
            if self._cache.ledger.takes_blocks and not run.cause.alone:
                claim = self._cache.claim(run.cause.shard, run.blocks)
                if claim is None:
                    return dict.fromkeys(run.blocks, missed)
            self._bring(run, brought, is_announced, keep=claim is not None)
        except TransientStorageError as error:
            missed = (Stage.LATER, error)
        except Exception as error:  # noqa: BLE001  # raised where the block is read
            missed = (Stage.FAILED, error)
        finally:
            if claim is not None:
                claim.release()
        return dict.fromkeys(run.blocks, missed) | brought.outcomes

    def _bring(self, run: Run, brought: _Brought, is_announced: Callable[[int, int], bool], *, keep: bool) -> None:
        shard = run.cause.shard
        missing = []
        for block in run.blocks:
            # Another process may have brought it since this one looked; with the claim in hand none will any more.
            fresh = run.cause.fresh and block == run.cause.block
            if not fresh and self._cache.find(shard, block, look=block == run.blocks[0]) is not None:
                brought.outcomes[block] = (Stage.CACHED, None)
            else:
                missing.append(block)
        lengths = self._shards.block_lengths[int(self._shards.first_block[shard]) :]
        num_bytes = sum(int(lengths[block]) for block in missing)
        if keep and num_bytes and self._cache.ledger.reserve(num_bytes):
            try:
                for blocks in split_runs(missing, run.passed_over):
                    if self._cache.ledger.takes_blocks:
                        self._keep(run, blocks, brought)
            finally:
                self._cache.ledger.settle(num_bytes, brought.written)
            return
        # In memory only what was announced: nobody would ever take the rest.
        for blocks in split_runs([block for block in missing if is_announced(shard, block)], run.passed_over):
            for block, data, _ in self._download(shard, blocks):
                brought.outcomes[block] = (Stage.HELD, bytes(data))

    def _keep(self, run: Run, blocks: list[int], brought: _Brought) -> None:
        """Write blocks to the disk as they come, whole neighbours to one file.

        Ends where the disk does not take a block: what stood in its file went by, and is asked for again.
        """
        shard, fresh = run.cause.shard, run.cause.block if run.cause.fresh else None
        writer: BlockWriter | None = None
        try:
            for block, data, is_whole in self._download(shard, blocks):
                if writer is not None and block != writer.stop:
                    self._finish(writer, shard, brought)
                    writer = None
                if is_whole and writer is None:
                    writer = self._cache.begin(shard, block, blocks[-1] + 1 - block)
                is_kept = is_whole and writer is not None and writer.add(data)
                if not is_kept or block == fresh:
                    brought.outcomes[block] = (Stage.HELD, bytes(data))
                if is_whole and not is_kept:
                    return
        finally:
            if writer is not None:
                self._finish(writer, shard, brought)

    def _finish(self, writer: BlockWriter, shard: int, brought: _Brought) -> None:
        with contextlib.closing(writer):
            if self._cache.finish(writer, shard):
                brought.written += writer.num_bytes
                for block in range(writer.first, writer.stop):
                    brought.outcomes.setdefault(block, (Stage.CACHED, None))

    def _download(self, shard: int, blocks: list[int]) -> Coming:
        """Blocks by one request, those that lie between them passed over; one that is not whole was asked for twice."""
        start = int(self._shards.first_block[shard])
        span = slice(start + blocks[0], start + blocks[-1] + 1)
        offsets = self._shards.block_offsets[span].tolist()
        lengths = self._shards.block_lengths[span].tolist()
        checksums = self._shards.block_checksums[span].tolist()
        sizes = [stop - first for first, stop in zip(offsets, [*offsets[1:], offsets[-1] + lengths[-1]], strict=True)]
        path, wanted = self._shards.path(shard), set(blocks)
        try:
            for place, piece in enumerate(self._store.iter_pieces(path, offsets[0], sizes)):
                self._count(piece)
                if blocks[0] + place in wanted:
                    data = piece[: lengths[place]]
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
