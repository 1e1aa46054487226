"""How far a block that will be read has come.

announced            a request is sent                    the reader takes it
QUEUED ──────────▶  LOADING ─────────────▶ CACHED or IN_MEMORY ──────▶ forgotten
   ▲                   │                  (on disk)
   └── POSTPONED ◀─────┘ another process downloads it, or the store or the disk failed: tried again after a while
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Stage(enum.Enum):
    """How far a block has come."""

    QUEUED = enum.auto()
    LOADING = enum.auto()
    POSTPONED = enum.auto()
    CACHED = enum.auto()
    IN_MEMORY = enum.auto()
    FAILED = enum.auto()


@dataclass(eq=False, slots=True)
class WantedBlock:
    """A block that will be read.

    Attributes:
        shard: Its shard.
        block: Its number there.
        reads: How often it was announced and not yet read.
        blocks_before: Blocks announced before it.
        bytes_before: Bytes announced before it.
        stage: How far it has come.
        data: Its bytes where they are in memory.
        error: Why the last attempt failed.
        retry_at: When to try again what is POSTPONED.
        is_awaited: Whether the reader waits for it.
        ignores_claims: Whether it is downloaded even if another process downloads it.
        was_lost: Whether its copy on disk was there and could not be read.
        bypasses_disk: Whether the copy on disk was bad: the reader gets the downloaded bytes themselves.
    """

    shard: int
    block: int
    reads: int = 0
    blocks_before: int = 0
    bytes_before: int = 0
    stage: Stage = Stage.QUEUED
    data: bytes | memoryview | None = None
    error: Exception | None = None
    retry_at: float = 0.0
    is_awaited: bool = False
    ignores_claims: bool = False
    was_lost: bool = False
    bypasses_disk: bool = False


@dataclass(frozen=True)
class Request:
    """Blocks of one extent that are asked for together.

    Attributes:
        cause: The block that comes first in the reader's order.
        blocks: All of them, ascending and neighbours of each other.
        num_bytes: Of all of them.
    """

    cause: WantedBlock
    blocks: list[int]
    num_bytes: int
