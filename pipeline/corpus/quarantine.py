"""Keep the rejected inputs of a unit for inspection, in files of bounded size."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from maskmill.pipeline.corpus.formats.document_block import Reject
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.arrow_reader import ArrowFile
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.documents import QUARANTINE_SCHEMA
from maskmill.schemas.layout import QUARANTINE, is_of_quarantined_inputs, quarantined_inputs_path

PART_BYTES = 64 << 20
REJECT_OVERHEAD_BYTES = 256
EXAMPLE_BYTES = 64
MAX_EXAMPLE_PARTS = 64
"""Files of the quarantine that are searched for examples."""


@dataclass(frozen=True)
class Example:
    """A rejected input: its file, its line, from where that is counted, and how it begins."""

    path: str
    line: int
    first_byte: int
    start: bytes

    def __str__(self) -> str:
        return f"{self.path} line {self.line}" + (f" from byte {self.first_byte} on" if self.first_byte else "")


class Quarantine:
    """Collects rejected inputs and writes them in parts, cut by their sizes alone.

    Args:
        output: The run's output.
        unit: Number of the map unit they come from.
    """

    def __init__(self, output: Store, unit: int) -> None:
        self._output = output
        self._unit = unit
        self._rejects: list[tuple[Reject, int]] = []
        self._bytes = 0
        self.examples: dict[str, Example] = {}
        """The first of each reason."""
        self.checksums: list[str] = []
        """xxh3-128 of each part that was written."""

    def add(self, rejects: Sequence[Reject], first_byte: int = 0) -> None:
        """Add some; a part that is full is written.

        Args:
            rejects: Of one file.
            first_byte: From where in it their lines are counted.
        """
        for reject in rejects:
            if reject.reason not in self.examples:
                example = Example(reject.path, reject.line, first_byte, reject.content[:EXAMPLE_BYTES])
                self.examples[str(reject.reason)] = example
            self._rejects.append((reject, first_byte))
            self._bytes += len(reject.content) + REJECT_OVERHEAD_BYTES
            if self._bytes >= PART_BYTES:
                self.write()

    def write(self) -> None:
        """Write what was added since the last part, if anything."""
        if not self._rejects:
            return
        rows = [(r.path, r.line, first, str(r.reason), r.size_bytes, r.content) for r, first in self._rejects]
        columns = zip(*rows, strict=True)
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, QUARANTINE_SCHEMA, strict=True)]
        batch = pa.record_batch(arrays, schema=QUARANTINE_SCHEMA)
        path = quarantined_inputs_path(self._unit, len(self.checksums))
        self.checksums.append(write_blocks(self._output, path, QUARANTINE_SCHEMA, [batch]).checksum)
        self._rejects, self._bytes = [], 0


def find_examples(output: Store, reasons: Collection[str]) -> dict[str, Example]:
    """The first input that the units of a run have rejected for each of some reasons, in the order of the units."""
    examples: dict[str, Example] = {}
    parts = sorted(path for path in output.list(QUARANTINE) if is_of_quarantined_inputs(path))
    for part in parts[:MAX_EXAMPLE_PARTS]:
        with output.open_input(part, whole=True) as file:
            for batch in ArrowFile(file, QUARANTINE_SCHEMA, output.locate(part)).iter_batches():
                for row, reason in enumerate(batch["reason"].to_pylist()):
                    if reason not in examples:
                        of_row = batch.slice(row, 1).to_pylist()[0]
                        place = (of_row["path"], of_row["line"], of_row["first_byte"])
                        examples[reason] = Example(*place, of_row["content"][:EXAMPLE_BYTES])
                if examples.keys() >= set(reasons):
                    return examples
    return examples
