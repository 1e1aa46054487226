"""The post-processors, decoders, truncation and padding of a `tokenizer.json` that are accepted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import FailFast, Field, field_validator, model_validator

from maskmill.schemas.tokenizer.patterns import MAX_PARTS, Part, Text
from maskmill.schemas.tokenizer.pre_tokenizers import MAX_LENGTH, ByteLevelPart, MetaspacePreTokenizer

TypeId = Annotated[int, Field(ge=0, le=1)]


class PlaceOfToken(Part):
    """A special token or a sequence in a template."""

    id: Text
    type_id: TypeId


class TemplateItem(Part):
    """An item of a template: a special token or a sequence."""

    SpecialToken: PlaceOfToken | None = None
    Sequence: PlaceOfToken | None = None

    @model_validator(mode="after")
    def _is_one(self) -> TemplateItem:
        if (self.SpecialToken is None) == (self.Sequence is None):
            raise ValueError("either a SpecialToken or a Sequence")
        if self.Sequence is not None and self.Sequence.id not in ("A", "B"):
            raise ValueError("a Sequence is A or B")
        return self


class TemplateToken(Part):
    """The ids for a name in a template."""

    id: Text
    ids: Annotated[list[int], FailFast(), Field(max_length=MAX_PARTS)]
    tokens: Annotated[list[Text], FailFast(), Field(max_length=MAX_PARTS)]


_Items = Annotated[list[TemplateItem], FailFast(), Field(max_length=MAX_PARTS)]


class TemplateProcessor(Part):
    """Adds special tokens around one or two sequences."""

    type: Literal["TemplateProcessing"]
    single: _Items
    pair: _Items
    special_tokens: Annotated[dict[Text, TemplateToken], Field(max_length=MAX_PARTS)]

    @model_validator(mode="after")
    def _is_whole(self) -> TemplateProcessor:
        for items, sequences in ((self.single, ["A"]), (self.pair, ["A", "B"])):
            if sorted(item.Sequence.id for item in items if item.Sequence) != sequences:
                raise ValueError(f"a template must hold {' and '.join(sequences)} once")
            missing = {item.SpecialToken.id for item in items if item.SpecialToken} - self.special_tokens.keys()
            if missing:
                raise ValueError(f"{min(missing)} is not among special_tokens")
        if any(name != token.id or len(token.ids) != len(token.tokens) for name, token in self.special_tokens.items()):
            raise ValueError("special_tokens must have their own name, and an id for each of their tokens")
        return self

    def named_ids(self) -> list[tuple[str, int]]:
        """The tokens that it names, and the ids that they should have."""
        tokens = self.special_tokens.values()
        return [pair for token in tokens for pair in zip(token.tokens, token.ids, strict=True)]


class PairProcessor(Part):
    """Adds the two special tokens of BERT or RoBERTa around sequences."""

    type: Literal["BertProcessing", "RobertaProcessing"]
    sep: tuple[Text, int]
    cls: tuple[Text, int]
    trim_offsets: bool | None = None
    add_prefix_space: bool | None = None

    @field_validator("sep", "cls", mode="before")
    @classmethod
    def _is_pair(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _has_its_settings(self) -> PairProcessor:
        settings = (self.trim_offsets, self.add_prefix_space)
        if (None in settings) == (self.type == "RobertaProcessing") or settings.count(None) == 1:
            raise ValueError("trim_offsets and add_prefix_space belong to RobertaProcessing")
        return self

    def named_ids(self) -> list[tuple[str, int]]:
        """The tokens that it names, and the ids that they should have."""
        return [self.sep, self.cls]


class ProcessorSequence(Part):
    """One post-processor after the other."""

    type: Literal["Sequence"]
    processors: Annotated[
        list[Annotated[TemplateProcessor | PairProcessor | ByteLevelPart, Field(discriminator="type")]],
        FailFast(),
        Field(max_length=MAX_PARTS),
    ]

    def named_ids(self) -> list[tuple[str, int]]:
        """The tokens that its parts name, and the ids that they should have."""
        return [pair for one in self.processors if not isinstance(one, ByteLevelPart) for pair in one.named_ids()]


PostProcessor = Annotated[
    TemplateProcessor | PairProcessor | ByteLevelPart | ProcessorSequence, Field(discriminator="type")
]


class WordPieceDecoder(Part):
    """Joins pieces into words."""

    type: Literal["WordPiece"]
    prefix: Text
    cleanup: bool


class FuseDecoder(Part):
    """Joins all tokens into one text."""

    type: Literal["Fuse"]


_OneDecoder = WordPieceDecoder | ByteLevelPart | MetaspacePreTokenizer | FuseDecoder


class DecoderSequence(Part):
    """One decoder after the other."""

    type: Literal["Sequence"]
    decoders: Annotated[
        list[Annotated[_OneDecoder, Field(discriminator="type")]], FailFast(), Field(max_length=MAX_PARTS)
    ]


Decoder = Annotated[_OneDecoder | DecoderSequence, Field(discriminator="type")]


class Truncation(Part):
    """How texts are truncated; ignored when maskmill encodes text."""

    direction: Literal["Left", "Right"] = "Right"
    max_length: Annotated[int, Field(ge=1, le=MAX_LENGTH)]
    strategy: Literal["LongestFirst", "OnlyFirst", "OnlySecond"]
    stride: Annotated[int, Field(ge=0, le=MAX_LENGTH)]


class FixedPadding(Part):
    """Padding to one length."""

    Fixed: Annotated[int, Field(ge=0, le=MAX_LENGTH)]


class Padding(Part):
    """How texts are padded; ignored when maskmill encodes text."""

    strategy: Literal["BatchLongest"] | FixedPadding
    direction: Literal["Left", "Right"]
    pad_to_multiple_of: Annotated[int, Field(ge=1, le=MAX_LENGTH)] | None = None
    pad_id: Annotated[int, Field(ge=0, lt=2**32)]
    pad_type_id: TypeId
    pad_token: Text
