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
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    Tag,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.explain_values import explain_values, show_value
from maskmill.schemas.mask_vocabulary import MAX_VOCAB_SIZE
from maskmill.schemas.rate_schedule import RateSchedule, read_schedule
from maskmill.schemas.shares import PPM, PpmShare
from maskmill.schemas.token_weights import RARE, pack_weights, unpack_weights
from maskmill.schemas.wording import setting_of

IGNORE_INDEX = -100
"""The label of a position that is not predicted; torch's cross-entropy skips it by default."""

_TWO_TO_32 = 2**32
_DEFAULT_RATE = 0.15
MAX_COPIES = 100
"""Static masks stored with every row."""
MAX_PROTECTED = 1 << 16
"""Tokens that are never predicted."""


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


class LossWeights(StrEnum):
    """What a predicted token counts in the loss where every sequence has a rate of its own."""

    INVERSE_RATE = "inverse_rate"
    """1 / rate of its sequence: the bound on the likelihood (MDLM, arXiv 2406.07524, equation 10)."""
    ONE = "one"
    """As much as any other."""


class SpanLengths(StrEnum):
    """How the geometric distribution (p = 0.2) of the words in a span ends at `max_span`."""

    RENORMALISED = "renormalised"
    """Longer spans are not drawn, as in SpanBERT: 3.80 words on average."""
    CLIPPED = "clipped"
    """Longer spans are shortened, as in Megatron: 4.46 words on average."""


