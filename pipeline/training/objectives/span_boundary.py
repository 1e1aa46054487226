"""Span boundaries (SpanBERT, arXiv 1907.10529, section 3.2), beside masked tokens and with the same weight.

Each token of a masked run is predicted from the hidden states of the two tokens beside the run and from its place in
it. Spans that touch are one run; a run at the edge of its segment has no boundary there, and is left out. Where masked
tokens have weights, they count in both losses, and both are divided by the number of all tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.batches.loss_terms import count_tokens, sum_cross_entropy
from maskmill.pipeline.loader.batches.objectives import find_span_boundaries
from maskmill.pipeline.training.families import family_of
from maskmill.pipeline.training.masked_loss import (
    TrainingBatch,
    encode,
    have_weights,
)
from maskmill.pipeline.training.objectives.masked import count_masked, sum_from_hidden
from maskmill.pipeline.training.objectives.objective import Objective
from maskmill.pipeline.training.train_data import TrainData
from maskmill.schemas.mask_vocabulary import MaskVocabulary
from maskmill.schemas.model_section import ModelSection

_OFFSET_SIZE = 200  # its code: pair_target_prediction, position_embedding_size
_EPSILON = 1e-12


class BoundaryHead(nn.Module):
    """Two layers, each with GeLU and LayerNorm, from a run's boundaries and a place in it to a token's embedding.

    Args:
        hidden_size: Width H of the encoder.
        embedding_size: Width E of the embeddings, which are the weights of the output.
        vocab_size: Rows V of the embedding.
        num_offsets: The longest run; SpanBERT's code leaves out what is beyond 20, unless told otherwise.
        initializer_range: Standard deviation of the initial weights.
    """

    def __init__(
        self, hidden_size: int, embedding_size: int, vocab_size: int, num_offsets: int, initializer_range: float
    ) -> None:
        super().__init__()
        self.offsets = nn.Embedding(num_offsets, _OFFSET_SIZE)
        self.first = nn.Linear(2 * hidden_size + _OFFSET_SIZE, hidden_size)
        self.first_norm = nn.LayerNorm(hidden_size, eps=_EPSILON)
        self.second = nn.Linear(hidden_size, embedding_size)
        self.second_norm = nn.LayerNorm(embedding_size, eps=_EPSILON)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        for part in (self.offsets, self.first, self.second):
            nn.init.normal_(part.weight, std=initializer_range)
        for linear in (self.first, self.second):
            nn.init.zeros_(linear.bias)

    def forward(self, left: Tensor, right: Tensor, offsets: Tensor, embeddings: Tensor) -> Tensor:
        """Predict N tokens.

        Args:
            left: `(N, H)`, hidden states of the token before each one's run.
            right: `(N, H)`, of the token after it.
            offsets: int64 `(N,)`, places in the run, from 1.
            embeddings: `(V, E)`, of tokens.

        Returns:
            Logits `(N, V)`.
        """
        hidden = torch.cat([left, right, self.offsets(offsets - 1)], dim=1)
        hidden = self.first_norm(functional.gelu(self.first(hidden)))
        hidden = self.second_norm(functional.gelu(self.second(hidden)))
        return functional.linear(hidden, embeddings, self.bias)


class WithBoundaries(nn.Module):
    """A model and the head for span boundaries.

    Args:
        model: With a head for tokens.
        head: For the model's widths.
        vocabulary: Of the rows.
    """

    def __init__(self, model: Any, head: BoundaryHead, vocabulary: MaskVocabulary) -> None:
        super().__init__()
        self.model, self.head, self.vocabulary = model, head, vocabulary


def _extend(model: Any, _section: ModelSection, data: TrainData) -> WithBoundaries:
    config, (vocab_size, embedding_size) = model.config, model.get_input_embeddings().weight.shape
    head = BoundaryHead(config.hidden_size, embedding_size, vocab_size, data.seq_len, config.initializer_range)
    return WithBoundaries(model, head, data.vocabulary)


def _count(module: WithBoundaries, micro_batches: Sequence[TrainingBatch]) -> list[int]:
    batches, counts = cast("Sequence[Batch]", micro_batches), count_masked(module.model, micro_batches)
    if have_weights(micro_batches):
        return [*counts, count_tokens(micro_batches)]
    return [*counts, sum(int(find_span_boundaries(batch, module.vocabulary).is_valid.sum()) for batch in batches)]


def _sum(module: WithBoundaries, micro_batch: TrainingBatch, device: torch.device | str) -> list[Tensor]:
    batch, model = cast("Batch", micro_batch), module.model
    hidden = encode(model, family_of(model), batch, device)  # (B * S, hidden_size)
    found = find_span_boundaries(batch, module.vocabulary)  # on the CPU, as the batch
    rows, places = found.is_valid.nonzero(as_tuple=True)
    starts = rows * batch.labels.shape[1]
    left, right = ((starts + side[rows, places]).to(device) for side in (found.left, found.right))
    logits = module.head(
        hidden.index_select(0, left),
        hidden.index_select(0, right),
        found.offsets[rows, places].to(device),
        model.get_input_embeddings().weight,
    )
    weights = None if batch.loss_weights is None else batch.loss_weights[rows, places]
    of_boundaries = sum_cross_entropy(logits, batch.labels[rows, places], weights)
    return [*sum_from_hidden(model, hidden, batch), of_boundaries]


SPAN_BOUNDARY = Objective(
    extend=_extend,
    count=_count,
    sum_losses=_sum,
    take_exported=lambda module: module.model,
    take_scored=lambda module: module.model,
    aside="the head for span boundaries",
)
