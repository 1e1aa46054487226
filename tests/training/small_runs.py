"""A tiny dataset in memory with a loader of the real one's shape, and train files for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor

from maskmill.pipeline.training.train_data import TrainData
from maskmill.schemas.mask_vocabulary import MaskVocabulary
from maskmill.schemas.masking import IGNORE_INDEX, Masking
from maskmill.schemas.train_file import TrainFile

VOCAB_SIZE, SEQ_LEN, NUM_ROWS = 40, 12, 20
PAD, UNK, CLS, SEP, MASK = range(5)
VOCABULARY = MaskVocabulary(
    vocab_size=VOCAB_SIZE, pad_id=PAD, unk_id=UNK, cls_id=CLS, sep_id=SEP, mask_id=MASK, excluded_ranges=((0, 5),)
)
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@dataclass(frozen=True)
class Batch:
    """Rows that hold one or two sequences and, some of them, padding."""

    input_ids: Tensor
    labels: Tensor
    segment_ids: Tensor
    row_ids: Tensor
    epoch: int
    step: int
    state: dict[str, Any]
    rows_before: int = 0
    waited_seconds: float = 0.25
    sequence_labels: Tensor | None = None
    cls_positions: Tensor | None = None
    loss_weights: Tensor | None = None

    def model_inputs(self, layout: str, _model: Any = None) -> dict[str, Any]:
        assert layout == "sdpa"
        same = self.segment_ids[:, None, :, None] == self.segment_ids[:, None, None, :]
        columns = torch.arange(self.segment_ids.shape[1]).expand_as(self.segment_ids)
        starts = torch.ones_like(self.segment_ids, dtype=torch.bool)
        starts[:, 1:] = self.segment_ids[:, 1:] != self.segment_ids[:, :-1]
        positions = columns - torch.where(starts, columns, 0).cummax(1).values
        return {
            "input_ids": self.input_ids,
            "attention_mask": same,
            "position_ids": positions,
        }

    def model_labels(self, layout: str) -> Tensor:
        assert layout == "sdpa"
        return self.labels

    def model_weights(self, layout: str) -> Tensor | None:
        assert layout == "sdpa"
        return self.loss_weights


def make_rows(num_rows: int = NUM_ROWS) -> tuple[Tensor, Tensor]:
    """Rows of ids, low ones the most frequent, and their segments; row r has r % 5 places of padding."""
    generator = torch.Generator().manual_seed(7)
    weights = 1.0 / torch.arange(1, VOCAB_SIZE - 4)
    draws = torch.multinomial(weights, num_rows * SEQ_LEN, replacement=True, generator=generator)
    ids = (draws + 5).reshape(num_rows, SEQ_LEN)
    segments = torch.ones(num_rows, SEQ_LEN, dtype=torch.int32)
    for row in range(num_rows):
        end = SEQ_LEN - row % 5
        ids[row, 0], ids[row, end - 1], ids[row, end:] = CLS, SEP, PAD
        segments[row, end:] = 0
        if row % 2:
            ids[row, 4], ids[row, 5], segments[row, 5:end] = SEP, CLS, 2
    return ids, segments


def make_batch(rows: list[int], *, seed: int = 0, rate: float = 0.3, **place: Any) -> Batch:
    """The given rows, masked by a generator that the seed alone decides."""
    ids, segments = make_rows()
    ids, segments = ids[rows], segments[rows]
    generator = torch.Generator().manual_seed(seed)
    chosen = (torch.rand(ids.shape, generator=generator) < rate) & (ids >= 5)
    labels = torch.where(chosen, ids, IGNORE_INDEX)
    inputs = torch.where(chosen, MASK, ids)
    place = {"epoch": 0, "step": 0, "state": {}} | place
    return Batch(inputs, labels, segments, torch.tensor(rows), **place)


class Batches:
    """Endless micro-batches with a state, in the order of a permutation for each epoch."""

    def __init__(self, global_rows: int, micro_rows: int) -> None:
        self.global_rows, self.micro_rows, self.next_step = global_rows, micro_rows, 0

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.next_step = state["next_step"]

    def __iter__(self) -> Iterator[Batch]:
        steps_an_epoch = NUM_ROWS // self.global_rows
        while True:
            epoch, step = divmod(self.next_step, steps_an_epoch)
            order = torch.randperm(NUM_ROWS, generator=torch.Generator().manual_seed(epoch)).tolist()
            rows = order[step * self.global_rows :][: self.global_rows]
            self.next_step += 1
            for start in range(0, self.global_rows, self.micro_rows):
                micro_rows = rows[start : start + self.micro_rows]
                seed = 1000 * self.next_step + start
                served = (start + len(micro_rows)) % self.global_rows
                state = {"next_step": self.next_step, "rows_served": served}
                yield make_batch(micro_rows, seed=seed, epoch=epoch, step=step, state=state, rows_before=start)


def make_data(*, held_out: bool = True, fingerprint: str = "f" * 32) -> TrainData:
    """The data of a run, with a loader at its start."""
    return TrainData(
        fingerprint=fingerprint,
        seq_len=SEQ_LEN,
        vocab_size=VOCAB_SIZE,
        pad_id=PAD,
        mask_id=MASK,
        vocabulary=VOCABULARY,
        tokenizer_json=make_tokenizer_json(),
        batches=Batches(global_rows=6, micro_rows=4),
        state_after=lambda steps: {"next_step": steps, "rows_served": 0},
        masking=Masking(),
        open_held_out=(lambda: [make_batch([0, 3, 4], seed=9), make_batch([7], seed=10)]) if held_out else None,
    )


def make_config(output: str, **sections: dict[str, Any]) -> TrainFile:
    """A train file for `make_data`, with keys of single sections replaced."""
    values: dict[str, dict[str, Any]] = {
        "data": {"dataset": "d", "held_out": "h", "global_batch_rows": 6, "micro_batch_rows": 3},
        "mask": {},
        "model": {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "dropout": 0.1},
        "optimizer": {"learning_rate": 5e-3, "warmup_steps": 3, "decay_steps": 40},
        "run": {
            "output": output,
            "steps": 12,
            "checkpoint_every": 5,
            "evaluate_every": 4,
            "log_every": 1,
            "device": "cpu",
        },
    }
    for section, keys in sections.items():
        values[section] = values[section] | keys
    return TrainFile.model_validate(values)


def make_tokenizer_json() -> bytes:
    words = SPECIAL_TOKENS + [f"w{number}" for number in range(5, VOCAB_SIZE)]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    return bytes(tokenizer.to_str(), "utf-8")
