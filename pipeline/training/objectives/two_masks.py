"""Two masks (RetroMAE, arXiv 2205.12035, sections 3.1 and 3.2): a weak decoder makes each [CLS] hold its sequence.

The encoder predicts the tokens of its own mask. A decoder of one layer reads the same rows under a second, heavier
mask, with the encoder's state of [CLS] in the first place of every sequence, and predicts what that mask hides.
Embeddings and the head for tokens are the encoder's. This is the basic decoder, not the enhanced one (section 3.3),
which samples an attention mask for every position. Where masked tokens have weights, they are the encoder's: the second
mask has one rate, and each of its tokens counts the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from maskmill.pipeline.loader.batches.another_mask import AnotherMask
from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.batches.loss_terms import count_terms
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.training.families import family_of
from maskmill.pipeline.training.masked_loss import TrainingBatch, make_inputs, sum_token_loss
from maskmill.pipeline.training.objectives.masked import count_masked, sum_from_hidden
from maskmill.pipeline.training.objectives.objective import Objective
from maskmill.pipeline.training.train_data import TrainData
from maskmill.schemas.masking import Masking
from maskmill.schemas.model_section import ModelSection

_OTHER_SEED = 1 << 62


class WithDecoder(nn.Module):
    """A model and the decoder beside it.

    Args:
        model: With a head for tokens, of a family whose encoder has BERT's layers.
        mask: Draws what the decoder does not see.
    """

    def __init__(self, model: Any, mask: AnotherMask) -> None:
        super().__init__()
        self.model, self.mask = model, mask
        self.decoder = type(model.base_model.encoder.layer[0])(model.config)
        for part in self.decoder.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=model.config.initializer_range)
                nn.init.zeros_(part.bias)

    def decode(self, inputs: dict[str, Any], hidden: Tensor, starts: Tensor) -> Tensor:
        """Run the decoder.

        Args:
            inputs: What the model reads, with the ids of the second mask.
            hidden: `(B * S, H)`, the encoder's states.
            starts: bool `(B, S)`, the first token of every sequence.

        Returns:
            The decoder's states, `(B * S, H)`.
        """
        embedded = self.model.base_model.embeddings(
            **{name: value for name, value in inputs.items() if name != "attention_mask"}
        )
        shown = torch.where(starts[:, :, None], hidden.view(embedded.shape), embedded)
        decoded: Tensor = self.decoder(shown, inputs["attention_mask"])
        return decoded.flatten(0, 1)


def _extend(model: Any, section: ModelSection, data: TrainData) -> WithDecoder:
    # Another seed than that of the encoder's masks, whichever it is: with the same one the two would overlap.
    seed = data.masking.seed ^ _OTHER_SEED
    masking = Masking(rate=section.decoder_rate, mask_share=1.0, random_share=0.0, seed=seed)
    module = WithDecoder(model, AnotherMask(masking, MaskTables.build(data.vocabulary)))
    module.train()
    return module


def _count(module: WithDecoder, micro_batches: Sequence[TrainingBatch]) -> list[int]:
    # The second mask is drawn here and once more for the loss: quicker than a step by far, and nothing is kept.
    hidden = (module.mask(batch) for batch in cast("Sequence[Batch]", micro_batches))
    return [*count_masked(module.model, micro_batches), count_terms(hidden)]


def _sum(module: WithDecoder, micro_batch: TrainingBatch, device: torch.device | str) -> list[Tensor]:
    batch, model = cast("Batch", micro_batch), module.model
    family, again = family_of(model), module.mask(batch)
    inputs = make_inputs(model, family, batch, device)
    hidden = family.encode(model, inputs)
    starts = ((batch.position_ids == 0) & (batch.segment_ids > 0)).to(device)
    decoded = module.decode(inputs | {"input_ids": again.input_ids.to(device)}, hidden, starts)
    return [*sum_from_hidden(model, hidden, batch), sum_token_loss(model, family, decoded, again)]


TWO_MASKS = Objective(
    extend=_extend,
    count=_count,
    sum_losses=_sum,
    take_exported=lambda module: module.model,
    take_scored=lambda module: module.model,
    aside="the decoder",
)
