"""The run file: one TOML document that describes a run, every key checked, every unknown key named."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from maskmill.schemas.masking import MAX_COPIES, MAX_VOCAB_SIZE, Masking
from maskmill.schemas.redaction import redact
from maskmill.schemas.rows import Compression, SeqLen
from maskmill.schemas.section import AtLeastOne, Section, Share, UInt63, Url

MIN_MB = 0.001
"""1 KiB: below it a size in MiB is a slip, and a shard holds nothing."""
THOUSANDTH_TOLERANCE = 1e-6
"""In thousandths: lets 0.1 + 0.2 through as 0.3, and refuses 0.12345."""

MAX_NAME_CHARACTERS = 1 << 10
NAME_PATTERN = "[a-z][a-z0-9_]{0,62}"
RESERVED_NAME = "heldout"
"""It ends the folders of held-out documents."""
_SHOWN_CHARACTERS = 100
"""Of a text that is refused."""
MAX_UNUSED = 1 << 20
MAX_WORKERS = 4096


def _check_name(value: str) -> str:
    if value and not re.fullmatch(NAME_PATTERN, value):
        raise ValueError(
            f"{value[:_SHOWN_CHARACTERS]!r} is no name: write a lower-case letter, then at most 62 lower-case letters, "
            "digits and underscores"
        )
    if value == RESERVED_NAME:
        raise ValueError(f'"{value}" is reserved for the folders of held-out documents: write another name')
    return value


def _check_language(value: str) -> str:
    if not re.fullmatch("[a-z]{2,3}", value):
        raise ValueError(
            f"{value[:_SHOWN_CHARACTERS]!r} is no language code: write two or three lower-case letters, such as en"
        )
    return value


Name = Annotated[str, AfterValidator(_check_name)]
"""Of a tokenizer or a packing: a lower-case letter, then such letters, digits or underscores; "" is the default one."""


class InputSection(Section):
    """`[input]`: which text is read and how."""

    paths: Annotated[tuple[Url, ...], Field(min_length=1, strict=False)]
    """Paths, fsspec URLs and globs of `.jsonl` and `.txt` files, plain or compressed (`.gz`, `.zst`, `.bz2`, `.xz`). A
    glob finds what Python's `glob.glob(pattern, recursive=True)` finds, on object stores too: linked folders are
    followed, and names with a leading dot are skipped unless the pattern has the dot. If a `[`, `*` or `?` is part of a
    name, write it as `[[]`, `[*]` or `[?]`. A relative path starts in the working folder, whose own name may contain
    any characters."""
    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)] | None = None
    """The source of all text whose source `source_field` does not give. If unset, it is the last folder before the
    first glob character of the pattern that found the file: `corpus/de/*.jsonl` gives `de`, and so does the single file
    `corpus/de/a.jsonl`; `*.jsonl`, in no folder, gives `input`. So with one pattern for each language, each language is
    a source. If patterns in different folders end in the same one, as `de/train/*` and `en/train/*`, the folders above
    it are added: `de/train` and `en/train`."""
    text_field: str = "text"
    """The key of a JSON line that holds the text."""
    id_field: str | None = None
    """The key that holds the document's id; without it the id is `<path>#<line>`. The path is relative to the last
    folder of the pattern before its first glob character. With patterns in different folders it begins with the name of
    that folder, as in the default of `name`: `de/part-0.jsonl#1`."""
    source_field: str | None = None
    """The key that holds the document's source; a document without it has the source `name`."""
    text_document: Literal["file", "line", "blank_line"] = "file"
    """What counts as one document in a `.txt` file: the file, a line, or the lines up to a blank one. Lines are joined
    by LF, whatever their line endings were, and the last one has no line ending."""
    max_document_mb: Annotated[float, Field(ge=MIN_MB, le=1024)] = 64.0
    """A document with more MiB of text than this is quarantined. A line of JSON needs up to six times as much memory,
    and a worker holds several copies of it; outside strings it may have 16 MiB."""
    max_quarantined: Share = 0.01
    """The run stops when more than this share of documents is quarantined."""
    reuse: Url | None = None
    """Path or URL of a finished output, made with `documents.appendable`, over some of the same files: what it has read
    of them is taken from there, and only the other files are read. What is written is the same byte for byte as without
    this key, which may be given, changed or dropped at any time. It needs `documents.appendable`."""

    @property
    def max_text_bytes(self) -> int:
        """`max_document_mb` in bytes."""
        return int(self.max_document_mb * (1 << 20))


class OutputSection(Section):
    """`[output]`: where everything is written."""

    url: Url
    """fsspec URL or path of a folder; it holds `documents/`, `tokenizer/`, `packed/` and their held-out parts."""


