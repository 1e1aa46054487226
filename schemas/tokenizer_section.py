"""`[tokenizer]` of the run file: a vocabulary to train, or one to bring."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from maskmill.schemas.mask_vocabulary import MAX_VOCAB_SIZE
from maskmill.schemas.section import AtLeastOne, Name, Section, Share

MAX_UNUSED = 1 << 20
THOUSANDTH_TOLERANCE = 1e-6
"""In thousandths: accepts 0.1 + 0.2 as 0.3, and rejects 0.12345."""


class TokenizerSection(Section):
    """`[tokenizer]`: a vocabulary to train, or one to bring with `from`.

    With `from` nothing is trained unless `extend` is set, and the keys for normalising text apply only to a
    `vocab.txt`: a `tokenizer.json` has its own normalisation.
    """

    name: Name = ""
    """Name of this tokenizer, for an output that holds several over the same documents. The default one, without a
    name, is `tokenizer/`, and one that is named `cased` is `tokenizer-cased/`. Adding one changes no other."""
    vocab_size: Annotated[int, Field(ge=6, le=MAX_VOCAB_SIZE)] = 30522
    """Pieces in the vocabulary, including special and unused ones; fewer if no pair is left to merge."""
    min_frequency: AtLeastOne = 2
    """Two adjacent pieces that occur fewer times than this are not merged."""
    limit_alphabet: AtLeastOne | None = 1000
    """Number of characters to keep, the most frequent ones; a word with any other character encodes as [UNK]. `None`,
    possible only from Python, keeps all."""
    initial_alphabet: str = ""
    """Characters to keep before any others, even if they do not occur in the text."""
    long_words: Literal["skip", "train"] = "skip"
    """What to do with words of more characters than the encoder takes: 100, or the limit in the `tokenizer.json` of
    `from`. They encode as [UNK] whatever the vocabulary, so they are left out of training (`skip`), or trained on like
    any other (`train`). In both cases they are counted."""
    max_words: AtLeastOne = 20_000_000
    """Number of distinct words to train on, the most frequent ones. It bounds the memory of training, and the words
    that it leaves out are counted."""
    alpha: Share = 1.0
    """A source of n words is weighted as if it had n^alpha: 1 leaves sources as they are, 0.7 is the value of
    multilingual BERT, 0 makes them equal. At most three decimal places."""
    unused: Annotated[int, Field(ge=0, le=MAX_UNUSED)] = 0
    """Number of `[unused0]`, `[unused1]` and so on after the special tokens, reserved for pieces of a later domain."""
    size_multiple: Annotated[int, Field(ge=1, le=MAX_UNUSED)] = 1
    """Pad the vocabulary to a multiple of this with further `[unusedN]` at its end; 64 suits tensor cores."""
    lowercase: bool = True
    """Map every character to lower case."""
    strip_accents: bool | None = None
    """Decompose characters and drop combining marks; if unset, the same as `lowercase`."""
    handle_chinese_chars: bool = True
    """Make every CJK ideograph a word of its own."""
    model_max_length: AtLeastOne = 512
    """The value in `tokenizer_config.json`: the number of tokens, including special ones, to which `transformers`
    truncates. Rows may have any length."""
    special_in_text: Literal["text", "special"] = "text"
    """How to encode `[MASK]` and the like where they occur in raw text: as `text` like any other, or as the `special`
    token."""
    from_: str | None = Field(default=None, alias="from")
    """Path or URL of a `tokenizer.json`, of a `vocab.txt`, or of a folder with one of them, which is read as
    `transformers.AutoTokenizer` reads it, or refused; if unset, a vocabulary is trained. In Python the field is
    `from_`."""
    extend: Annotated[int, Field(ge=0, le=MAX_VOCAB_SIZE)] = 0
    """Number of pieces to add to the vocabulary of `from`, the most useful ones for this text; existing ids do not
    change."""
    extend_into: Literal["unused", "append"] = "unused"
    """Where added pieces go: into the `[unusedN]` slots of the vocabulary, the lowest id first (`unused`), or after its
    last id (`append`)."""

    @field_validator("alpha")
    @classmethod
    def _in_thousandths(cls, value: float) -> float:
        thousandths = round(value * 1000)
        if abs(value * 1000 - thousandths) > THOUSANDTH_TOLERANCE:
            raise ValueError(f"alpha is taken in whole thousandths: write {thousandths / 1000} instead of {value!r}")
        return thousandths / 1000

    @model_validator(mode="after")
    def _extends_something(self) -> TokenizerSection:
        if self.extend and self.from_ is None:
            raise ValueError("extend needs from, the vocabulary that is extended")
        for name, set_here in (
            ("unused", self.unused > 0),
            ("size_multiple", self.size_multiple > 1),
            ("initial_alphabet", bool(self.initial_alphabet)),
        ):
            if set_here and self.from_ is not None:
                raise ValueError(f"{name} is of a vocabulary that is trained: with from it changes nothing")
        return self

    @property
    def alpha_thousandths(self) -> int:
        """The exponent in thousandths, 0 to 1000."""
        return round(self.alpha * 1000)
