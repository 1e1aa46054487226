"""How far a block that will be read has come.

announced            a request is under way                 the reader takes it
QUEUED ───────────▶  LOADING ──────────────────▶ CACHED or HELD ──────▶ gone
   ▲                    │                        (on disk) (in memory)
   └──── LATER ◀────────┘ another process downloads it, or store or disk failed: looked at again after a while
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Stage(enum.Enum):
    """How far a block has come."""

    QUEUED = enum.auto()
    LOADING = enum.auto()
    LATER = enum.auto()
    CACHED = enum.auto()
    HELD = enum.auto()
    FAILED = enum.auto()


@dataclass(eq=False, slots=True)
class Upcoming:
    """A block that will be read.

    Attributes:
        shard: Its shard.
        block: Its number there.
        uses: How often it was announced and not read.
        place: Blocks announced before it since `announce`.
        bytes_before: Bytes announced before it.
        stage: How far it has come.
        data: Its bytes where they are held in memory.
        error: Why the last attempt failed.
        check_at: When to look again at what is LATER.
        urgent: Whether a reader waits for it.
        alone: Whether it is downloaded whoever else does so.
        fresh: Whether the copy on disk was bad: the reader gets the downloaded bytes themselves.
    """

    shard: int
    block: int
    uses: int = 0
    place: int = 0
    bytes_before: int = 0
    stage: Stage = Stage.QUEUED
    data: bytes | memoryview | None = None
    error: Exception | None = None
    check_at: float = 0.0
    urgent: bool = False
    alone: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class Run:
    """Neighbouring blocks of a shard that one request asks for.

    Attributes:
        cause: The block whose turn it is.
        blocks: With it, ascending; others between them are passed over.
        num_bytes: Of all of them.
    """

    cause: Upcoming
    blocks: list[int]
    num_bytes: int

    @property
    def passed_over(self) -> set[int]:
        """What lies between them."""
        return set(range(self.blocks[0], self.blocks[-1])).difference(self.blocks)
