"""`[model]` of the train file: the family and the size of the encoder."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer, model_validator

from maskmill.schemas.pack_section import Pairs
from maskmill.schemas.section import Probability, Section, Url, leave_out_defaults

Width = Annotated[int, Field(ge=1, le=1 << 20)]


class ModelFamily(StrEnum):
    """Which encoder of `transformers` is trained."""

    BERT = "bert"
    ROBERTA = "roberta"
    ALBERT = "albert"
    DEBERTA_V2 = "deberta-v2"
    MODERNBERT = "modernbert"
    EUROBERT = "eurobert"
    ELECTRA = "electra"


class ObjectiveName(StrEnum):
    """What a model is trained to do."""

    MASKED = "masked"
    REPLACED_TOKEN = "replaced_token"  # noqa: S105  # the name of an objective
    SPAN_BOUNDARY = "span_boundary"
    TWO_MASKS = "two_masks"


class ModelSize(StrEnum):
    """A size that papers name."""

    TINY = "tiny"
    SMALL = "small"
    BASE = "base"
    LARGE = "large"


def _sized(hidden_size: int, num_layers: int, num_heads: int, intermediate_size: int | None = None) -> dict[str, int]:
    sized = {"hidden_size": hidden_size, "num_layers": num_layers, "num_heads": num_heads}
    return sized if intermediate_size is None else sized | {"intermediate_size": intermediate_size}


_TINY, _SMALL, _BASE, _LARGE = _sized(128, 2, 2), _sized(512, 4, 8), _sized(768, 12, 12), _sized(1024, 24, 16)
_OF_BERT = {ModelSize.TINY: _TINY, ModelSize.SMALL: _SMALL, ModelSize.BASE: _BASE, ModelSize.LARGE: _LARGE}
SIZES: dict[ModelFamily, dict[ModelSize, dict[str, int]]] = {
    ModelFamily.BERT: _OF_BERT,
    ModelFamily.ROBERTA: _OF_BERT,
    ModelFamily.ALBERT: _OF_BERT,
    ModelFamily.DEBERTA_V2: _OF_BERT | {ModelSize.SMALL: _sized(768, 6, 12)},
    ModelFamily.MODERNBERT: {
        ModelSize.TINY: _sized(128, 2, 2, 192),
        ModelSize.SMALL: _sized(512, 6, 8, 768),
        ModelSize.BASE: _sized(768, 22, 12, 1152),
        ModelSize.LARGE: _sized(1024, 28, 16, 2624),
    },
    ModelFamily.EUROBERT: _OF_BERT | {ModelSize.LARGE: _sized(1152, 26, 18, 4096)},
    ModelFamily.ELECTRA: _OF_BERT | {ModelSize.SMALL: _sized(256, 12, 4)},
}
"""The keys of each size. BERT's tiny and small are those of arXiv 1908.08962, base and large those of arXiv 1810.04805;
DeBERTa-v2's small is that of DeBERTa-v3; ModernBERT's base and large are those of arXiv 2412.13663, table 4; EuroBERT's
base and large are its models of 210 and 610 million parameters (arXiv 2503.05500); ELECTRA's small is that of arXiv
2003.10555, table 6. Other tiny and small ones are ours.
"""
SIZE_KEYS = ("hidden_size", "num_layers", "num_heads", "intermediate_size")
"""The keys that a size means."""
_OF_FAMILIES = {
    "embedding_size": (ModelFamily.ALBERT, ModelFamily.ELECTRA),
    "conv_kernel_size": (ModelFamily.DEBERTA_V2,),
    "local_attention": (ModelFamily.MODERNBERT,),
    "rope_theta": (ModelFamily.EUROBERT,),
    "sentence_task": (ModelFamily.BERT, ModelFamily.ALBERT),
}
_OF_OBJECTIVES = {
    "generator_share": ObjectiveName.REPLACED_TOKEN,
    "discriminator_weight": ObjectiveName.REPLACED_TOKEN,
    "decoder_rate": ObjectiveName.TWO_MASKS,
}
_TRAINED_FOR = {
    ObjectiveName.REPLACED_TOKEN: (ModelFamily.ELECTRA,),
    ObjectiveName.SPAN_BOUNDARY: tuple(family for family in ModelFamily if family is not ModelFamily.DEBERTA_V2),
    ObjectiveName.TWO_MASKS: (ModelFamily.BERT, ModelFamily.ROBERTA),
}
"""Families that an objective is for; an objective without an entry is for all. The positions of boundaries are those of
packed rows, which `deberta-v2` does not read. A decoder of two masks is a layer of BERT above its embeddings."""


SentenceTask = Annotated[
    Annotated[bool, Tag("either")] | Annotated[Pairs, Field(strict=False), Tag("one")],
    Discriminator(lambda value: "one" if isinstance(value, str) else "either"),
]
"""Whether the label of a pair is predicted, or which pairs these must be."""


class ModelSection(Section):
    """`[model]`: an encoder of `transformers`; the vocabulary and the longest sequence are the dataset's."""

    family: Annotated[ModelFamily, Field(strict=False)] = ModelFamily.BERT
    """The kind of encoder. All keep the sequences of a packed row apart; `deberta-v2` reads each sequence in a padded
    row of its own, which is slower: its attention cannot be told where the sequences of a row end."""
    size: Annotated[ModelSize, Field(strict=False)] = ModelSize.BASE
    """A name for `hidden_size`, `num_layers`, `num_heads` and `intermediate_size`, as the papers of the family use it;
    each of them may still be set to another value."""
    init: Url | None = None
    """Path or URL of a folder of `transformers` to begin with instead of fresh weights: `config.json`,
    `model.safetensors` and the tokenizer, such as `model/` of another run. The size is the folder's, and so is the
    dropout, unless they are set here. The rows must have been encoded with its tokenizer, or with an extension of it
    (`tokenizer.from` and `tokenizer.extend` of the run file): a new piece begins as the mean of the pieces that wrote
    it before."""
    hidden_size: Width = 768
    """Width of the residual stream; a multiple of `num_heads`. This and the next two defaults are those of a BERT of
    the size `base`."""
    num_layers: Annotated[int, Field(ge=1, le=1024)] = 12
    """Encoder layers."""
    num_heads: Width = 12
    """Attention heads in a layer."""
    intermediate_size: Width | None = None
    """Width inside the feed-forward layers; if unset, that of the size, or four times `hidden_size`."""
    max_positions: Width | None = None
    """Longest sequence that the model has positions for, if they are learned; if unset, a row of the dataset. More than
    that suits a model that is trained on longer rows later."""
    embedding_size: Width | None = None
    """With `albert` and `electra`: width of the embeddings. If unset, 128, but `hidden_size` for an `electra` that is
    wider than 256, as in the paper."""
    conv_kernel_size: Annotated[int, Field(ge=1, le=255)] | None = None
    """With `deberta-v2`: tokens that a convolution beside the first layer sees, an odd number, 3 in DeBERTa-v2's
    largest models; if unset, there is no convolution."""
    local_attention: Annotated[int, Field(ge=2, le=1 << 20)] | None = None
    """With `modernbert`: tokens that two of three layers see, half of them on each side; if unset, 128."""
    rope_theta: Annotated[float, Field(gt=0.0)] | None = None
    """With `eurobert`: base of the rotations that tell positions apart; if unset, 250,000."""
    dropout: Probability = 0.1
    """Probability of dropping an activation or an attention weight; `eurobert` drops attention weights only. Zero suits
    a run that sees its text only about once."""
    initializer_range: Annotated[float, Field(gt=0.0)] = 0.02
    """Standard deviation of the initial weights."""
    sentence_task: SentenceTask = False
    """With `bert` and `albert`: predict the label of each pair of segments too, as `BertForPreTraining` and
    `AlbertForPreTraining` do. With `nsp` or `sop` the rows must have been packed with these `pack.pairs`, or they are
    refused; `true` takes either."""
    objective: Annotated[ObjectiveName, Field(strict=False)] = ObjectiveName.MASKED
    """What the model is trained to do. `masked`: predict the tokens that `[mask]` selects. `replaced_token`, with
    `electra`: find the tokens that a smaller generator, trained beside it, has put in their places (ELECTRA); the
    discriminator is exported, and the held-out score is the generator's. `span_boundary`, with any family but
    `deberta-v2`: predict masked tokens, and each of them once more from the two tokens beside its run of masked tokens
    and its place in the run (SpanBERT). `two_masks`, with `bert` and `roberta`: predict masked tokens, and let a
    decoder of one layer predict those of a second mask from the [CLS] of each sequence and the rest of the text
    (RetroMAE). What is trained beside the exported model, the generator, the head for spans or the decoder, begins with
    fresh weights also where `init` names a model to go on with; to stop and go on with all of it, give the same command
    again, which continues from the last checkpoint."""
    generator_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.25
    """With `replaced_token`: width, heads and intermediate width of the generator as a share of the discriminator's,
    rounded."""
    discriminator_weight: Annotated[float, Field(gt=0.0)] = 50.0
    """With `replaced_token`: weight of the discriminator's loss beside the generator's."""
    decoder_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """With `two_masks`: share of the tokens that the decoder does not see: single ones, shown as [MASK], drawn
    independently of those of `[mask]`."""

    @model_validator(mode="before")
    @classmethod
    def _take_the_size(cls, values: Any) -> Any:
        """Set the keys that the size means, under those that are given. Names that do not exist are reported later."""
        if not isinstance(values, dict):
            return values
        if values.get("init") is not None and "size" not in values:
            return values
        sizes = {str(family): sized for family, sized in SIZES.items()}.get(str(values.get("family", "bert")), {})
        sized = {str(size): keys for size, keys in sizes.items()}.get(str(values.get("size", "base")), {})
        return {**sized, **values}

    @model_validator(mode="after")
    def _keys_agree(self) -> ModelSection:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}")
        for name, families in _OF_FAMILIES.items():
            if self.family not in families and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} is for {' and '.join(families)}, and the family is {self.family}: leave it out"
                )
        if self.conv_kernel_size is not None and self.conv_kernel_size % 2 == 0:
            raise ValueError(f"conv_kernel_size {self.conv_kernel_size} is even: there is no middle")
        if self.local_attention is not None and self.local_attention % 2:
            raise ValueError(f"local_attention {self.local_attention} is odd: half of it is on each side")
        if self.family in _ROTARY and self.hidden_size // self.num_heads % 2:
            raise ValueError(
                f"hidden_size {self.hidden_size} leaves each of num_heads {self.num_heads} an odd width, which "
                f"cannot be rotated as {self.family} does"
            )
        return self

    @model_validator(mode="after")
    def _objective_fits(self) -> ModelSection:
        for name, objective in _OF_OBJECTIVES.items():
            if self.objective is not objective and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} is for the objective {objective}, and the objective is {self.objective}: leave it out"
                )
        families = _TRAINED_FOR.get(self.objective, tuple(ModelFamily))
        if self.family not in families:
            raise ValueError(
                f"objective {self.objective} is for {' and '.join(families)}, and the family is {self.family}"
            )
        if self.objective is ObjectiveName.REPLACED_TOKEN and self.init is None:
            self.shrink()
        return self

    def shrink(self) -> ModelSection:
        """The section of the generator beside this model (ELECTRA, arXiv 2003.10555, section 3.2).

        Raises:
            ValueError: Its width is not a multiple of its heads.
        """
        widths = {
            "hidden_size": self.hidden_size,
            "num_heads": self.num_heads,
            "intermediate_size": self.intermediate_size or 4 * self.hidden_size,
        }
        shrunk = {name: max(1, round(width * self.generator_share)) for name, width in widths.items()}
        if shrunk["hidden_size"] % shrunk["num_heads"]:
            raise ValueError(
                f"generator_share {self.generator_share} leaves a generator of hidden_size {shrunk['hidden_size']}, "
                f"which is not a multiple of its num_heads {shrunk['num_heads']}"
            )
        return self.model_copy(update={**shrunk, "objective": ObjectiveName.MASKED})

    @model_serializer(mode="wrap")
    def _write_what_is_used(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the size, whose keys are written, and what came later."""
        written = leave_out_defaults(self, serialise(self), _LATER)
        of_folder = {*SIZE_KEYS, "dropout"} - self.model_fields_set if self.init is not None else set()
        return {name: value for name, value in written.items() if name not in {"size", *of_folder}}


_LATER = ("family", "init", "max_positions", "objective", *_OF_FAMILIES, *_OF_OBJECTIVES)
_ROTARY = (ModelFamily.MODERNBERT, ModelFamily.EUROBERT)
