"""The table of encoder families: the layouts that each accepts, and why it does not accept the others.

An entry is a claim about the code of a family in `transformers`: with these inputs, every sequence of a packed row gets
the same hidden states as alone. `tests/loader/encoders/test_encoders.py` checks each
entry against a small model of its family. A family without an entry is rejected.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Literal

Layout = Literal["sdpa", "varlen", "padded"]
LAYOUTS: tuple[Layout, ...] = ("sdpa", "varlen", "padded")


class Positions(Enum):
    """How a family numbers the tokens of a sequence."""

    FROM_ZERO = auto()
    """Learned embeddings, the first token of a sequence has position 0."""
    AFTER_PADDING = auto()
    """RoBERTa's: learned embeddings, the first token has position `padding_idx + 1`, the padding id `padding_idx`."""
    ROTARY = auto()
    """Rotations by the given `position_ids`, without a table of limited length."""
    BY_DISTANCE = auto()
    """Only distances between tokens of a row matter: the model accepts no `position_ids`."""
    BY_DISTANCE_IN_TABLE = auto()
    """The same, from a table with one entry for each position of a row."""


class Masks(Enum):
    """The attention mask or masks that the model needs."""

    ONE = auto()
    BY_LAYER_TYPE = auto()
    """A dictionary with one mask for `full_attention` and one for `sliding_attention` layers."""
    BY_LAYER = auto()
    """A dictionary with a mask for each layer, by its number."""


@dataclass(frozen=True)
class Family:
    """One family of encoders.

    Attributes:
        positions: How tokens are numbered.
        masks: What `attention_mask` is in the layout `sdpa`.
        no_sdpa: Why the family does not accept the layout `sdpa`; empty if it does.
        no_varlen: The same for `varlen`.
        no_padded: The same for `padded`.
        requires: Settings of the model's configuration for which the entry holds.
    """

    positions: Positions = Positions.FROM_ZERO
    masks: Masks = Masks.ONE
    no_sdpa: str = ""
    no_varlen: str = ""
    no_padded: str = ""
    requires: tuple[tuple[str, object], ...] = ()

    def refusal(self, layout: Layout) -> str:
        """Why the family does not accept a layout; empty if it does."""
        return {"sdpa": self.no_sdpa, "varlen": self.no_varlen, "padded": self.no_padded}[layout]


_EAGER = "it has its own attention, which does not know where sequences end"
_BERT = Family()
_BERT_EAGER = replace(_BERT, no_varlen=_EAGER)
_ROBERTA = Family(Positions.AFTER_PADDING)
_ROBERTA_EAGER = replace(_ROBERTA, no_varlen=_EAGER)
_ROTARY = Family(Positions.ROTARY)
_T5 = Family(Positions.BY_DISTANCE, no_varlen="its position biases are added for each row, not for each sequence")


def _padded_only(reason: str) -> Family:
    return Family(no_sdpa=reason, no_varlen=reason)


def _refused(reason: str) -> Family:
    return Family(no_sdpa=reason, no_varlen=reason, no_padded=reason)


_TWO_DIMENSIONS = "it accepts only a two-dimensional mask, which cannot keep the sequences of a row apart"
_MIXES = "it mixes neighbouring tokens outside its attention, across the ends of sequences and into padding"
_DECODER = "it is a decoder: each token sees only those before it"
_SEQ2SEQ = "it is an encoder with a decoder, which reads the sequence again, shifted by one"
_IMAGES = "it is part of a model for images and text"

FAMILIES: dict[str, Family] = {
    "albert": _BERT,
    "bert": _BERT,
    "distilbert": _BERT,
    "electra": _BERT,
    "ernie": _BERT,
    "roc_bert": _BERT,
    "megatron-bert": _BERT_EAGER,
    "rembert": _BERT_EAGER,
    "splinter": _BERT_EAGER,
    "squeezebert": _BERT_EAGER,
    "tapas": _BERT_EAGER,
    "big_bird": replace(_BERT_EAGER, requires=(("attention_type", "original_full"),)),
    "camembert": _ROBERTA,
    "data2vec-text": _ROBERTA,
    "roberta": _ROBERTA,
    "roberta-prelayernorm": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "xlm-roberta-xl": _ROBERTA,
    "xmod": _ROBERTA,
    "ibert": _ROBERTA_EAGER,
    "luke": _ROBERTA_EAGER,
    "mpnet": _ROBERTA_EAGER,
    "esmc": _ROTARY,
    "eurobert": _ROTARY,
    "gte": _ROTARY,
    "jina_embeddings_v3": _ROTARY,
    "nomic_bert": _ROTARY,
    "modernbert": replace(_ROTARY, masks=Masks.BY_LAYER_TYPE),
    "neomme": replace(_ROTARY, masks=Masks.BY_LAYER),
    "roformer": Family(Positions.BY_DISTANCE_IN_TABLE, no_varlen=_EAGER, requires=(("rotary_value", False),)),
    "mt5": _T5,
    "t5": _T5,
    "umt5": _T5,
    "deberta": _padded_only(_TWO_DIMENSIONS),
    "deberta-v2": _padded_only(_TWO_DIMENSIONS),
    "esm": _padded_only(_TWO_DIMENSIONS),
    "flaubert": replace(_padded_only(_TWO_DIMENSIONS), requires=(("causal", False),)),
    "layoutlm": _padded_only(_TWO_DIMENSIONS),
    "longformer": _padded_only(_TWO_DIMENSIONS),
    "markuplm": _padded_only(_TWO_DIMENSIONS),
    "xlm": replace(_padded_only(_TWO_DIMENSIONS), requires=(("causal", False),)),
    "ultrabert": _padded_only("it makes the masks of its sliding-window layers itself, from a two-dimensional one"),
    "canine": _refused("it reads characters, and mixes neighbouring ones"),
    "convbert": _refused(_MIXES),
    "fnet": _refused(_MIXES),
    "mobilebert": _refused(_MIXES),
    "funnel": _refused("it pools neighbouring tokens, across the ends of sequences and into padding"),
    "mra": _refused("it approximates attention by blocks of a row, whatever sequences they belong to"),
    "nystromformer": _refused("it approximates attention by means over a row, padding among them"),
    "perceiver": _refused("it reads bytes into a fixed number of latents"),
    "reformer": _refused("it attends within buckets of a random hash over the whole row"),
    "yoso": _refused("it samples attention by a random hash over the whole row"),
    "bart": _refused(_SEQ2SEQ),
    "mbart": _refused(_SEQ2SEQ),
    "mvp": _refused(_SEQ2SEQ),
    "modernvbert": _refused(_IMAGES),
    "ultravbert": _refused(_IMAGES),
    "clip_text_model": _refused(_DECODER),
    "emu3": _refused(_DECODER),
    "llama4": _refused(_DECODER),
    "mllama": _refused(_DECODER),
    "molmo2_text": _refused(_DECODER),
    "t5gemma": _refused(_SEQ2SEQ),
    "tipsv2_text_model": _refused(_IMAGES),
}
"""The families by `config.model_type`."""