class DocumentsSection(Section):
    """`[documents]`: how documents are sharded."""

    shard_mb: Annotated[float, Field(ge=MIN_MB, le=512)] | None = None
    """Approximate MiB of text in a document shard. It decides how much memory a worker needs, about four times as much.
    If unset, it is 64; for a corpus of fewer than 8 such shards it is less, down to 16, so that every worker has
    something to do."""
    deduplicate: bool = True
    """Drop documents whose content is exactly the same as another's."""
    held_out: Annotated[float, Field(ge=0.0, le=0.5)] = 0.005
    """Share of documents to hold out, chosen by a keyed hash of their content."""
    seed: UInt63 = 0
    """Decides the order of documents and which ones are held out."""
    appendable: bool = False
    """Keep in `work/` what a later run over these files and more can take instead of reading them again; that run names
    this output in `input.reuse`. It is as large as the text, and a worker needs up to 300 MiB of memory more. Documents
    with many duplicates may be cut into another number of shards, so it cannot be changed for an output that exists."""


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


class Cut(StrEnum):
    """Where a document may be cut."""

    WORD = "word"
    TOKEN = "token"  # noqa: S105 - a place to cut, not a password
    SENTENCE = "sentence"


class Split(StrEnum):
    """Which documents may be cut."""

    NEVER = "never"
    LONG = "long"
    FILL = "fill"


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

    @property
    def seq_lens(self) -> tuple[int, ...]:
        """The lengths of rows that are asked for, as given."""
        return (self.seq_len,) if isinstance(self.seq_len, int) else self.seq_len

    @property
    def needs_sentences(self) -> bool:
        """Whether sentences must be found."""
        return self.cut is Cut.SENTENCE or self.sequences in (Sequences.FULL_SENTENCES, Sequences.DOC_SENTENCES)


class MaskSection(Masking):
    """`[mask]`: how rows are masked, in static copies and by a loader that is given no other settings.

    With `copies = 0` no mask is stored: you can change these settings at any time, and no row is packed again.
    """

    copies: Annotated[int, Field(strict=True, ge=0, le=MAX_COPIES)] = 0
    """Number of masks to store with every row: those of epochs 0, 1 and so on. With 0, none is stored, and the loader
    computes masks as it reads."""

    def masking(self) -> Masking:
        """The settings without `copies`, as the loader takes them."""
        return Masking.model_validate(self.model_dump(exclude={"copies"}))


class EngineSection(Section):
    """`[engine]`: what runs the units. It is not part of the fingerprint: another engine may finish a run."""

    kind: Literal["local", "ray"] = "local"
    """`local`, processes of this machine, or `ray`, a cluster or a Ray that is started here."""
    workers: Annotated[int, Field(ge=0, le=MAX_WORKERS)] = 0
    """Number of units that run at a time; 0 means one for every core, on a cluster as many as it takes. With `local`, 1
    means the command's own process."""
    address: str = ""
    """Address of a running Ray cluster; if it is "", that in `RAY_ADDRESS`, and if that is unset too, Ray starts
    here."""


class RunFile(Section):
    """A whole run file."""

    input: InputSection
    output: OutputSection
    documents: DocumentsSection = DocumentsSection()
    tokenizer: TokenizerSection = TokenizerSection()
    pack: PackSection = PackSection()
    mask: MaskSection = MaskSection()
    engine: EngineSection = EngineSection()

    @model_validator(mode="after")
    def _name_rows_after_their_tokenizer(self) -> RunFile:
        if self.tokenizer.name and not self.pack.name:
            named = self.pack.model_copy(update={"name": self.tokenizer.name})
            object.__setattr__(self, "pack", named)  # frozen from here on
        return self

    @model_validator(mode="after")
    def _reuses_what_it_can_give(self) -> RunFile:
        if self.input.reuse is not None and not self.documents.appendable:
            raise ValueError("input.reuse needs documents.appendable = true, as in the output that it names")
        return self

    def fingerprinted(self) -> dict[str, dict[str, object]]:
        """The part of the run file that decides bytes: no engine, output or names, no credentials in paths."""
        whole: dict[str, dict[str, object]] = self.model_dump(mode="json", by_alias=True)
        whole.pop("engine")
        whole.pop("output")
        whole["tokenizer"].pop("name")
        whole["pack"].pop("name")
        if not self.mask.copies:
            whole["mask"] = {"copies": 0}  # no row depends on the rest: it is the default of loaders
        whole["input"].pop("max_quarantined")  # says when to stop, not what is written: it may be raised
        whole["input"].pop("reuse")  # says where the documents of some files are taken from, which are the same
        if not self.documents.appendable:
            whole["documents"].pop("appendable")  # the key came later: runs without it keep their fingerprints
        whole["input"]["paths"] = [redact(path) for path in self.input.paths]
        if self.tokenizer.from_ is not None:
            whole["tokenizer"]["from"] = redact(self.tokenizer.from_)
        return whole
