"""What training needs to know about a family of encoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from maskmill.pipeline.loader.encoders.families import FAMILIES as ENCODERS
from maskmill.schemas.model_section import ModelSection, ObjectiveName


@dataclass(frozen=True)
class Dimensions:
    """What the dataset decides about a model.

    Attributes:
        vocab_size: Rows of the embedding.
        num_positions: Longest sequence; where positions are learned, they are learned up to it.
        pad_id: Id whose embedding is zero and gets no gradient from the input side.
        mask_id: Id of [MASK], for configurations that name it.
    """

    vocab_size: int
    num_positions: int
    pad_id: int
    mask_id: int | None = None


def list_common_keys(section: ModelSection, dimensions: Dimensions) -> dict[str, Any]:
    """The keys that the configurations of all families have, by the names of `transformers`."""
    return {
        "vocab_size": dimensions.vocab_size,
        "hidden_size": section.hidden_size,
        "num_hidden_layers": section.num_layers,
        "num_attention_heads": section.num_heads,
        "intermediate_size": section.intermediate_size or 4 * section.hidden_size,
        "max_position_embeddings": dimensions.num_positions,
        "initializer_range": section.initializer_range,
        "pad_token_id": dimensions.pad_id,
        "attn_implementation": "sdpa",
    }


@dataclass(frozen=True)
class PairHead:
    """The part of a model that judges pairs of segments.

    Attributes:
        model: The class with this head and that for tokens, such as `transformers.BertForPreTraining`.
        judge: Logits `(N, 2)` from such a model and the hidden states `(N, hidden_size)` of N [CLS].
    """

    model: type[Any]
    judge: Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class TokenHead:
    """The part of a model that finds replaced tokens.

    Attributes:
        model: The class with this head alone, such as `transformers.ElectraForPreTraining`.
        judge: Logits `(N,)` from such a model and N hidden states `(N, hidden_size)`.
    """

    model: type[Any]
    judge: Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Family:
    """A family of encoders in `transformers`, and how its models are built and read.

    The heads are called on the positions that have a label alone: at a rate of 0.15 that leaves out 85 % of the largest
    product of a small model, and of the logits that fill a GPU first.

    Attributes:
        configure: The configuration of a model.
        model: The class with a head for tokens, such as `transformers.BertForMaskedLM`.
        predict: Logits `(N, vocab_size)` from a model and N hidden states `(N, hidden_size)`.
        pairs: The head for pairs; `None` if the family has none.
        replaced: The head for replaced tokens; `None` if the family has none.
    """

    configure: Callable[[ModelSection, Dimensions], Any]
    model: type[Any]
    predict: Callable[[Any, Tensor], Tensor]
    pairs: PairHead | None = None
    replaced: TokenHead | None = None

    @property
    def layout(self) -> Literal["sdpa", "padded"]:
        """The layout of a batch that the model is given: rows as they are, if it can keep their sequences apart."""
        return "padded" if ENCODERS[self.model.config_class.model_type].refusal("sdpa") else "sdpa"

    def choose_class(self, section: ModelSection) -> type[Any]:
        """The class with the heads that a section asks for."""
        if section.objective is ObjectiveName.REPLACED_TOKEN and self.replaced is not None:
            return self.replaced.model
        return self.pairs.model if section.sentence_task and self.pairs is not None else self.model

    def judges_pairs(self, model: Any) -> bool:
        """Whether a model of the family has the head for pairs."""
        return self.pairs is not None and isinstance(model, self.pairs.model)

    def encode(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """The hidden states `(positions, hidden_size)` of all positions of a batch, in the order of its layout."""
        hidden: Tensor = model.base_model(**inputs).last_hidden_state
        return hidden.flatten(0, 1)
