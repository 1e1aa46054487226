"""Decide what goes into which row, from where documents start and end in their token ids.

    documents -> segments -> sequences -> rows

How sequences are made and placed is looked up in the table of builders; what became of the documents is counted here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.packing.cutting.cut_rules import CutRules, max_segment_tokens
from maskmill.pipeline.packing.cutting.split_documents import split_documents
from maskmill.pipeline.packing.cutting.token_columns import TokenColumns
from maskmill.pipeline.packing.fitting.lower_bound import lower_bound_l2
from maskmill.pipeline.packing.sequences.builders import find_builder
from maskmill.pipeline.packing.sequences.placed import Building, Placed
from maskmill.pipeline.packing.sequences.row_plan import RowPlan, measure_sequences
from maskmill.pipeline.packing.sequences.segments import place_alone
from maskmill.schemas.layout import DataSplit, packed_folders
from maskmill.schemas.run_file import PackSection, Split


def plan_rows(columns: TokenColumns, pack: PackSection, document_shard: int = 0, seed: int = 0) -> dict[int, RowPlan]:
    """Plans the rows of every dataset that is asked for.

    The builder of `pack.sequences` or `pack.pairs` makes them (see `builders`); with length bins, every document or
    piece of one has a row of its own, in the dataset of the shortest length that holds it. The plan is a function of
    the arguments alone.

    Args:
        columns: The documents, with their sentences where `pack.needs_sentences`; else these are not used.
        pack: How to pack.
        document_shard: Number of the document shard, on which random choices depend.
        seed: Key of random choices, if the builder makes any.

    Returns:
        A plan for each length of rows, in the order of `maskmill.schemas.layout.packed_folders`.

    Raises:
        ValueError: Sentences are missing.
    """
    if pack.needs_sentences and columns.sentence_starts is None:
        raise ValueError("sentence_starts: expected a flag for every token, to find sentences")
    if not pack.needs_sentences:
        columns = columns.without_sentences()
    lengths = list(packed_folders(pack, DataSplit.TRAIN))
    if pack.length_bins:
        return _plan_bins(columns, pack, lengths)
    return {seq_len: _plan_one(Building(columns, pack, seq_len, document_shard, seed)) for seq_len in lengths}


@dataclass(frozen=True, slots=True)
class _Tally:
    """The documents of one dataset; see `RowPlan`. `with_tokens` are packed or unpaired."""

    with_tokens: int
    without_tokens: int
    too_long: npt.NDArray[np.int64]
    tokens_encoded: int


def _plan_one(building: Building) -> RowPlan:
    tokens = building.columns.document_tokens
    too_long = _find_too_long(tokens, building.pack, building.seq_len)
    without_tokens = int(np.count_nonzero(tokens == 0))
    tally = _Tally(
        with_tokens=tokens.size - without_tokens - too_long.size,
        without_tokens=without_tokens,
        too_long=too_long,
        tokens_encoded=int(tokens.sum() - tokens[too_long].sum()),
    )
    return _count(building.columns, find_builder(building.pack)(building), building.seq_len, tally)


def _find_too_long(tokens: npt.NDArray[np.int64], pack: PackSection, seq_len: int) -> npt.NDArray[np.int64]:
    if pack.split is not Split.NEVER:
        return np.empty(0, np.int64)
    return np.flatnonzero(tokens > max_segment_tokens(seq_len))


def _plan_bins(columns: TokenColumns, pack: PackSection, bins: list[int]) -> dict[int, RowPlan]:
    """One document, or piece of one, a row; each in the shortest rows that hold it.

    Tokens of a bin's documents are counted from where documents start and end, and those of their pieces in other
    bins, which only documents longer than the longest bin have, moved to those bins.
    """
    tokens = columns.document_tokens
    too_long = _find_too_long(tokens, pack, bins[-1])
    segments = split_documents(columns, CutRules.from_pack(pack, bins[-1]))
    bin_of_segment = np.searchsorted([max_segment_tokens(length) for length in bins], segments.num_tokens)
    begins = segments.start == 0
    home = np.where(tokens > 0, len(bins) - 1, -1)  # so that a document that lost its first segment is missed there
    home[too_long] = -1
    home[segments.document[begins]] = bin_of_segment[begins]
    moved = np.flatnonzero(bin_of_segment != home[segments.document])
    plans = {}
    for index, seq_len in enumerate(bins):
        left = moved[home[segments.document[moved]] == index]
        came = moved[bin_of_segment[moved] == index]
        tally = _Tally(
            with_tokens=int(np.count_nonzero(home == index)),
            without_tokens=int(np.count_nonzero(tokens == 0)) if index == 0 else 0,
            too_long=too_long if seq_len == bins[-1] else too_long[:0],
            tokens_encoded=int(
                tokens[home == index].sum()
                - segments.num_tokens[left].sum(dtype=np.int64)
                + segments.num_tokens[came].sum(dtype=np.int64)
            ),
        )
        plans[seq_len] = _count(columns, place_alone(segments.select(bin_of_segment == index)), seq_len, tally)
    return plans


def _count(columns: TokenColumns, placed: Placed, seq_len: int, tally: _Tally) -> RowPlan:
    segments = placed.segments
    # Segments of pairs repeat, and lose tokens: they have counts of their own.
    is_cut = np.zeros(len(segments), np.bool_) if placed.pair_counts else segments.start > 0
    cut_before = columns.offsets[segments.document[is_cut]] + segments.start[is_cut]
    lengths = measure_sequences(segments, placed.first_segment)
    places = int(lengths.sum(dtype=np.int64))
    starts = columns.sentence_starts
    return RowPlan(
        seq_len=seq_len,
        segments=segments,
        first_segment=placed.first_segment,
        row_of_sequence=placed.row_of_sequence,
        num_rows=placed.num_rows,
        documents=tally.with_tokens + tally.without_tokens + tally.too_long.size,
        packed=tally.with_tokens - placed.pair_counts.get("unpaired", 0),
        without_tokens=tally.without_tokens,
        too_long=tally.too_long,
        tokens_encoded=tally.tokens_encoded,
        cuts=int(np.count_nonzero(is_cut)),
        cuts_to_fill=placed.cuts_to_fill,
        cuts_inside_sentences=0 if starts is None else int(np.count_nonzero(~starts[cut_before])),
        cuts_inside_words=int(np.count_nonzero(columns.is_continuation[columns.ids[cut_before]])),
        special_tokens=lengths.size + len(segments),
        padding=placed.num_rows * seq_len - places,
        rows_lower_bound_l1=-(-places // seq_len),
        rows_lower_bound_l2=lower_bound_l2(lengths, seq_len),
        labels=placed.labels,
        pair_counts=placed.pair_counts,
    )
