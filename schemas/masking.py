"""Mask settings, and what a manifest keeps of a vocabulary: everything that decides a mask besides the row.

Rates and shares are given as decimals and converted here, once, to integers: `ppm = round(rate * 10**6)`. Everything
else is integer arithmetic. Floats would not be exact: `round(0.15 * 510)` is 76 in Python and 77 in float32, and 510
is the most common number of maskable tokens in a row.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.explain_values import explain_values, show_value

IGNORE_INDEX = -100
"""The label of a position that is not predicted; torch's cross-entropy skips it by default."""

PPM = 10**6
_TWO_TO_32 = 2**32
MAX_VOCAB_SIZE = 1 << 20
"""Of any tokenizer: the largest in use have a quarter of it, and a loader's tables by id take 5 MB."""
MAX_COPIES = 100
"""Static masks stored with every row."""
_PPM_TOLERANCE = 1e-6
"""In ppm: accepts 0.1 + 0.05 as 0.15, and rejects 0.1234567."""


class MaskStrategy(StrEnum):
    """How the masked positions of a row are chosen."""

    TOKEN = "token"  # noqa: S105 - a strategy's name, not a password
    """Every maskable token alone, as in BERT (arXiv 1810.04805, section 3.1)."""


Share = Annotated[float, Field(strict=True, ge=0.0, le=1.0, allow_inf_nan=False)]
Id = Annotated[int, Field(strict=True, ge=0, lt=MAX_VOCAB_SIZE)]


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
    """How the positions that are predicted are chosen: `token`, each alone."""
    rate: Share = 0.15
    """Share of a row's maskable tokens that is predicted, in whole ppm: at least one token of any row that has one,
    none at a rate of 0."""
    mask_share: Share = 0.8
    """Share of the predicted tokens that is shown as [MASK], in whole ppm."""
    random_share: Share = 0.1
    """Share of the predicted tokens that is shown as a random ordinary token; the rest is shown as it is."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**64)] = 0
    """Decides the masks, with a row's number and the epoch."""

    @field_validator("rate", "mask_share", "random_share")
    @classmethod
    def _round_to_ppm(cls, value: float) -> float:
        ppm = round(value * PPM)
        if abs(value * PPM - ppm) > _PPM_TOLERANCE:
            nearest = max(1, ppm) / PPM if value > 0 else 0  # 0 would mean no mask at all
            raise ValueError(f"masks are computed in whole millionths: write {nearest:.6f} instead of {value!r}")
        return ppm / PPM

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if round(self.mask_share * PPM) + round(self.random_share * PPM) > PPM:
            raise ValueError(
                f"mask_share + random_share must not exceed 1: {self.mask_share} and {self.random_share} "
                "leave less than nothing for the tokens shown as they are"
            )
        return self

    @property
    def rate_ppm(self) -> int:
        """The rate in millionths, 0 to 10**6."""
        return round(self.rate * PPM)

    def most_predicted(self, num_tokens: int) -> int:
        """The most of so many tokens that are predicted: what is reserved for a row in storage and on a device."""
        return count_selected(num_tokens, self.rate_ppm)

    @property
    def mask_threshold(self) -> int:
        """A selected position whose action hash is below this, of 2**32, becomes [MASK]."""
        return round(self.mask_share * PPM) * _TWO_TO_32 // PPM

    @property
    def random_threshold(self) -> int:
        """From `mask_threshold` to below this, of 2**32, it becomes a random token; above, it is kept."""
        return (round(self.mask_share * PPM) + round(self.random_share * PPM)) * _TWO_TO_32 // PPM


def count_selected(num_maskable: int, rate_ppm: int) -> int:
    """Count the tokens to select in a row: rounded half up, at least one of any, at most all; none at rate 0."""
    if num_maskable == 0 or rate_ppm == 0:
        return 0
    return max(1, (2 * num_maskable * rate_ppm + PPM) // (2 * PPM))


class MaskVocabulary(BaseModel):
    """What masking needs to know about a vocabulary; it is in the manifest, so a loader needs no tokenizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab_size: Annotated[int, Field(strict=True, gt=0, le=MAX_VOCAB_SIZE)]
    """Rows of the embedding: the tokens and the ids that only pad the size to a round number."""
    pad_id: Id
    unk_id: Id
    cls_id: Id
    sep_id: Id
    mask_id: Id
    excluded_ranges: tuple[tuple[Id, Annotated[int, Field(strict=True, gt=0, le=MAX_VOCAB_SIZE)]], ...]
    """`(start, stop)` of ids that are never a random replacement: special tokens, `[unusedN]`, size padding.
    Ascending, half open, neither overlapping nor touching, so that one set of ids has one spelling."""

    @model_validator(mode="after")
    def _check_ids(self) -> Self:
        special = {"[PAD]": self.pad_id, "[UNK]": self.unk_id, "[CLS]": self.cls_id, "[SEP]": self.sep_id}
        special["[MASK]"] = self.mask_id
        if len(set(special.values())) < len(special):
            raise ValueError(f"special tokens must have ids of their own, got {special}")
        previous_stop = -1
        for start, stop in self.excluded_ranges:
            if not previous_stop < start < stop <= self.vocab_size:
                raise ValueError(
                    f"excluded range ({start}, {stop}) is empty, out of order, touches the one before it "
                    f"or leaves the vocabulary of {self.vocab_size} ids"
                )
            previous_stop = stop
        for token, token_id in special.items():
            if not any(start <= token_id < stop for start, stop in self.excluded_ranges):
                raise ValueError(f"{token} has id {token_id}, which no excluded range holds")
        if sum(stop - start for start, stop in self.excluded_ranges) == self.vocab_size:
            raise ValueError("no id is left that could replace a token: every id is excluded")
        return self
