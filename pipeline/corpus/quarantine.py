"""Rejected inputs of a unit, kept for a person to look at, in files of bounded size."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline.corpus.read_documents import Reject
from pipeline.storage.arrow_files import write_blocks
from pipeline.storage.store import Store
from schemas.documents import QUARANTINE_SCHEMA
from schemas.layout import QUARANTINE

PART_BYTES = 64 << 20
REJECT_OVERHEAD_BYTES = 256
_INPUTS = f"{QUARANTINE}/inputs-"


class Quarantine:
    """Collects rejected inputs and writes them in parts, cut by their sizes alone.

    Args:
        output: The run's output.
        unit: Number of the map unit they come from.
    """

    def __init__(self, output: Store, unit: int) -> None:
        self._output = output
        self._unit = unit
        self._parts = 0
        self._rejects: list[Reject] = []
        self._bytes = 0
        self.first: Reject | None = None

    def add(self, rejects: Sequence[Reject]) -> None:
        """Take some more; a part that is full is written."""
        for reject in rejects:
            self.first = self.first or reject
            self._rejects.append(reject)
            self._bytes += len(reject.content) + REJECT_OVERHEAD_BYTES
            if self._bytes >= PART_BYTES:
                self.write()

    def write(self) -> None:
        """Write what has been taken since the last part, if anything."""
        if not self._rejects:
            return
        columns = zip(*((r.path, r.line, str(r.reason), r.size_bytes, r.content) for r in self._rejects), strict=True)
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, QUARANTINE_SCHEMA, strict=True)]
        batch = pa.record_batch(arrays, schema=QUARANTINE_SCHEMA)
        write_blocks(self._output, quarantine_path(self._unit, self._parts), QUARANTINE_SCHEMA, [batch])
        self._parts += 1
        self._rejects, self._bytes = [], 0


def quarantine_path(unit: int, part: int) -> str:
    """Where a map unit's rejected inputs stand; a further part begins when one holds 64 MiB."""
    return f"{_INPUTS}{unit:06d}-{part:03d}.arrow"


def is_of_inputs(path: str) -> bool:
    """Whether a file of the quarantine holds rejected inputs, not documents that could not be packed."""
    return path.startswith(_INPUTS)
