"""`[filters]`: which documents are left out of a corpus, and which lines of them.

Words are what `str.split()` gives, and characters are Unicode code points, in every filter. Where a paper and its
published code differ, the default is that of the code.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from enum import StrEnum
from importlib import metadata
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from maskmill.schemas.section import AtLeastOne, AtLeastZero, InputFormat, Section, Share, Url

EVERY_SOURCE = "*"
"""The key of a table by source whose patterns are those of every source."""
UNICODE = "unicode"
"""The key of the version of Unicode in a fingerprint."""
LIBRARIES = {"repair_unicode": "ftfy", "language": "py3langid"}
"""The library that a filter needs. Its version decides what the filter does, so it is a key of a fingerprint."""
NOT_INSTALLED = "not installed"
MAX_NGRAM = 64
MAX_PATTERNS = 1000

Ratio = Annotated[float, Field(ge=0.0)]
NgramShare = Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_NGRAM)], Ratio], Field(strict=False)]
NgramShares = Annotated[tuple[NgramShare, ...], Field(strict=False, max_length=MAX_NGRAM)]
Patterns = dict[str, Annotated[tuple[str, ...], Field(strict=False, max_length=MAX_PATTERNS)]]
LanguageCode = Annotated[str, Field(pattern="^[a-z]{2,3}$")]
_NO_PATTERNS: Patterns = {}


class RepairUnicodeFilter(Section):
    """`[filters.repair_unicode]`: repair text whose characters were broken on the way, with `ftfy`.

    It needs `pip install "maskmill[filters]"`. It undoes wrong encodings (`schÃ¶n` is `schön`), and takes out terminal
    escapes, lone surrogates and control characters other than white space. The keys below are for what was written
    that way; without them it is `ftfy.fix_text` as datatrove's `FTFYFormatter` calls it. Other filters see what it has
    left, and the manifest counts the documents that it changed, by source.
    """

    unescape_html: bool = True
    """Replace entities such as `&eacute;`, up to the first line with `<`, as HTML is meant to have them."""
    latin_ligatures: bool = False
    """Write ligatures and digraphs such as `ﬁ` as letters."""
    character_width: bool = False
    """Write full-width Latin letters and punctuation, and half-width kana, in their usual widths."""
    straight_quotes: bool = False
    """Write curly quotation marks as straight ones."""
    line_breaks: bool = False
    """Write CR LF, CR, U+0085, U+2028 and U+2029 as LF."""
    normalization: Literal["NFC", "NFD", "NFKC", "NFKD"] | None = None
    """A form of Unicode to write all text in."""


class LengthFilter(Section):
    """`[filters.length]`: drop documents that are too short or too long; it needs at least one of its keys."""

    min_characters: AtLeastZero = 0
    """Fewest characters of a document."""
    max_characters: AtLeastOne | None = None
    """Most characters of a document; if unset, there is no limit."""
    min_words: AtLeastZero = 0
    """Fewest words of a document."""
    max_words: AtLeastOne | None = None
    """Most words of a document; if unset, there is no limit."""

    @model_validator(mode="after")
    def _limits_something(self) -> LengthFilter:
        if self == LengthFilter.model_construct():
            raise ValueError("it limits nothing: give min_characters, max_characters, min_words or max_words")
        for name in ("characters", "words"):
            least, most = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if most is not None and least > most:
                raise ValueError(f"min_{name} {least} is above max_{name} {most}: no document would be left")
        return self


class RegexFilter(Section):
    """`[filters.regex]`: drop documents, or lines of them, by regular expressions for each source.

    Each key is a table of lists of expressions by source; those of the source `"*"` are used for every document. They
    are Python's `re`, match anywhere in the text, and begin with `(?i)` to ignore case, `(?m)` to let `^` and `$` match
    at lines. Expressions that backtrack without end, such as `(a+)+b`, can make a run very slow.
    """

    drop: Patterns = _NO_PATTERNS
    """A document that any of these match is dropped: `drop = {"*" = ["(?i)lorem ipsum"], forum = ["^Re: "]}`."""
    need: Patterns = _NO_PATTERNS
    """A document that any of these does not match is dropped."""
    drop_lines: Patterns = _NO_PATTERNS
    """Lines that any of these match are taken out of a document, before `drop` and `need` look at it. A line ends at
    LF, which `re` does not see. A document without a line left is dropped."""

    @field_validator("drop", "need", "drop_lines")
    @classmethod
    def _compile(cls, patterns: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for source, expressions in patterns.items():
            for expression in expressions:
                try:
                    re.compile(expression)
                except (re.error, RecursionError, OverflowError) as error:
                    raise ValueError(f"{expression[:100]!r} of source {source!r} is no expression: {error}") from None
        return patterns

    @model_validator(mode="after")
    def _has_patterns(self) -> RegexFilter:
        if not any(expressions for name in type(self).model_fields for expressions in getattr(self, name).values()):
            raise ValueError("it has no expression: give drop, need or drop_lines")
        return self


class LanguageFilter(Section):
    """`[filters.language]`: keep documents of some languages, as `py3langid` finds them.

    It needs `pip install "maskmill[filters]"`. What is looked at are the first 65,536 characters of a document. A
    document in which the model finds nothing that it knows, such as one of digits alone, is dropped.
    """

    keep: Annotated[tuple[LanguageCode, ...], Field(strict=False, min_length=1, max_length=MAX_PATTERNS)]
    """Languages of documents that stay, by the codes of the model, ISO 639: `["en", "de"]`. It knows 138; an unknown
    one is refused with a list of them. `zxx` is text without a language, such as code."""
    min_probability: Share = 0.0
    """Least probability of the language, to six decimals, as `py3langid` gives it for all its languages; with 0, it is
    enough that no other is more probable."""


class GopherRepetitionFilter(Section):
    """`[filters.gopher_repetition]`: drop documents that repeat themselves (Gopher, arXiv 2112.11446, table A1).

    All shares are of the characters of the document, unless another is named.
    """

    max_duplicate_lines: Share = 0.3
    """Share of the lines that are equal to an earlier line; several LF in a row are one."""
    max_duplicate_line_characters: Share = 0.2
    """Share of the characters in such lines."""
    max_duplicate_paragraphs: Share = 0.3
    """Share of the paragraphs that are equal to an earlier one; paragraphs are divided by blank lines."""
    max_duplicate_paragraph_characters: Share = 0.2
    """Share of the characters in such paragraphs."""
    max_top_ngrams: NgramShares = ((2, 0.2), (3, 0.18), (4, 0.16))
    """Pairs of a number of words, n, and the largest share of the characters in the n-gram that occurs most often. Of
    several it is the one that occurs first; occurrences may overlap, so that a share may be above 1."""
    max_duplicate_ngrams: NgramShares = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))
    """Pairs of a number of words, n, and the largest share of the characters in n-grams that occurred before, without
    the spaces in them. An n-gram that overlaps one that was counted is not counted."""


class GopherQualityFilter(Section):
    """`[filters.gopher_quality]`: drop documents that do not look like prose (Gopher, arXiv 2112.11446, A.1.1)."""

    min_words: AtLeastZero = 50
    """Fewest words that are not made of punctuation alone."""
    max_words: AtLeastOne = 100_000
    """Most such words."""
    min_mean_word_length: Ratio = 3.0
    """Least mean of their characters."""
    max_mean_word_length: Ratio = 10.0
    """Greatest mean of their characters."""
    max_symbols_per_word: Ratio = 0.1
    """Most `#`, and most ellipses (`...` or `…`), for each word."""
    max_bullet_lines: Share = 0.9
    """Share of the lines that begin with `•` or `-`."""
    max_ellipsis_lines: Share = 0.3
    """Share of the lines that end with an ellipsis."""
    min_alphabetic_words: Share = 0.8
    """Least share of the words that have a letter, as `str.isalpha` says."""
    min_stop_words: AtLeastZero = 2
    """Fewest different words of `stop_words` in the document."""
    stop_words: Annotated[tuple[str, ...], Field(strict=False, max_length=MAX_PATTERNS)] = (
        "the",
        "be",
        "to",
        "of",
        "and",
        "that",
        "have",
        "with",
    )
    """Words of which a text of the language has some, case and all. The default is English: give others, or
    `min_stop_words = 0`, for other languages."""


class C4LinesFilter(Section):
    """`[filters.c4_lines]`: take lines that are no sentences out of documents (C4, arXiv 1910.10683, section 2.2).

    Lines are what `str.splitlines` gives, without the white space at both ends. The list of bad words is not used.
    """

    min_sentences: AtLeastZero = 5
    """Fewest sentences in the lines that stay; a document with fewer is dropped. A sentence ends with `.`, `!` or `?`,
    perhaps followed by quotes and brackets, before white space or the end of a line; a line has at least one."""
    min_words: AtLeastZero = 3
    """Fewest words of a line that stays."""
    max_word_length: AtLeastOne = 1000
    """Most characters of a word in a line that stays."""
    end_mark: bool = True
    """Take out lines that do not end with `.`, `?`, `!`, `"` or `'`, or that end with `...`."""
    citations: bool = True
    """Take `[1]`, `[]`, `[edit]` and `[citation needed]` out of lines, as Wikipedia has them."""
    javascript: bool = True
    """Take out lines that mention JavaScript."""
    policy: bool = True
    """Take out lines that mention terms of use, a privacy or cookie policy, or that cookies are used."""
    lorem_ipsum: bool = True
    """Drop documents with `lorem ipsum` in a line that would stay otherwise."""
    curly_bracket: bool = True
    """Drop documents with `{` in such a line, which are most likely code."""


class FinewebQualityFilter(Section):
    """`[filters.fineweb_quality]`: drop lists and boilerplate (FineWeb, arXiv 2406.17557, section 3.6).

    Lines end at LF, and blank ones do not count.
    """

    min_end_mark_lines: Share = 0.12
    """Least share of the lines that end with a mark that ends sentences, in any script."""
    max_short_lines: Share = 0.67
    """Largest share of the lines that are short."""
    short_line: AtLeastZero = 30
    """Most characters of a short line."""
    max_duplicate_line_characters: Share = 0.01
    """Largest share of the characters, LF apart, in lines that are equal to an earlier one. It is that of FineWeb's
    code; the paper has 0.1."""
    max_lines_per_word: Ratio = 0.3
    """Most LF for each word: a text with more is a list. It is in FineWeb's code alone."""


