"""Interfaces of what a training run reads: the loop depends on these, not on the loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from maskmill.pipeline.loader.batches.gather_steps import MicroBatch
from maskmill.pipeline.training.masked_loss import TrainingBatch
from maskmill.schemas.mask_vocabulary import MaskVocabulary
from maskmill.schemas.masking import Masking


class LoadedBatch(TrainingBatch, MicroBatch, Protocol):
    """A micro-batch that knows its place in the order."""

    @property
    def epoch(self) -> int:
        """The epoch, from 0."""

    @property
    def step(self) -> int:
        """The global batch within the epoch, from 0."""

    @property
    def waited_seconds(self) -> float:
        """How long storage was waited for."""


class ResumableBatches(Protocol):
    """An endless, resumable source of micro-batches."""

    def __iter__(self) -> Iterator[LoadedBatch]:
        """Go on from the state that was loaded, or from the start."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from here."""


@dataclass(frozen=True)
class TrainData:
    """All that a run reads.

    Attributes:
        fingerprint: The identity of the packed dataset, or of all of them.
        seq_len: Tokens of a row.
        vocab_size: Rows of the embedding.
        pad_id: Id of [PAD].
        mask_id: Id of [MASK].
        vocabulary: What masks need to know of the pieces.
        tokenizer_json: The dataset's tokenizer.
        batches: Rows to train on.
        state_after: Gives the state of `batches` after so many global batches.
        masking: How they are masked.
        open_held_out: Gives all held-out rows, masked in the same way every time; None where there are none.
    """

    fingerprint: str
    seq_len: int
    vocab_size: int
    pad_id: int
    mask_id: int
    vocabulary: MaskVocabulary
    tokenizer_json: bytes
    batches: ResumableBatches
    state_after: Callable[[int], dict[str, Any]]
    masking: Masking
    open_held_out: Callable[[], Iterable[TrainingBatch]] | None
