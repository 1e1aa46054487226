"""What trainers ask for around batches: whole optimizer steps, their loss, plain dictionaries.

The pages in `docs/trainers` use these; each is a few lines over the fields of `Batch`, so a trainer that wants
something else can take those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import get_worker_info

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.batches.gather_steps import gather_steps
from maskmill.pipeline.loader.batches.lasting_failure import LastingFailure
from maskmill.pipeline.loader.batches.loss_terms import count_terms, find_terms, sum_cross_entropy
from maskmill.pipeline.loader.batches.one_storage import pack_values
from maskmill.pipeline.loader.check_arguments import check_instance
from maskmill.pipeline.loader.encoders.encoder import Encoder, describe_encoder
from maskmill.pipeline.loader.encoders.families import Layout
from maskmill.pipeline.settings import refuse_argument
from maskmill.schemas.errors import ConfigError

__all__ = ["Encoder", "as_inputs", "count_terms", "describe_encoder", "group_steps", "sum_batch_loss", "sum_losses"]


_BATCH, _GIVE_BATCH = "a Batch, as the loader gives it", "give one batch of the loader"
_GIVE_LOADER = "give group_steps(batches), or a DataLoader(batches, batch_size=None)"


def group_steps(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """The micro-batches of every global batch together: what one optimizer step is made of.

    A step must be whole before its first backward pass, because each micro-batch's loss is divided by the terms of
    all of them. A micro-batch's own state says whether it is the last of its global batch, so nothing is fetched
    ahead to find out: `step[-1].state` is where to go on once the step is trained.

    Args:
        batches: A `MaskedBatches`, or a `DataLoader(..., batch_size=None)` of one with any number of workers.

    Raises:
        ConfigError: The stream begins or ends inside a global batch; it was resumed there, or a wrapper around the
            loader has dropped some of it. The terms of the whole would then not be known.
    """
    try:
        stream = iter(batches)
    except Exception as error:  # of a foreign object
        raise refuse_argument("batches", batches, "a MaskedBatches or a DataLoader of one", _GIVE_LOADER) from error
    return LastingFailure(gather_steps(map(_check_batch, stream)))


def _check_batch(batch: Any) -> Batch:
    check_instance("batches", batch, Batch, "batches of a MaskedBatches, as they are", _GIVE_LOADER)
    checked: Batch = batch
    return checked


def sum_batch_loss(logits: torch.Tensor, batch: Batch, layout: Layout = "sdpa") -> torch.Tensor:
    """Sum the cross-entropy over the labels of a micro-batch, each times its weight where labels have weights.

    Added up over micro-batches and ranks and divided by the sum of their `count_terms`, it is the loss of the global
    batch.

    Args:
        logits: What the model gave for `batch.model_inputs(layout, model)`.
        batch: A micro-batch.
        layout: That of the inputs.

    Returns:
        A scalar in nats, in at least float32; 0 where there are no labels.

    Raises:
        ConfigError: The logits are not those of this batch in this layout.
    """
    check_instance("logits", logits, torch.Tensor, "a tensor", "give the logits of the model for this batch")
    check_instance("batch", batch, Batch, _BATCH, _GIVE_BATCH)
    labels, weights = batch.model_labels(layout), batch.model_weights(layout)
    if logits.shape[:-1] != labels.shape:
        raise refuse_argument(
            "logits",
            tuple(logits.shape),
            f"the shape {(*labels.shape, 'vocab_size')} of this batch in the layout {layout}",
            "give the logits of this very batch, and the layout that its model_inputs had",
            "they do not fit the labels",
        )
    flat = None if weights is None else weights.flatten()
    return sum_cross_entropy(logits.flatten(0, -2), labels.flatten(), flat)


def sum_losses(
    model: Any, batches: Iterable[Batch], layout: Layout = "sdpa", device: torch.device | str = "cpu"
) -> torch.Tensor:
    """The loss of a model on batches that it is not trained on, such as those of `iter_fixed_batches`.

    Without dropout and gradients; every part of the model is in its own mode again afterwards. Give the model itself,
    not `DistributedDataParallel`: ranks need not have equally many batches.

    Args:
        model: With a head for masked tokens.
        batches: Whatever share of the rows this rank has.
        layout: See `Batch.model_inputs`.
        device: Where the model is.

    Returns:
        float64 `(2,)` on the device: the sum of cross-entropy in nats, and the number of labels. Where labels have
        weights, each counts as often as its weight says, and the number is that of all tokens but padding. Add them up
        over the ranks before the first is divided by the second.

    Raises:
        ConfigError: See `Batch.model_inputs`.
    """
    encoder = describe_encoder(model)
    modes = [(module, module.training) for module in model.modules()]
    totals = torch.zeros(2, dtype=torch.float64, device=device)
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                sent = batch.to(device)
                logits = model(**sent.model_inputs(layout, encoder)).logits
                totals += torch.stack([sum_batch_loss(logits, sent, layout), find_terms(sent).sum()])
    finally:
        for module, was_training in modes:  # not `model.train()`: a trainer may have frozen parts of it
            module.training = was_training
    return totals


def as_inputs(batch: Batch, layout: Layout = "sdpa", encoder: Encoder | None = None) -> dict[str, Any]:
    """A batch as the plain dictionary that some trainers insist on: the model's arguments and `labels`.

    For `DataLoader(batches, batch_size=None, collate_fn=functools.partial(as_inputs, encoder=...))`, with
    `describe_encoder(model)`: the description goes to the workers, the model does not. The dictionary carries no
    state: count optimizer steps instead, one for each global batch.

    Args:
        batch: What the loader gave.
        layout: See `Batch.model_inputs`.
        encoder: What the model takes; a BERT if it is not given.

    Raises:
        ConfigError: See `Batch.model_inputs`; or the batch has loss weights.
    """
    check_instance("batch", batch, Batch, _BATCH, _GIVE_BATCH)
    if encoder is not None:
        check_instance("encoder", encoder, Encoder, "an Encoder", "give encoder=describe_encoder(model)")
    if batch.loss_weights is not None:
        raise ConfigError(
            "the batch has loss weights, which the model's keyword arguments cannot carry",
            path="batch.loss_weights",
            expected="labels that all count the same",
            found="weights of masking.per_sequence_rate",
            action='give Masking(..., loss_weights="one"), or sum the loss of the batches themselves: sum_batch_loss',
        )
    inputs = {**batch.model_inputs(layout, encoder), "labels": batch.model_labels(layout)}
    return inputs if get_worker_info() is None else pack_values(inputs)  # a descriptor for each dictionary that is held