class Action(StrEnum):
    """What is done with a document that shares text with evaluation files."""

    DROP = "drop"
    TRIM = "trim"


class DecontaminationFilter(Section):
    """`[filters.decontamination]`: leave out what evaluation files hold, so that a score on them means something.

    A document is compared by its n-grams of words. A word is a run of letters, digits and combining marks in lower
    case; punctuation, white space and markup only divide words. A Chinese ideograph or a kana is a word of its own.
    A shorter evaluation text is compared as a whole; the manifest counts for each file the texts, those compared whole
    and those too short to compare, and the documents that share text with it. The first n-gram that a document shares
    with each file is in `quarantine/contamination.parquet`, for 1,000
    documents of each map unit and 100,000 in all at most.
    """

    paths: Annotated[tuple[Url, ...], Field(min_length=1, max_length=MAX_PATTERNS, strict=False)]
    """Evaluation files, as in `input.paths`: at most 1,000, of up to 256 MiB of words in all. With other contents it is
    another run; where the files are does not matter."""
    format: InputFormat | None = None
    """As in `[input]`."""
    text_field: str = "text"
    """As in `[input]`."""
    text_document: Literal["file", "line", "blank_line"] = "line"
    """What counts as one text in a `.txt` file."""
    ngram: Annotated[int, Field(ge=1, le=MAX_NGRAM)] = 13
    """Words of an n-gram, as GPT-3 (arXiv 2005.14165, appendix C) compares them."""
    min_words: Annotated[int, Field(ge=1, le=MAX_NGRAM)] = 8
    """Fewest words of an evaluation text that is compared."""
    action: Annotated[Action, Field(strict=False)] = Action.DROP
    """`drop` leaves out the document, `trim` the n-grams with `window`; what is left stays one document, with a blank
    line for each gap."""
    window: AtLeastZero = 200
    """Characters on each side of an n-gram that `trim` takes out too, and up to 50 more to end at white space."""

    @model_validator(mode="after")
    def _compares_something(self) -> DecontaminationFilter:
        if self.min_words > self.ngram:
            raise ValueError(f"min_words {self.min_words} is above ngram {self.ngram}: whole texts have fewer words")
        return self


