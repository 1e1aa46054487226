"""The pre-tokenizers of a `tokenizer.json` that are accepted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import FailFast, Field, StringConstraints, model_validator

from maskmill.schemas.tokenizer.patterns import MAX_PARTS, Part, Pattern

MAX_LENGTH = 1 << 20
"""Most characters or tokens to cut, truncate or pad to."""

OneCharacter = Annotated[str, StringConstraints(min_length=1, max_length=1)]
Behavior = Literal["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


class PlainPreTokenizer(Part):
    """Pre-tokenizers without settings."""

    type: Literal["BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts"]


class PunctuationPreTokenizer(Part):
    """Splits at punctuation."""

    type: Literal["Punctuation"]
    behavior: Behavior = "Isolated"


class DigitsPreTokenizer(Part):
    """Splits digits from the rest."""

    type: Literal["Digits"]
    individual_digits: bool


class DelimiterPreTokenizer(Part):
    """Splits at one character."""

    type: Literal["CharDelimiterSplit"]
    delimiter: OneCharacter


class SplitPreTokenizer(Part):
    """Splits at a pattern."""

    type: Literal["Split"]
    pattern: Pattern
    behavior: Behavior
    invert: bool


class LengthPreTokenizer(Part):
    """Cuts into pieces of equal length."""

    type: Literal["FixedLength"]
    length: Annotated[int, Field(ge=1, le=MAX_LENGTH)]


class MetaspacePreTokenizer(Part):
    """Splits at spaces and replaces them by a visible character."""

    type: Literal["Metaspace"]
    replacement: OneCharacter
    prepend_scheme: Literal["first", "never", "always"] = "always"
    split: bool = True


class ByteLevelPart(Part):
    """Represents bytes as characters."""

    type: Literal["ByteLevel"]
    add_prefix_space: bool
    trim_offsets: bool
    use_regex: bool = True


_OnePreTokenizer = (
    PlainPreTokenizer
    | PunctuationPreTokenizer
    | DigitsPreTokenizer
    | DelimiterPreTokenizer
    | SplitPreTokenizer
    | LengthPreTokenizer
    | MetaspacePreTokenizer
    | ByteLevelPart
)


class PreTokenizerSequence(Part):
    """One pre-tokenizer after the other."""

    type: Literal["Sequence"]
    pretokenizers: Annotated[
        list[Annotated[_OnePreTokenizer, Field(discriminator="type")]], FailFast(), Field(max_length=MAX_PARTS)
    ]

    @model_validator(mode="after")
    def _grows_little(self) -> PreTokenizerSequence:
        if sum(isinstance(one, MetaspacePreTokenizer | ByteLevelPart) for one in self.pretokenizers) > 1:
            raise ValueError("more than one of Metaspace and ByteLevel, each of which makes a text longer")
        return self


PreTokenizer = Annotated[_OnePreTokenizer | PreTokenizerSequence, Field(discriminator="type")]
