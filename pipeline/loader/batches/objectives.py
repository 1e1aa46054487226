"""What objectives beside masked tokens ask of a batch, made of it in tensor operations that never wait for a device.

Every function takes a batch on any device and reads no value back.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.check_arguments import check, check_instance
from maskmill.pipeline.masking.hashing import SAMPLE_STREAM
from maskmill.pipeline.masking.torch_hashing import derive_row_words_torch, hash_positions_torch, multiples_of_g
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.mask_vocabulary import MaskVocabulary
from maskmill.schemas.masking import IGNORE_INDEX

_TWO_TO_32 = 2**32


class SpanBoundaries(NamedTuple):
    """The tokens beside each run of predicted ones: SpanBERT's x[s-1] and x[e+1] (arXiv 1907.10529, section 3.2).

    Attributes:
        left: int64 `(B, S)`, position in its row of the last token before the run, at each predicted position that
            `is_valid`; 0 elsewhere.
        right: int64 `(B, S)`, of the first token after it.
        offsets: int64 `(B, S)`, place in the run, from 1.
        is_valid: bool `(B, S)`, predicted positions of runs with a token on both sides in their segment.
    """

    left: Tensor
    right: Tensor
    offsets: Tensor
    is_valid: Tensor


class ReplacedTokens(NamedTuple):
    """What a discriminator reads, and which tokens of it are not the text's (ELECTRA, arXiv 2003.10555, section 2).

    Attributes:
        input_ids: int64 `(B, S)`.
        is_replaced: bool `(B, S)`; a sample that is the true token counts as the text's.
    """

    input_ids: Tensor
    is_replaced: Tensor


def find_original_ids(batch: Batch) -> Tensor:
    """The ids of the text, int64 `(B, S)`: what a batch's rows hold without masks."""
    return torch.where(batch.labels == IGNORE_INDEX, batch.input_ids, batch.labels)


def label_next_tokens(batch: Batch) -> Tensor:
    """Labels of the next token, int64 `(B, S)`: the id behind each position, as the text has it.

    IGNORE_INDEX at the last position of each sequence and in the padding, so no label crosses sequences.
    """
    ids = find_original_ids(batch)
    labels = torch.full_like(ids, IGNORE_INDEX)
    inside = (batch.segment_ids[:, 1:] == batch.segment_ids[:, :-1]) & (batch.segment_ids[:, 1:] > 0)
    labels[:, :-1] = torch.where(inside, ids[:, 1:], labels[:, :-1])
    return labels


def find_span_boundaries(batch: Batch, vocabulary: MaskVocabulary) -> SpanBoundaries:
    """The tokens beside each run of predicted positions; spans that touch are one run.

    A run at the edge of its segment, beside [CLS], [SEP] or the end of the row, has none: `is_valid` is False there.

    Args:
        batch: With masks of any strategy.
        vocabulary: Of its dataset, `batches.manifest.vocabulary`.
    """
    predicted = batch.labels != IGNORE_INDEX
    num_positions = predicted.shape[1]
    places = torch.arange(num_positions, device=predicted.device).expand(predicted.shape)
    # The nearest position before and after that is not predicted; -1 and S where there is none.
    left = torch.where(predicted, -1, places).cummax(1).values
    right = torch.where(predicted, num_positions, places).flip(1).cummin(1).values.flip(1)
    is_inside = predicted & (left >= 0) & (right < num_positions)
    left, right = left.masked_fill(~is_inside, 0), right.masked_fill(~is_inside, 0)
    edges = (vocabulary.cls_id, vocabulary.sep_id, vocabulary.pad_id)
    is_edge = torch.stack([batch.input_ids == edge for edge in edges]).any(0)
    is_valid = is_inside & ~is_edge.gather(1, left) & ~is_edge.gather(1, right)
    offsets = (places - left).masked_fill(~is_valid, 0)
    return SpanBoundaries(left.masked_fill(~is_valid, 0), right.masked_fill(~is_valid, 0), offsets, is_valid)


