"""Sequences of one segment: a document, or a piece of one that is longer than a row."""

from __future__ import annotations

import numpy as np

from maskmill.pipeline.packing.cutting.split_documents import Segments, split_documents
from maskmill.pipeline.packing.fitting.best_fit import pack_best_fit
from maskmill.pipeline.packing.fitting.fill_rows import fill_rows
from maskmill.pipeline.packing.sequences.placed import Building, Placed
from maskmill.schemas.run_file import Split


def place_segments(building: Building) -> Placed:
    """Cut documents (see `split_documents`), and put the pieces into rows by best fit (see `pack_best_fit`)."""
    columns, rules = building.columns, building.rules
    segments = split_documents(columns, rules)
    row_of_segment, num_rows = pack_best_fit(segments.lengths, building.seq_len)
    cuts_to_fill = 0
    if rules.split is Split.FILL:
        segments, row_of_segment, num_rows, cuts_to_fill = fill_rows(columns, segments, row_of_segment, num_rows, rules)
    return Placed(segments, np.arange(len(segments) + 1), row_of_segment, num_rows, cuts_to_fill)


def place_documents(building: Building) -> Placed:
    """Cut documents, and give every piece a row of its own."""
    return place_alone(split_documents(building.columns, building.rules))


def place_alone(segments: Segments) -> Placed:
    """Give every segment a row of its own."""
    return Placed(segments, np.arange(len(segments) + 1), np.arange(len(segments)), len(segments))
