"""The run file: one TOML document that describes a run, every key checked, every unknown key named."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from maskmill.schemas.filters import FiltersSection
from maskmill.schemas.masking import MAX_COPIES, Masking
from maskmill.schemas.near_duplicates import NearDuplicatesSection
from maskmill.schemas.pack_section import Cut, PackSection, Pairs, Sequences, Split, WordBoundaries
from maskmill.schemas.redaction import redact
from maskmill.schemas.section import InputFormat, Section, Share, UInt63, Url, leave_out_defaults
from maskmill.schemas.token_weights import RARE
from maskmill.schemas.tokenizer_section import TokenizerSection

__all__ = [
    "Cut",
    "DocumentsSection",
    "EngineSection",
    "FiltersSection",
    "InputSection",
    "MaskFile",
    "MaskSection",
    "OutputSection",
    "PackSection",
    "Pairs",
    "RunFile",
    "Sequences",
    "Split",
    "TokenizerSection",
    "WordBoundaries",
]

MIN_MB = 0.001
"""1 KiB: a smaller size in MiB is a mistake, and such a shard would hold nothing."""
MAX_NAME_CHARACTERS = 1 << 10
MAX_WORKERS = 4096
BLANK_LINE = "\n\n"

OF_RUN = ("max_quarantined", "reuse")
"""Keys of input that hold for the whole run."""

TextFields = Annotated[
    Annotated[str, Tag("one")]
    | Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, strict=False), Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
]
"""One key, or a list of them."""


class InputSection(Section):
    """`[input]`: which text is read and how.

    Text of several kinds takes several tables, each written as `[[input]]`, with keys of its own. Where two documents
    are the same, that of the earlier table stays. `input.2.text_field` names a key of the second table.
    """

    paths: Annotated[tuple[Url, ...], Field(min_length=1, strict=False)]
    """Paths, fsspec URLs and globs of files, see `format`, plain or compressed (`.gz`, `.zst`, `.bz2`, `.xz`). A
    folder, such as `corpus/`, stands for the files below it, at any depth, whose suffix is one of those of `format`;
    names with a leading dot or `_` are left out, and a note says how many others are. `@files.txt` stands for the lines
    of `files.txt`, each one a path, URL, glob or folder, relative to the folder of the list; blank lines and lines that
    begin with `#` are skipped (a file whose own name begins with `@` is written `./@name`). A
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
    format: InputFormat | None = None
    """The format of all files. If unset, the suffix of each tells: `.jsonl`, `.ndjson` and `.json` (a JSON object a
    line), `.txt`, `.parquet`, `.arrow` (Arrow IPC, file or stream, as `datasets` saves), `.csv` and `.tsv` (names of
    columns in the first line), `.warc` and `.wet` (records of plain text); where it does not, the first bytes of the
    file do."""
    text_field: TextFields = "text"
    """The key of a JSON line, or the column of a table, that holds the text. If it lies inside another, join both by a
    dot: `content.text`. A list, such as `["title", "body"]`, gives the text of all of them in this order, joined by
    `text_join`; a field that a line lacks, or that is null or empty, is left out together with its `text_join`. A line
    that has none of the keys has no text; a table must have all of the columns."""
    text_join: Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)] | None = None
    """What is written between the texts of several fields; if unset, a blank line."""
    id_field: str | None = None
    """The key or column that holds the document's id; without it the id is `<path>#<line>`. Of a WARC or WET record it
    is a header, such as `WARC-Target-URI`; without it the id is its `WARC-Record-ID`. The path is relative to the
    last folder of the pattern before its first glob character. With patterns in different folders it begins with
    the name of that folder, as in the default of `name`: `de/part-0.jsonl#1`."""
    source_field: str | None = None
    """The key or column, or header, that holds the document's source; a document without it has the source `name`."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """The share of the documents that are kept, chosen by a keyed hash of their content; the others count as filtered.
    If unset, all of them. A smaller share keeps some of what a larger one keeps."""
    filters: FiltersSection | None = None
    """The filters of this table, in place of all of `[filters]` but `[filters.decontamination]`, which is of the whole
    run."""
    text_document: Literal["file", "line", "blank_line", "separator"] = "file"
    """What counts as one document in a `.txt` file: the file, a line, the lines up to a blank one, or all up to
    `text_separator`. Lines are joined by LF, whatever their line endings were, and the last one has no line ending."""
    text_separator: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)] | None = None
    """What stands between the documents of a `.txt` file, such as `<|endoftext|>`, on a line of its own or not; it goes
    with `text_document = "separator"`."""
    max_document_mb: Annotated[float, Field(ge=MIN_MB, le=1024)] = 64.0
    """A document with more MiB of text than this is quarantined. A line of JSON needs up to six times as much memory,
    and a worker holds several copies of it; outside strings it may have 16 MiB."""
    max_quarantined: Share = 0.01
    """The run stops when more than this share of all documents is quarantined. It stands in the first table."""
    reuse: Url | None = None
    """Path or URL of a finished output, made with `documents.appendable`, over some of the same files: what it has read
    of them is taken from there, and only the other files are read. What is written is the same byte for byte as without
    this key, which may be given, changed or dropped at any time. It needs `documents.appendable`, and stands in the
    first table."""

    def fingerprinted(self) -> dict[str, Any]:
        """What of it decides bytes, without credentials in paths."""
        whole = self.model_dump(mode="json", exclude={"max_quarantined", "reuse", "filters"})
        whole["paths"] = [redact(path) for path in self.paths]
        if self.filters is not None:
            whole["filters"] = self.filters.fingerprinted()
        return leave_out_defaults(self, whole, ("format", "text_separator", "text_join", "share"))

    @model_validator(mode="after")
    def _separator_has_its_key(self) -> InputSection:
        if (self.text_document == "separator") != (self.text_separator is not None):
            raise ValueError('text_separator goes with text_document = "separator", and needs it')
        return self

    @model_validator(mode="after")
    def _text_join_has_something_to_join(self) -> InputSection:
        if self.text_join is not None and len(self.text_fields) < 2:
            raise ValueError("text_join joins several fields: give text_field a list of them")
        return self

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The fields that hold the text."""
        return (self.text_field,) if isinstance(self.text_field, str) else self.text_field

    @property
    def text_join_bytes(self) -> bytes:
        """What is written between their texts, as UTF-8."""
        return (BLANK_LINE if self.text_join is None else self.text_join).encode()

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
    deduplicate: bool | Literal["normalised"] = True
    """Drop documents whose text is that of another, byte for byte. With "normalised", texts that differ in case or
    white space alone are the same too. The first stays, by the table of `[[input]]`, its file and the position in it,
    as it is written there. The order of documents then depends on the normalised text."""
    held_out: Annotated[float, Field(ge=0.0, le=0.5)] = 0.005
    """Share of documents to hold out, chosen by a keyed hash of their content."""
    seed: UInt63 = 0
    """Decides the order of documents and which ones are held out."""
    appendable: bool = False
    """Keep in `work/` what a later run over these files and more can take instead of reading them again; that run names
    this output in `input.reuse`. It is as large as the text, and a worker needs up to 300 MiB of memory more. Documents
    with many duplicates may be cut into another number of shards, so it cannot be changed for an output that exists."""
    near_duplicates: NearDuplicatesSection | None = None
    """Documents that are almost the same as an earlier one."""

    def fingerprinted(self) -> dict[str, Any]:
        """What decides the documents; runs without the keys that came later keep their fingerprints."""
        written = leave_out_defaults(self, self.model_dump(mode="json"), ("appendable", "near_duplicates"))
        if self.near_duplicates is not None:
            written["near_duplicates"] = self.near_duplicates.fingerprinted()
        return written