class FiltersSection(Section):
    """`[filters]`: which documents are left out; a filter is on where its table is there, if with no key.

    They look at a document one after the other, in the order below, before duplicates are found. The first that drops
    it is the reason that is counted.
    """

    repair_unicode: RepairUnicodeFilter | None = None
    """Repair of broken characters."""
    regex: RegexFilter | None = None
    """Regular expressions for each source."""
    length: LengthFilter | None = None
    """Characters and words of a document."""
    language: LanguageFilter | None = None
    """The languages that stay."""
    gopher_repetition: GopherRepetitionFilter | None = None
    """Gopher's rules on repetition."""
    gopher_quality: GopherQualityFilter | None = None
    """Gopher's rules on quality."""
    c4_lines: C4LinesFilter | None = None
    """C4's rules on lines."""
    fineweb_quality: FinewebQualityFilter | None = None
    """FineWeb's rules on lines."""
    decontamination: DecontaminationFilter | None = None
    """Text of evaluation files."""

    def fingerprinted(self) -> dict[str, Any]:
        """What decides which documents stay: the filters that are on, and versions; empty if none is.

        Letters, white space and lower case are as Python's own tables say, which change with Unicode. Some filters
        do what a library does.
        """
        settings = {name: own.model_dump(mode="json") for name, own in self.enabled()}
        if "decontamination" in settings:
            settings["decontamination"].pop("paths")  # what the files hold is covered instead
        return settings | {UNICODE: unicodedata.unidata_version} | self.libraries() if settings else {}

    def libraries(self) -> dict[str, str]:
        """The libraries that the filters that are on need, and their versions on this machine."""
        return {library: _version(library) for name, library in LIBRARIES.items() if getattr(self, name) is not None}

    def enabled(self) -> Iterator[tuple[str, Section]]:
        """The filters that are on: their names and settings, in the order in which they look at a document."""
        for name in type(self).model_fields:
            settings = getattr(self, name)
            if settings is not None:
                yield name, settings


def filters_of_record(sections: Mapping[str, Any]) -> dict[str, Any]:
    """What a record of a run says of its filters, each by its name; `None` for one that is off."""
    filters = sections.get("filters")
    return {name: filters.get(name) if isinstance(filters, Mapping) else None for name in KEYS_OF_RECORD}


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED


KEYS_OF_RECORD = (*FiltersSection.model_fields, UNICODE, *LIBRARIES.values())
"""The keys that `FiltersSection.fingerprinted` may have."""
