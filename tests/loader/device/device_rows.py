"""Rows as a loader hands them on before they are masked, what must become of them, and the laziest lawful device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.batches.loss_weights import Weigher
from maskmill.pipeline.loader.device.device_fields import BatchMaker
from maskmill.pipeline.loader.resume.batch_place import BatchPlace
from maskmill.pipeline.loader.rows.row_batch import RowBatch
from maskmill.pipeline.loader.rows.stage_rows import StagedRows
from maskmill.pipeline.masking.numba_masks import mask_rows
from maskmill.pipeline.masking.step_masks import PhaseMasks, StepMasks
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.mask_vocabulary import write_continuation_bits
from maskmill.schemas.masking import Masking
from maskmill.schemas.rows import Per
from tests.loader.datasets import VOCABULARY
from tests.masking.oracle import hash32


def _make_tables(vocab_size: int) -> MaskTables:
    """Tables of a vocabulary whose odd ids continue a word."""
    bits = write_continuation_bits([token % 2 == 1 for token in range(vocab_size)])
    return MaskTables.build(VOCABULARY.model_copy(update={"vocab_size": vocab_size, "continuation_bits": bits}))


def make_maker(
    masking: Masking | None, most: Any, dtype: Any, device: torch.device, stored: Masking | None = None
) -> BatchMaker:
    """What makes batches of rows of a type, with dynamic masks or stored ones."""
    masks = None if masking is None else StepMasks([PhaseMasks(0, masking, TABLES[dtype])])
    vocabulary = TABLES[dtype].vocabulary
    weigher = Weigher(masks, [(Masking(), 1)], vocabulary.cls_id)
    if stored is not None:
        drawn = Weigher(StepMasks([PhaseMasks(0, stored, TABLES[dtype])]), [], vocabulary.cls_id)
        weigher.weigh = drawn.weigh  # `make_rows` stores the masks of each row's own epoch, whatever it is
    return BatchMaker(weigher, most, vocabulary.pad_id, device)


TABLES = {np.uint16: _make_tables(65_536), np.uint32: _make_tables(70_000)}
SHAPES = [(1, 32), (3, 33), (4, 64), (2, 200)]


@st.composite
def row_batches(
    draw: Any,
    *,
    masking: Masking,
    static: bool = False,
    shape: Any = None,
    dtype: Any = None,
    has_pairs: bool | None = None,
) -> RowBatch:
    """Draw a batch whose unused places hold rubbish, as those of a reused buffer do."""
    num_rows, seq_len = shape or draw(st.sampled_from(SHAPES))
    dtype = dtype or draw(st.sampled_from(list(TABLES)))
    kind = draw(st.sampled_from(["full", "one sequence", "padded", "any"]))
    has_pairs = draw(st.booleans()) if has_pairs is None else has_pairs
    seed = draw(st.integers(0, 2**32 - 1))
    epochs = draw(st.lists(st.sampled_from([0, 1, 2, 2**40, 2**63 - 1]), min_size=num_rows, max_size=num_rows))
    return make_rows(seed, num_rows, seq_len, dtype, kind, epochs, masking, static, has_pairs)


def make_rows(
    seed: int,
    num_rows: int,
    seq_len: int,
    dtype: Any,
    kind: str,
    epochs: list[int],
    masking: Masking,
    static: bool,
    has_pairs: bool = False,
) -> RowBatch:
    random = np.random.default_rng(seed)
    tables = TABLES[dtype]
    num_masked = masking.most_predicted(seq_len) if static else 0
    staged = StagedRows(2, num_rows + 1, seq_len, dtype, num_masked, has_pairs=has_pairs)
    for array in arrays_of(staged):
        array[:] = random.integers(0, 2**16, array.shape)
    where = random.permutation(2 * (num_rows + 1))[:num_rows]
    batch = RowBatch(
        staged=staged,
        slots=where // (num_rows + 1),
        places=where % (num_rows + 1),
        epochs=np.array(epochs, np.int64),
        datasets=random.integers(0, 3, num_rows),
        distinct_epochs=sorted(set(epochs)),
        place=BatchPlace(
            epoch=1,
            step=int(random.integers(0, 100)),
            state={"step": seed},
            waited_seconds=float(random.random()),
        ),
    )
    ids = random.integers(5, tables.vocabulary.vocab_size, (num_rows, seq_len))
    specials = random.integers(0, 5, ids.shape)
    ids = np.where(random.random(ids.shape) < random.choice([0.0, 0.1, 1.0]), specials, ids)
    sequences = staged.lists[Per.SEQUENCE]
    for b, (slot, place) in enumerate(zip(batch.slots, batch.places, strict=True)):
        lengths = _draw_lengths(random, seq_len, kind)
        sequences.values["sequence_lengths"][slot, place, : len(lengths)] = lengths
        sequences.counts[slot, place] = len(lengths)
        if has_pairs:
            _split_sequences(random, staged, (slot, place), lengths)
        ids[b, sum(lengths) :] = VOCABULARY.pad_id
    staged.rows[batch.slots, batch.places] = ids
    staged.row_ids[batch.slots, batch.places] = random.integers(0, 2**64, num_rows, np.uint64)
    if static:
        _store_masks(batch, masking, tables)
    return batch


def arrays_of(staged: StagedRows) -> list[np.ndarray[Any, Any]]:
    lists = [array for lists in staged.lists.values() for array in (lists.counts, *lists.values.values())]
    return [staged.rows, staged.row_ids, *lists]


def ids_of(batch: RowBatch) -> np.ndarray[Any, Any]:
    """`(B, S)`, as they are stored."""
    ids: np.ndarray[Any, Any] = batch.staged.rows[batch.slots, batch.places]
    return ids


def _draw_lengths(random: np.random.Generator, seq_len: int, kind: str) -> list[int]:
    lengths: list[int] = []
    if kind == "one sequence":
        return [int(random.integers(3, seq_len + 1))]
    room = seq_len if kind == "full" else int(random.integers(0, seq_len - 2 if kind == "padded" else seq_len + 1))
    while room >= 3:
        length = int(random.integers(3, room + 1))
        length = room if room - length < 3 else length
        lengths.append(length)
        room -= length
    return lengths


def _split_sequences(random: np.random.Generator, staged: StagedRows, place: Any, lengths: list[int]) -> None:
    """Make each sequence a pair of segments, with a label; here a segment may be a special token alone."""
    segments = staged.lists[Per.SEGMENT]
    halves = [(first, length - first) for length in lengths for first in [int(random.integers(1, length))]]
    segments.counts[place] = 2 * len(lengths)
    segments.values["segment_lengths"][place][: 2 * len(lengths)] = np.array(halves, np.uint16).reshape(-1)
    labels = random.integers(0, 2, len(lengths))
    staged.lists[Per.SEQUENCE].values["sequence_labels"][place][: len(lengths)] = labels


def _store_masks(batch: RowBatch, masking: Masking, tables: MaskTables) -> None:
    masks = batch.staged.lists[Per.MASKED]
    for b, (shown, labels) in enumerate(_mask_each(batch, masking, tables)):
        slot, place, positions = batch.slots[b], batch.places[b], np.flatnonzero(labels != -100)
        masks.counts[slot, place] = len(positions)
        masks.values["mask_positions"][slot, place, : len(positions)] = positions
        masks.values["mask_input_ids"][slot, place, : len(positions)] = shown[positions]
        masks.values["mask_labels"][slot, place, : len(positions)] = labels[positions]


def _mask_each(batch: RowBatch, masking: Masking, tables: MaskTables) -> Iterator[tuple[Any, Any]]:
    ids, row_ids = ids_of(batch), batch.row_ids
    for b, epoch in enumerate(batch.epochs.tolist()):
        shown, labels = mask_rows(ids[b : b + 1], row_ids[b : b + 1], epoch, masking, tables)
        yield shown[0], labels[0]


def expect_batch(batch: RowBatch, masking: Masking, tables: MaskTables) -> Batch:
    """The batch of some rows: masks row by row by the compiled loops, the rest by plain counting."""
    num_rows, seq_len = ids_of(batch).shape
    sequences = batch.staged.lists[Per.SEQUENCE]
    masked = list(_mask_each(batch, masking, tables))
    positions: list[list[int]] = []
    segments: list[list[int]] = []
    ends = [0]
    for b in range(num_rows):
        here = batch.slots[b], batch.places[b]
        lengths = sequences.values["sequence_lengths"][here][: sequences.counts[here]].tolist()
        padding = seq_len - sum(lengths)
        positions.append([place for length in [*lengths, padding] for place in range(length)])
        segments.append([n for n, length in enumerate(lengths, 1) for _ in range(length)] + [0] * padding)
        for length in lengths + [padding] * (padding > 0):
            ends.append(ends[-1] + length)
    pairs = _expect_pairs(batch) if batch.staged.has_pairs else {}
    labels = torch.tensor(np.array([labels for _, labels in masked]))
    entries, wanted = list_masked(labels, masking.most_predicted(seq_len))
    return Batch(
        input_ids=torch.tensor(np.array([shown for shown, _ in masked])),
        labels=labels,
        position_ids=torch.tensor(positions),
        segment_ids=torch.tensor(segments, dtype=torch.int32),
        cu_seqlens=torch.tensor(ends, dtype=torch.int32),
        max_seqlen=max(np.diff(ends).tolist()),
        row_ids=torch.tensor(batch.row_ids.view(np.int64)),
        pad_id=VOCABULARY.pad_id,
        datasets=torch.tensor(batch.datasets),
        row_epochs=torch.tensor(batch.epochs),
        masked_positions=entries,
        masked_labels=wanted,
        loss_weights=_weigh_labels(batch, labels, masking, tables),
        **pairs,
        **vars(batch.place),
    )


def _weigh_labels(batch: RowBatch, labels: torch.Tensor, masking: Masking, tables: MaskTables) -> torch.Tensor | None:
    if masking.per_sequence_rate is None or masking.loss_weights == "one":
        return None
    low, high = (round(rate * 10**6) for rate in masking.per_sequence_rate)
    weights = np.zeros(labels.shape, np.float32)
    for b, (ids, row_id, epoch) in enumerate(zip(ids_of(batch), batch.row_ids, batch.epochs, strict=True)):
        rate = 0
        for i, token in enumerate(ids.tolist()):
            if i == 0 or token == tables.vocabulary.cls_id:
                word = hash32("mask_rat", masking.seed, int(epoch), int(row_id), i)
                rate = low + (high - low + 1) * word // 2**32
            if labels[b, i] != -100:
                weights[b, i] = 10**6 / rate
    return torch.tensor(weights)


def _expect_pairs(batch: RowBatch) -> dict[str, Any]:
    """What a batch has of pairs, place by place."""
    num_rows, seq_len = ids_of(batch).shape
    segments, sequences = batch.staged.lists[Per.SEGMENT], batch.staged.lists[Per.SEQUENCE]
    types: list[list[int]] = []
    labels: list[int] = []
    starts: list[int] = []
    for b in range(num_rows):
        here = batch.slots[b], batch.places[b]
        lengths = segments.values["segment_lengths"][here][: segments.counts[here]].tolist()
        row = [number % 2 for number, length in enumerate(lengths) for _ in range(length)]
        types.append(row + [0] * (seq_len - len(row)))
        starts += [b * seq_len + sum(lengths[:number]) for number in range(0, len(lengths), 2)]
        labels += sequences.values["sequence_labels"][here][: sequences.counts[here]].tolist()
    return {
        "token_type_ids": torch.tensor(types),
        "sequence_labels": torch.tensor(labels, dtype=torch.int64),
        "cls_positions": torch.tensor(starts, dtype=torch.int64),
    }


def list_masked(labels: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`masked_positions` and `masked_labels` of labels (B, S), entry by entry."""
    entries: list[int] = []
    wanted: list[int] = []
    for b, row in enumerate(labels.tolist()):
        places = [i for i, label in enumerate(row) if label != -100]
        spare = most - len(places)
        entries += [b * len(row) + i for i in places] + [0] * spare
        wanted += [row[i] for i in places] + [-100] * spare
    return torch.tensor(entries, dtype=torch.int64), torch.tensor(wanted, dtype=torch.int64)


