"""What a sequence builder gets, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.packing.cutting.cut_rules import CutRules
from maskmill.pipeline.packing.cutting.split_documents import Segments
from maskmill.pipeline.packing.cutting.token_columns import TokenColumns
from maskmill.schemas.run_file import PackSection


@dataclass(frozen=True, slots=True)
class Building:
    """The documents of one shard, to be made into rows of one length.

    Attributes:
        columns: The documents, with their sentences where `pack.needs_sentences`.
        pack: How to pack.
        seq_len: Positions in a row.
        document_shard: Number of the document shard.
        seed: Key of random choices, for builders that make some.
    """

    columns: TokenColumns
    pack: PackSection
    seq_len: int
    document_shard: int
    seed: int

    @property
    def rules(self) -> CutRules:
        """The rules by which documents are cut."""
        return CutRules.from_pack(self.pack, self.seq_len)


@dataclass(frozen=True, slots=True)
class Placed:
    """D segments in Q sequences in rows, nothing counted yet but what only a builder knows; see `RowPlan`."""

    segments: Segments
    first_segment: npt.NDArray[np.int64]
    row_of_sequence: npt.NDArray[np.int64]
    num_rows: int
    cuts_to_fill: int = 0
    labels: npt.NDArray[np.uint8] | None = None
    pair_counts: Mapping[str, int] = field(default_factory=dict)


Builder = Callable[[Building], Placed]
"""Makes sequences of documents, and places them in rows."""
