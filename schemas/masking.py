"""Mask settings: everything that decides a mask besides the row and the vocabulary.

Rates and shares are given as decimals and converted here, once, to integers: `ppm = round(rate * 10**6)`. Everything
else is integer arithmetic. Floats would not be exact: `round(0.15 * 510)` is 76 in Python and 77 in float32, and 510
is the most common number of maskable tokens in a row.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.explain_values import explain_values, show_value

IGNORE_INDEX = -100
"""The label of a position that is not predicted; torch's cross-entropy skips it by default."""

PPM = 10**6
_TWO_TO_32 = 2**32
MAX_COPIES = 100
"""Static masks stored with every row."""
MAX_PROTECTED = 1 << 16
"""Tokens that are never predicted."""
_PPM_TOLERANCE = 1e-6
"""In ppm: accepts 0.1 + 0.05 as 0.15, and rejects 0.1234567."""


class MaskStrategy(StrEnum):
    """How the masked positions of a row are chosen."""

    TOKEN = "token"  # noqa: S105 - a strategy's name, not a password
    """Every maskable token alone, as in BERT (arXiv 1810.04805, section 3.1)."""
    WHOLE_WORD = "whole_word"
    """Words, as in Google's whole word masking (github.com/google-research/bert, May 31st, 2019)."""
    SPAN = "span"
    """Runs of words, as in SpanBERT (arXiv 1907.10529, section 3.1)."""
    NGRAM = "ngram"
    """One to `max_ngram` words, as in ALBERT (arXiv 1909.11942, section 4.1)."""


class Selection(StrEnum):
    """How many tokens the strategy `token` selects."""

    EXACT = "exact"
    """The same share of every row."""
    BERNOULLI = "bernoulli"
    """Each token by itself with the probability `rate`, as the Hugging Face collator does; perhaps none of a row."""


class ReplaceBy(StrEnum):
    """What one draw between [MASK], random and unchanged decides."""

    TOKEN = "token"  # noqa: S105 - not a password
    """Each selected token."""
    UNIT = "unit"
    """Each selected word, n-gram or run of adjacent spans; random tokens are still drawn one by one."""


class SpanLengths(StrEnum):
    """How the geometric distribution (p = 0.2) of the words in a span ends at `max_span`."""

    RENORMALISED = "renormalised"
    """Longer spans are not drawn, as in SpanBERT: 3.80 words on average."""
    CLIPPED = "clipped"
    """Longer spans are shortened, as in Megatron: 4.46 words on average."""


Token = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Share = Annotated[float, Field(strict=True, ge=0.0, le=1.0, allow_inf_nan=False)]


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # it has no public name


class _CheckedCalls(ModelMetaclass):
    """Raise `ConfigError` for wrong arguments of a call; inside files, whose keys are named, keep pydantic's error."""

    def __call__(cls, *args: object, **fields: object) -> Any:  # noqa: N805  # of a metaclass
        if args:
            raise ConfigError(
                f"{cls.__name__} takes its settings by name",
                path=cls.__name__.lower(),
                found=repr(args[0]),
                action=f"write for example {cls.__name__}(rate=0.15)",
            )
        try:
            return super().__call__(**fields)
        except ValidationError as error:
            raise explain_values(cast("type[BaseModel]", cls), error, cls.__name__.lower()) from None
        except Exception as error:  # raised by a method of a foreign object
            raise ConfigError(
                "a setting cannot be read",
                path=cls.__name__.lower(),
                expected=f"settings of {', '.join(map(str, fields))} as numbers or texts",
                found=", ".join(map(show_value, fields.values())),
                action="give plain numbers and texts",
            ) from error