def assert_equal_batches(ours: Batch, law: Batch) -> None:
    for field in fields(Batch):
        one, other = getattr(ours, field.name), getattr(law, field.name)
        if isinstance(other, torch.Tensor):
            assert one.dtype == other.dtype, field.name
            assert one.is_contiguous(), field.name
            assert torch.equal(one.cpu(), other.cpu()), field.name
        else:
            assert one == other, field.name


def copy_batch(batch: Batch) -> Batch:
    values = {field.name: getattr(batch, field.name) for field in fields(Batch)}
    return replace(batch, **{name: v.clone() for name, v in values.items() if isinstance(v, torch.Tensor)})


@dataclass
class LatePending:
    """Reads the host buffer when it is waited for or, of a busy device, after the batch was given out."""

    buffer: torch.Tensor
    make: Callable[[torch.Tensor], Batch]
    is_busy: bool
    given: Batch | None = None
    is_done: bool = False

    def wait_copied(self) -> None:
        if self.given is None:
            self.given = self.make(self.buffer.clone())
        elif not self.is_done:
            made = self.make(self.buffer.clone())
            for name, value in vars(made).items():
                if isinstance(value, torch.Tensor):
                    getattr(self.given, name)[:] = value
        self.is_done = True

    def take(self) -> Batch:
        if self.is_busy and self.given is None:
            self.given = copy_batch(self.make(self.buffer.clone()))  # room for it
            for value in vars(self.given).values():
                if isinstance(value, torch.Tensor):
                    value[:] = 77
        else:
            self.wait_copied()
        assert self.given is not None
        return self.given


class LateStream:
    """A stream to the CPU that does everything as late as it may; counts what it was asked for.

    Args:
        is_busy: Batches are filled after they were given out, as on a device with other work before them; all of them
            by `finish`.
    """

    def __init__(self, *, is_busy: bool = False) -> None:
        self.allocated: list[int] = []
        self.pending: list[LatePending] = []
        self._is_busy = is_busy

    def allocate(self, num_bytes: int) -> torch.Tensor:
        self.allocated.append(num_bytes)
        return torch.full((num_bytes,), 0xA5, dtype=torch.uint8)

    def start(self, buffer: torch.Tensor, make: Callable[[torch.Tensor], Batch]) -> LatePending:
        self.pending.append(LatePending(buffer, make, self._is_busy))
        return self.pending[-1]

    def finish(self) -> None:
        for pending in self.pending:
            pending.wait_copied()