class MaskSection(Masking):
    """`[mask]`: how rows are masked, in static copies and by a loader that is given no other settings.

    With `copies = 0` no mask is stored: you can change these settings at any time, and no row is packed again.
    """

    copies: Annotated[int, Field(strict=True, ge=0, le=MAX_COPIES)] = 0
    """Number of masks to store with every row: those of epochs 0, 1 and so on. With 0, none is stored, and the loader
    computes masks as it reads."""

    @model_validator(mode="after")
    def _copies_have_one_rate(self) -> MaskSection:
        if self.copies and self.schedule is not None:
            raise ValueError("a stored mask has one rate: give rate a number, or let the loader draw masks, copies = 0")
        return self

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


class MaskFile(Section):
    """What `maskmill mask` is told: the sections of a run file that it needs."""

    mask: MaskSection = MaskSection()
    engine: EngineSection = EngineSection()


def key_in_section(table: int, name: str) -> str:
    """The name of a key of a table of input, counted from 0, below `input`: `paths`, of the second `2.paths`."""
    return name if not table else f"{table + 1}.{name}"


def _as_tables(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


class RunFile(Section):
    """A whole run file; one table of input may be given without a list around it."""

    input: Annotated[tuple[InputSection, ...], BeforeValidator(_as_tables), Field(min_length=1, strict=False)]
    output: OutputSection
    documents: DocumentsSection = DocumentsSection()
    filters: FiltersSection = FiltersSection()
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
        if self.reuse is not None and not self.documents.appendable:
            raise ValueError("input.reuse needs documents.appendable = true, as in the output that it names")
        return self

    @model_validator(mode="after")
    def _keys_of_the_run_stand_in_the_first_table(self) -> RunFile:
        for number, table in enumerate(self.input):
            for name in OF_RUN:
                if number and name in table.model_fields_set:
                    key = f"input.{key_in_section(number, name)}"
                    raise ValueError(f"{key} is of the whole run: write it into the first [[input]]")
            if table.filters is not None and table.filters.decontamination is not None:
                key = f"input.{key_in_section(number, 'filters.decontamination')}"
                raise ValueError(f"{key} is of the whole run: write it as [filters.decontamination]")
        return self

    @property
    def reuse(self) -> str | None:
        """See `InputSection.reuse`."""
        return self.input[0].reuse

    @property
    def all_filters(self) -> list[FiltersSection]:
        """The filters of every table of input."""
        compared = {"decontamination": self.filters.decontamination}
        own = (table.filters for table in self.input)
        return [self.filters if one is None else one.model_copy(update=compared) for one in own]

    @property
    def max_quarantined(self) -> float:
        """See `InputSection.max_quarantined`."""
        return self.input[0].max_quarantined

    @model_validator(mode="after")
    def _has_words_to_weigh_by(self) -> RunFile:
        if self.mask.token_weights == RARE and self.tokenizer.from_ is not None and not self.tokenizer.extend:
            raise ValueError(
                f'mask.token_weights = "{RARE}" needs counts of words, which training or extending a vocabulary makes, '
                "and tokenizer.from brings one: leave token_weights out, or extend the vocabulary"
            )
        return self

    def fingerprinted(self) -> dict[str, dict[str, object]]:
        """The part of the run file that decides bytes: no engine, output or names, no credentials in paths."""
        whole: dict[str, dict[str, object]] = self.model_dump(mode="json", by_alias=True)
        whole.pop("engine")
        whole.pop("output")
        whole["tokenizer"].pop("name")
        whole["pack"].pop("name")
        if self.pack.pairs is None:  # these keys came later, and change nothing then
            for name in ("pairs", "duplicates", "sop_random_single"):
                whole["pack"].pop(name)
        if self.pack.word_boundaries is WordBoundaries.WORDPIECE:  # so did this one
            whole["pack"].pop("word_boundaries")
        if not self.mask.copies:
            whole["mask"] = {"copies": 0}  # no row depends on the rest: it is the default of loaders
        whole["input"] = {
            key_in_section(number, name): value
            for number, table in enumerate(self.input)
            for name, value in table.fingerprinted().items()
        }
        whole["documents"] = self.documents.fingerprinted()
        if not (filters := self.filters.fingerprinted()):
            whole.pop("filters")  # the section came later: runs without it keep their fingerprints
        else:
            whole["filters"] = filters
        if self.tokenizer.from_ is not None:
            whole["tokenizer"]["from"] = redact(self.tokenizer.from_)
        return whole