def replace_tokens(batch: Batch, positions: Tensor, logits: Tensor, seed: int = 0) -> ReplacedTokens:
    """Replace tokens by samples of a generator, for a discriminator to find.

    Each sample is a function of (seed, epoch of the row, row id, position, logits): a run that is resumed draws the
    same ones.

    Args:
        batch: With masks of any strategy; the generator has read its `input_ids`.
        positions: int64 `(M,)`, of the flattened B * S: predicted ones. Spare entries of `masked_positions` name
            position 0, which is [CLS] or padding: it is not replaced.
        logits: Floats `(M, V)`, what the generator says of them, on the device of the batch.
        seed: Of the samples, 0 <= seed < 2**64.

    Raises:
        ConfigError: An argument has another type, shape or device, or there is no such seed. In host memory also if a
            position is not in the batch or a logit is no number; on another device that would have to be waited for.
    """
    seed = check("seed", seed)
    _check_samples(batch, positions, logits)
    num_positions = batch.input_ids.shape[1]
    rows, places = positions // num_positions, positions % num_positions
    words = derive_row_words_torch((SAMPLE_STREAM,), seed, batch.row_epochs, batch.row_ids)[:, 0]
    drawn = hash_positions_torch(multiples_of_g(places)[:, None], words[:, rows])[:, 0].to(torch.float64)
    sums = logits.detach().to(torch.float32).softmax(1).to(torch.float64).cumsum(1)
    if sums.is_cpu and not sums[:, -1].isfinite().all():
        raise _refuse_samples("logits", "are not all numbers", "finite logits", "nan or inf among them")
    threshold = (drawn + 0.5) / _TWO_TO_32 * sums[:, -1]
    samples = torch.searchsorted(sums, threshold[:, None]).clamp_(max=logits.shape[1] - 1)[:, 0]
    original = find_original_ids(batch).flatten()
    predicted = (batch.labels != IGNORE_INDEX).flatten()[positions]
    kept = torch.where(predicted, samples, original[positions])
    shown = original.scatter(0, positions, kept).view(batch.input_ids.shape)
    return ReplacedTokens(shown, shown != original.view(shown.shape))


def _check_samples(batch: Batch, positions: Tensor, logits: Tensor) -> None:
    """Check what `replace_tokens` is given, without reading a value back from a device."""
    check_instance("batch", batch, Batch, "a Batch", "give a batch that a loader has served")
    tensors = {"positions": (positions, "int64, (M,)"), "logits": (logits, "floats, (M, vocabulary)")}
    for name, (tensor, expected) in tensors.items():
        check_instance(name, tensor, Tensor, f"a tensor: {expected}", "give the generator's logits at these positions")
        if tensor.device != batch.input_ids.device:
            found = f"a tensor on {tensor.device}"
            raise _refuse_samples(name, "are on another device", f"one on {batch.input_ids.device}", found)
    if positions.dtype != torch.int64 or positions.ndim != 1:
        raise _refuse_samples("positions", "are not numbers of positions", "int64, (M,)", _describe(positions))
    if not logits.is_floating_point():
        raise _refuse_samples("logits", "are not floats", "float32 or another type of floats", _describe(logits))
    if logits.ndim != 2 or len(logits) != len(positions) or not logits.shape[1]:  # positions and vocabulary
        expected = f"logits of shape ({len(positions)}, vocabulary)"
        raise _refuse_samples("logits", "are not as many as the positions", expected, _describe(logits))
    places = batch.input_ids.numel()
    if positions.is_cpu and len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < places:
        found = f"{int(positions.min())} to {int(positions.max())}"
        raise _refuse_samples("positions", "are not all in the batch", f"0 to {places - 1}", found)


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}, {tuple(tensor.shape)}"


def _refuse_samples(name: str, what: str, expected: str, found: str) -> ConfigError:
    return ConfigError(
        f"the {name} {what}",
        path=f"replace_tokens: {name}",
        expected=expected,
        found=found,
        action="give the generator's logits at the predicted positions of this batch",
    )