Token = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Rate = Annotated[
    Annotated[PpmShare, Tag("share")] | Annotated[RateSchedule, Tag("schedule")],
    Discriminator(lambda value: "schedule" if isinstance(value, RateSchedule) else "share"),
]


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
    rate: Rate = _DEFAULT_RATE
    """Share of a row's maskable tokens that is predicted, in whole ppm. `token` and `span` predict exactly as many, and
    at least one of any row that has one; `whole_word` and `ngram` at most as many, for words are not cut. At 0 none is
    predicted. A rate may change over the steps of a run: `{curve = "linear", points = [[0, 0.3], [100000, 0.15]]}` goes
    evenly from 30 % at the first step to 15 % at step 100,000 and stays there; with `curve = "cosine"` it leaves and
    arrives slowly, and with `"piecewise"` it changes at each point at once."""
    per_sequence_rate: tuple[PpmShare, PpmShare] | None = None
    """`[low, high]` in place of `rate`, for `token`: each sequence draws its own rate between the two, and each of its
    tokens is predicted with that probability, as in masked diffusion."""
    loss_weights: LossWeights = LossWeights.INVERSE_RATE
    """What a predicted token counts in the loss then: `inverse_rate`, 1 / rate of its sequence, or `one`."""
    mask_share: PpmShare = 0.8
    """Share of the predicted tokens that is shown as [MASK], in whole ppm."""
    random_share: PpmShare = 0.1
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
    token_weights: Annotated[str, Field(max_length=MAX_VOCAB_SIZE * 4 // 3 + 4)] | None = None
    """How much sooner a token is selected than another: a whole number from 1 to 255 for each id, in files base64 of
    one byte for each. The next token is any of those left with a probability proportional to its weight; a word has the
    largest weight of its pieces, and a span begins at a token by its weight. `rare` selects rare tokens sooner, by the
    counts of the words that the vocabulary was trained on, as `maskmill.find_rare_first` weighs them. An empty text is
    none."""
    protect: Annotated[tuple[Token, ...], Field(max_length=MAX_PROTECTED)] = ()
    """Tokens that are never predicted, besides [PAD], [CLS], [SEP] and [MASK]; DeBERTa protects `[UNK]`. They are still
    random replacements, unless they are special, and they end words, n-grams and spans as a [SEP] does."""

    @model_validator(mode="before")
    @classmethod
    def _choose_as_the_papers_do(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if values.get("strategy") == MaskStrategy.SPAN:
            values = {"replace_by": ReplaceBy.UNIT, **values}
        if values.get("per_sequence_rate") is not None:
            if values.get("strategy", MaskStrategy.TOKEN) == MaskStrategy.TOKEN:
                values = {"selection": Selection.BERNOULLI, **values}
            if values.get("rate", _DEFAULT_RATE) != _DEFAULT_RATE:
                raise ValueError("per_sequence_rate takes the place of rate: leave one of the two out")
        return values

    @field_validator("rate", mode="before")
    @classmethod
    def _read_schedule(cls, value: Any) -> Any:
        return read_schedule(value) if isinstance(value, dict) else value

    @field_validator("per_sequence_rate")
    @classmethod
    def _check_bounds(cls, bounds: tuple[float, float] | None) -> tuple[float, float] | None:
        if bounds is not None and bounds[0] > bounds[1]:
            raise ValueError(f"the lowest rate of a sequence, {bounds[0]}, is above the highest, {bounds[1]}")
        return bounds

    @field_validator("token_weights", mode="before")
    @classmethod
    def _pack_weights(cls, weights: Any) -> Any:
        return (weights or None) if isinstance(weights, str | None) else pack_weights(weights)

    @field_validator("token_weights")
    @classmethod
    def _check_weights(cls, weights: str | None) -> str | None:
        if weights is not None:
            unpack_weights(weights)
        return weights

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
        if self.per_sequence_rate is None and self.loss_weights != LossWeights.INVERSE_RATE:
            raise ValueError("loss_weights is for per_sequence_rate: leave it out")
        if self.token_weights is not None and self.selection == Selection.BERNOULLI:
            raise ValueError("token_weights order the tokens of a row, and here each is selected alone: leave one out")
        if self.per_sequence_rate is not None and self.selection != Selection.BERNOULLI:
            raise ValueError('with per_sequence_rate every token is selected by itself: leave out selection = "exact"')
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
        unused |= {name for name in ("protect", "token_weights") if not getattr(self, name)}
        unused |= {"per_sequence_rate", "loss_weights"} if self.per_sequence_rate is None else {"rate", "selection"}
        return {name: value for name, value in written.items() if name not in unused}

    @property
    def schedule(self) -> RateSchedule | None:
        """How the rate changes over the steps of a run; None where it does not."""
        return self.rate if isinstance(self.rate, RateSchedule) else None

    def at(self, step: int) -> Masking:
        """The settings of a step, without a schedule; `step` counts global batches from the start of the run."""
        if self.schedule is None:
            return self
        return self.model_copy(update={"rate": self.schedule.find_ppm(step) / PPM})

    @property
    def rate_bounds_ppm(self) -> tuple[int, int]:
        """The lowest and the highest rate of a sequence in millionths, 0 to 10**6; of a schedule the highest twice."""
        if self.per_sequence_rate is not None:
            low, high = self.per_sequence_rate
            return round(low * PPM), round(high * PPM)
        ppm = self.rate.most_ppm if isinstance(self.rate, RateSchedule) else round(self.rate * PPM)
        return ppm, ppm

    @property
    def rate_ppm(self) -> int:
        """The rate in millionths, 0 to 10**6; the highest where it changes."""
        return self.rate_bounds_ppm[1]

    def most_predicted(self, num_tokens: int) -> int:
        """The most of so many tokens that are predicted: what is reserved for a row in storage and on a device."""
        if self.selection == Selection.BERNOULLI:
            return num_tokens if self.rate_ppm else 0
        return count_selected(num_tokens, self.rate_ppm)

    def show(self) -> dict[str, str]:
        """The settings for people to read, by their names."""
        written = self.model_dump(mode="json")
        shown = {
            name: setting_of(value) if isinstance(value, dict | list) else str(value) for name, value in written.items()
        }
        weights = None if self.token_weights == RARE else self.list_weights()
        return shown if weights is None else shown | {"token_weights": f"of {len(weights)} ids"}

    def list_weights(self) -> bytes | None:
        """The weight of each id, 1 to 255; None where all weigh the same."""
        return None if self.token_weights is None else unpack_weights(self.token_weights)

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
    "per_sequence_rate": (MaskStrategy.TOKEN,),
    "replace_by": (MaskStrategy.WHOLE_WORD, MaskStrategy.SPAN, MaskStrategy.NGRAM),
    "max_ngram": (MaskStrategy.NGRAM,),
    "max_span": (MaskStrategy.SPAN,),
    "span_lengths": (MaskStrategy.SPAN,),
}


GIVE_WAY = {
    "strategy": (*_OF_STRATEGIES, "loss_weights", "token_weights"),
    "selection": ("per_sequence_rate", "loss_weights", "token_weights"),
    "rate": ("per_sequence_rate", "loss_weights"),
    "per_sequence_rate": ("rate", "selection", "token_weights"),
}
"""Settings that do not hold any more where another value of a certain one replaces theirs."""


def count_selected(num_maskable: int, rate_ppm: int) -> int:
    """Count the tokens to select in a row: rounded half up, at least one of any, at most all; none at rate 0."""
    if num_maskable == 0 or rate_ppm == 0:
        return 0
    return max(1, (2 * num_maskable * rate_ppm + PPM) // (2 * PPM))
