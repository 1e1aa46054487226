"""`[pack]` of the run file: how token ids become rows."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from maskmill.schemas.rows import Compression, SeqLen
from maskmill.schemas.section import SHOWN_CHARACTERS, AtLeastOne, Name, Section, Share

MAX_DUPLICATES = 100


class Sequences(StrEnum):
    """What a sequence is made of: it is what attends within itself."""

    SEGMENT = "segment"
    """One segment: a document, or a piece of one that is longer than a row."""
    DOC_SENTENCES = "doc_sentences"
    """One segment of whole sentences of one document (RoBERTa's DOC-SENTENCES, arXiv 1907.11692, section 4.2)."""
    FULL_SENTENCES = "full_sentences"
    """A row of whole sentences from one document after the other (RoBERTa's FULL-SENTENCES)."""
    DOCUMENT = "document"
    """One segment, alone in its row: for models that cannot keep several sequences apart."""


class Pairs(StrEnum):
    """Which pairs of segments a sequence is, and what its label says."""

    NSP = "nsp"
    """Next sentence prediction (BERT, arXiv 1810.04805, section 3.1): 0 if B follows A, 1 if B is from another
    document."""
    SOP = "sop"
    """Sentence order prediction (ALBERT, arXiv 1909.11942, section 3.1): 0 if B follows A, 1 if A follows B."""


class Cut(StrEnum):
    """Where a document may be cut."""

    WORD = "word"
    TOKEN = "token"  # noqa: S105 - a place to cut, not a password
    SENTENCE = "sentence"


class WordBoundaries(StrEnum):
    """What decides where words start, for masks of words."""

    WORDPIECE = "wordpiece"
    """The pieces: a word is one that continues none, with those that continue it."""
    ICU = "icu"
    """In Chinese and Japanese text ICU, which knows their words; elsewhere the pieces."""


class Split(StrEnum):
    """Which documents may be cut."""

    NEVER = "never"
    LONG = "long"
    FILL = "fill"


def _check_language(value: str) -> str:
    if not re.fullmatch("[a-z]{2,3}", value):
        raise ValueError(
            f"{value[:SHOWN_CHARACTERS]!r} is not a language code: write two or three lower-case letters, such as en"
        )
    return value


SeqLens = Annotated[
    Annotated[SeqLen, Tag("one")] | Annotated[tuple[SeqLen, ...], Field(min_length=1, strict=False), Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
]
"""One length, or a list of them."""


class PackSection(Section):
    """`[pack]`: how token ids become rows."""

    name: Name = ""
    """Name of these rows, for an output that holds several packings. The default one, without a name, is `packed/`, and
    one that is named `short` is `packed-short/` and `packed-heldout-short/`. Adding one changes no other. If unset, the
    rows of a named tokenizer have its name."""
    seq_len: SeqLens = 512
    """Token ids in a row, including [CLS], [SEP] and [PAD]; or a list, which gives one dataset for each length, such as
    `packed-128/` and `packed-512/`, in one pass over the text."""
    sequences: Annotated[Sequences, Field(strict=False)] = Sequences.SEGMENT
    """What a sequence is: a `segment` (`[CLS] text [SEP]`, the default), whole sentences of one document
    (`doc_sentences`) or of consecutive documents (`full_sentences`), or a `document` alone in its row."""
    pairs: Annotated[Pairs, Field(strict=False)] | None = None
    """Make every sequence a pair, `[CLS] A [SEP] B [SEP]`, with a label: `nsp` for next sentence prediction as BERT,
    `sop` for sentence order prediction as ALBERT. A and B are whole sentences, truncated where a pair is too long;
    several pairs share a row. It goes with `sequences = "segment"` and `split = "long"`; `min_segment` is not used."""
    duplicates: Annotated[int, Field(strict=True, ge=1, le=MAX_DUPLICATES)] = 1
    """With `pairs`: how often the documents are made into pairs, each time with other draws (BERT's `dupe_factor`, 10).
    The rows of a document shard, which a worker holds in memory, grow with it. `mask.copies` instead stores several
    masks of the same rows."""
    sop_random_single: bool = False
    """With `pairs = "sop"`: pair a single sentence, at the end of a document or as long as a pair, with sentences of
    another document, with the label 1, as ALBERT's code does. Without it a pair has at least two sentences, and a
    single one at the end of a document is left out and counted."""
    length_bins: Annotated[tuple[SeqLen, ...], Field(strict=False)] = ()
    """With `sequences = "document"`: row lengths in ascending order, the last one equal to `seq_len`. A document goes
    into the shortest row that holds it, and each length is a dataset of its own, such as `packed-128/`."""
    split: Annotated[Split, Field(strict=False)] = Split.LONG
    """Which documents may be cut: only those that are longer than a row (`long`); none, so that a longer one is
    quarantined (`never`); or any document, to `fill` rows that whole documents would leave emptier than `max_waste`."""
    max_waste: Share = 0.05
    """With `split = "fill"`: the share of a row that may stay empty before a document is cut to fill it."""
    cut: Annotated[Cut, Field(strict=False)] = Cut.WORD
    """Where a document is cut: at the start of a `sentence` or of a `word`, or after any `token`. If no sentence start
    fits, the cut is at a word; if no word start fits, it is inside a word, and counted."""
    sentence_language: Annotated[str, AfterValidator(_check_language)] = "en"
    """For finding sentences: the language of the text, as an ISO 639-1 code."""
    min_segment: AtLeastOne = 16
    """Minimum number of tokens in the last piece of a cut document, reached by moving the cut before it; if the places
    to cut do not allow this, the piece is shorter. At most half of `seq_len`."""
    keep_encoded: bool = False
    """Keep the token ids of every document in `encoded/`, so that packing again needs no tokenizer."""
    word_boundaries: Annotated[WordBoundaries, Field(strict=False)] = WordBoundaries.WORDPIECE
    """What a word is to the mask strategies of words: what `wordpiece` makes of it, where every Chinese character and
    every run of kana is one, or in Chinese and Japanese text what `icu` finds, which is stored with every row as
    `word_starts` and needs `pip install "maskmill[cjk]"`. Token ids, rows and cuts stay the same."""
    rows_per_shard: AtLeastOne | None = None
    """Maximum number of rows in a packed shard; if unset, each document shard gives one packed shard."""
    compression: Annotated[Compression, Field(strict=False)] = Compression.NONE
    """Compression of packed shards: `none`, which a loader reads without a copy, `lz4` or `zstd`."""

    @model_validator(mode="after")
    def _fits_together(self) -> PackSection:
        lengths = self.seq_lens
        if len(set(lengths)) < len(lengths):
            raise ValueError("seq_len names a length twice")
        if self.min_segment > min(lengths) // 2:
            raise ValueError(f"min_segment {self.min_segment} is more than half of a row of {min(lengths)}")
        self._check_pairs()
        if self.length_bins:
            if self.sequences is not Sequences.DOCUMENT or not isinstance(self.seq_len, int):
                raise ValueError('length_bins goes with sequences = "document" and one seq_len')
            if list(self.length_bins) != sorted(set(self.length_bins)) or self.length_bins[-1] != self.seq_len:
                raise ValueError(f"length_bins must rise and end with seq_len {self.seq_len}")
        if self.split is Split.FILL and self.sequences in (Sequences.FULL_SENTENCES, Sequences.DOCUMENT):
            raise ValueError(f'split = "fill" does not go with sequences = "{self.sequences}"')
        if self.split is Split.NEVER and self.sequences in (Sequences.FULL_SENTENCES, Sequences.DOC_SENTENCES):
            raise ValueError(f'split = "never" does not go with sequences = "{self.sequences}"')
        return self

    def _check_pairs(self) -> None:
        if self.pairs is None and (self.duplicates > 1 or self.sop_random_single):
            key = "duplicates" if self.duplicates > 1 else "sop_random_single"
            raise ValueError(f'{key} goes with pairs = "nsp" or "sop"')
        if self.sop_random_single and self.pairs is not Pairs.SOP:
            raise ValueError('sop_random_single goes with pairs = "sop"')
        if self.pairs is not None and self.sequences is not Sequences.SEGMENT:
            raise ValueError(f'pairs = "{self.pairs}" does not go with sequences = "{self.sequences}"')
        if self.pairs is not None and self.split is not Split.LONG:
            raise ValueError(f'pairs = "{self.pairs}" does not go with split = "{self.split}"')

    @property
    def seq_lens(self) -> tuple[int, ...]:
        """The lengths of rows that are asked for, as given."""
        return (self.seq_len,) if isinstance(self.seq_len, int) else self.seq_len

    @property
    def needs_sentences(self) -> bool:
        """Whether sentences must be found."""
        of_sentences = self.sequences in (Sequences.FULL_SENTENCES, Sequences.DOC_SENTENCES)
        return self.cut is Cut.SENTENCE or of_sentences or self.pairs is not None