class Masking(BaseModel, metaclass=_CheckedCalls):
    """The mask settings of a run file's `[mask]` table and of the loader.

    Equal settings give equal masks. Every field matters, so a fingerprint must cover the whole model.

    Raises:
        ConfigError: A setting is unknown or has a value that is not allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: MaskStrategy = MaskStrategy.TOKEN
    """How the positions that are predicted are chosen: `token`, each alone; `whole_word`; `span`, runs of words;
    `ngram`, one to `max_ngram` words. None reaches over a [SEP] or another token that is never predicted."""
    rate: Share = 0.15
    """Share of a row's maskable tokens that is predicted, in whole ppm. `token` and `span` predict exactly as many, and
    at least one of any row that has one; `whole_word` and `ngram` at most as many, for words are not cut. At 0 none is
    predicted."""
    mask_share: Share = 0.8
    """Share of the predicted tokens that is shown as [MASK], in whole ppm."""
    random_share: Share = 0.1
    """Share of the predicted tokens that is shown as a random ordinary token; the rest is shown as it is."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**64)] = 0
    """Decides the masks, with a row's number and the epoch."""

    selection: Selection = Selection.EXACT
    """How many tokens `token` predicts: `exact`, the same share of every row, or `bernoulli`, each by itself."""
    replace_by: ReplaceBy = ReplaceBy.TOKEN
    """Whether [MASK], random or unchanged is drawn for each `token` or for a whole `unit`. The default is that of the
    paper: `unit` for spans, `token` for all others."""
    max_ngram: Annotated[int, Field(strict=True, ge=1, le=64)] = 3
    """Words of the longest n-gram; n words are 1/n times as likely as one."""
    max_span: Annotated[int, Field(strict=True, ge=1, le=64)] = 10
    """Words of the longest span."""
    span_lengths: SpanLengths = SpanLengths.RENORMALISED
    """How longer spans are avoided: `renormalised`, as SpanBERT does, or `clipped`, as Megatron does."""
    protect: Annotated[tuple[Token, ...], Field(max_length=MAX_PROTECTED)] = ()
    """Tokens that are never predicted, besides [PAD], [CLS], [SEP] and [MASK]; DeBERTa protects `[UNK]`. They are still
    random replacements, unless they are special, and they end words, n-grams and spans as a [SEP] does."""

    @model_validator(mode="before")
    @classmethod
    def _replace_as_the_paper_does(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("strategy") == MaskStrategy.SPAN:
            return {"replace_by": ReplaceBy.UNIT, **values}
        return values

    @field_validator("rate", "mask_share", "random_share")
    @classmethod
    def _round_to_ppm(cls, value: float) -> float:
        ppm = round(value * PPM)
        if abs(value * PPM - ppm) > _PPM_TOLERANCE:
            nearest = max(1, ppm) / PPM if value > 0 else 0  # 0 would mean no mask at all
            raise ValueError(f"masks are computed in whole millionths: write {nearest:.6f} instead of {value!r}")
        return ppm / PPM

    @field_validator("protect")
    @classmethod
    def _sort(cls, tokens: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(tokens)))

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if round(self.mask_share * PPM) + round(self.random_share * PPM) > PPM:
            raise ValueError(
                f"mask_share + random_share must not exceed 1: {self.mask_share} and {self.random_share} "
                "leave less than nothing for the tokens shown as they are"
            )
        return self

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        for name, strategies in _OF_STRATEGIES.items():
            if self.strategy not in strategies and getattr(self, name) != type(self).model_fields[name].default:
                used = " and ".join(filter(None, (", ".join(strategies[:-1]), strategies[-1])))
                raise ValueError(f"{name} is for {used}, and the strategy is {self.strategy}: leave it out")
        return self

    @model_serializer(mode="wrap")
    def _write_what_matters(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what the strategy has no use for, and what older versions did not know if it is as with them.

        So settings that they knew are written as they wrote them, and fingerprints stay what they are.
        """
        written: dict[str, Any] = serialise(self)
        unused = {name for name, strategies in _OF_STRATEGIES.items() if self.strategy not in strategies}
        if self.selection == Selection.EXACT:
            unused.add("selection")
        if not self.protect:
            unused.add("protect")
        return {name: value for name, value in written.items() if name not in unused}

    @property
    def rate_ppm(self) -> int:
        """The rate in millionths, 0 to 10**6."""
        return round(self.rate * PPM)

    def most_predicted(self, num_tokens: int) -> int:
        """The most of so many tokens that are predicted: what is reserved for a row in storage and on a device."""
        if self.selection == Selection.BERNOULLI:
            return num_tokens if self.rate_ppm else 0
        return count_selected(num_tokens, self.rate_ppm)

    @property
    def mask_threshold(self) -> int:
        """A selected position whose action hash is below this, of 2**32, becomes [MASK]."""
        return round(self.mask_share * PPM) * _TWO_TO_32 // PPM

    @property
    def random_threshold(self) -> int:
        """From `mask_threshold` to below this, of 2**32, it becomes a random token; above, it is kept."""
        return (round(self.mask_share * PPM) + round(self.random_share * PPM)) * _TWO_TO_32 // PPM


_OF_STRATEGIES = {
    "selection": (MaskStrategy.TOKEN,),
    "replace_by": (MaskStrategy.WHOLE_WORD, MaskStrategy.SPAN, MaskStrategy.NGRAM),
    "max_ngram": (MaskStrategy.NGRAM,),
    "max_span": (MaskStrategy.SPAN,),
    "span_lengths": (MaskStrategy.SPAN,),
}


def count_selected(num_maskable: int, rate_ppm: int) -> int:
    """Count the tokens to select in a row: rounded half up, at least one of any, at most all; none at rate 0."""
    if num_maskable == 0 or rate_ppm == 0:
        return 0
    return max(1, (2 * num_maskable * rate_ppm + PPM) // (2 * PPM))
