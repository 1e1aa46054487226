"""Manifests: the content of a dataset, its counts, and the table of its shards."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar, cast

import pyarrow as pa
from pydantic import BaseModel, Field, ValidationError, model_validator

from maskmill.schemas.bounded_json import check_parts
from maskmill.schemas.counting import Count, Written
from maskmill.schemas.counts import PAIR_COUNTS, DocumentCounts, EncodingCounts, PackingCounts, SourceReport
from maskmill.schemas.errors import RESTORE, ConfigError, ShardCorruptError
from maskmill.schemas.layout import MASKS_PATTERN
from maskmill.schemas.mask_vocabulary import MAX_VOCAB_SIZE, MaskVocabulary
from maskmill.schemas.masking import MAX_COPIES, Masking
from maskmill.schemas.pack_section import MAX_DUPLICATES, Pairs
from maskmill.schemas.rows import Compression, SeqLen, rows_per_block
from maskmill.schemas.version import (
    DOCUMENTS_MANIFEST_VERSION,
    PACKED_MANIFEST_VERSION,
    SCHEMA_VERSION,
    check_schema_version,
    is_newer_minor,
    too_new,
)

SHARD_TABLE_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("first_row_id", pa.uint64(), nullable=False),
        pa.field("rows", pa.uint64(), nullable=False),
        pa.field("tokens", pa.uint64(), nullable=False),
        pa.field("text_bytes", pa.uint64(), nullable=False),
        pa.field("size_bytes", pa.uint64(), nullable=False),
        pa.field("checksum", pa.string(), nullable=False),
        pa.field("block_offsets", pa.list_(pa.uint64()), nullable=False),
        pa.field("block_lengths", pa.list_(pa.uint32()), nullable=False),
        pa.field("block_checksums", pa.list_(pa.uint64()), nullable=False),
    ],
    metadata={"maskmill_kind": "shards", "maskmill_schema_version": SCHEMA_VERSION},
)
"""`shards.arrow`: one line a shard, paths relative to the dataset. Read as columns: 100,000 shards as Python
objects cost 215 MB."""

MAX_SHARDS = 1 << 24
"""Of a dataset: their table takes some 2 GB."""
MAX_MANIFEST_BYTES = 16 << 20
MAX_MANIFEST_PARTS = 1 << 16
"""Of objects and lists; parsing takes up to a kilobyte for each, as often as a field is missing."""
MAX_MANIFEST_COMMAS = 1 << 19
"""A manifest of documents with a thousand sources has up to 170,000, and those in their names."""


def _is_empty(value: str) -> bool:
    return not value


class Manifest(Written):
    """The fields shared by the manifests of all datasets.

    Attributes:
        schema_version: `major.minor` of the written formats.
        run_fingerprint: Covers everything that decides bytes: the run file without engine and output, and the inputs.
        num_shards: Rows of `shards.arrow`.
        shards_checksum: xxh3-128 of `shards.arrow`; through it the manifest covers every block.
        fingerprint: xxh3-128 of this manifest without this field: the identity of the dataset.
    """

    schema_version: str = SCHEMA_VERSION
    run_fingerprint: str
    num_shards: Annotated[int, Field(ge=0, le=MAX_SHARDS)]
    shards_checksum: str
    fingerprint: str = ""


class DocumentsManifest(Manifest):
    """The manifest of document shards, trained on or held out.

    Attributes:
        kind: Tells manifests apart.
        schema_version: `major.minor` of the manifest and the shards.
        held_out: Whether these are the held-out documents.
        documents: Documents in the shards; = `counts.held_out` or `counts.written`.
        text_bytes: UTF-8 bytes of their texts.
        counts: Counts of the whole run, the same in both manifests.
    """

    kind: Literal["documents"] = "documents"
    schema_version: str = DOCUMENTS_MANIFEST_VERSION
    held_out: bool
    documents: Count
    text_bytes: Count
    counts: DocumentCounts

    @model_validator(mode="after")
    def _holds_what_was_written(self) -> DocumentsManifest:
        written = self.counts.held_out if self.held_out else self.counts.written
        if self.documents != written:
            raise ValueError(f"{self.documents} documents in the shards but {written} written to them")
        return self


class PackedManifest(Manifest):
    """The manifest of a packed dataset: everything that a loader needs besides `shards.arrow`.

    Attributes:
        kind: Tells manifests apart.
        schema_version: `major.minor` of the manifest.
        held_out: Whether these are the rows of the held-out documents.
        seq_len: Token ids in a row.
        block_rows: Rows in a block; the last block of a shard may have fewer.
        vocabulary: Special ids, and which ids may replace a token.
        tokenizer_checksum: xxh3-128 of the `tokenizer.json` beside this manifest, which encoded the rows.
        documents_fingerprint: The documents' identity: `fingerprint` of their manifest.
        sequences: What a sequence is made of, as in the run file.
        compression: Compression of the shards' blocks.
        text_fill_ppm: Millionths of all positions that have text: neither [CLS], [SEP] nor [PAD].
        copies: Static masks stored with every row.
        masking: The settings of these masks, and the default of loaders.
        text_bytes: UTF-8 bytes of text that the rows were encoded from.
        counts: Counts of these rows and documents alone.
        shards_folder: The folder inside the dataset with `shards.arrow` and the shards, whose paths are relative to
            it; empty if they lie beside the manifest, where packing writes them. `mask` gives each set of static
            copies a folder of its own.
        rows_fingerprint: The identity of the rows as they were packed, whatever `mask` has made of them since; empty
            if they are as packing wrote them.
        pairs: Which pairs the sequences are; `None` if they are none.
        duplicates: How often the documents were made into pairs.
        sop_random_single: Whether a single sentence was paired with another document's.
    """

    kind: Literal["packed"] = "packed"
    schema_version: str = PACKED_MANIFEST_VERSION
    held_out: bool
    seq_len: SeqLen
    block_rows: Annotated[int, Field(ge=1)]
    vocabulary: MaskVocabulary
    tokenizer_checksum: str
    documents_fingerprint: str
    sequences: str
    compression: Compression
    text_fill_ppm: Count
    copies: Annotated[int, Field(ge=0, le=MAX_COPIES)]
    masking: Masking
    text_bytes: Count
    counts: PackingCounts
    shards_folder: Annotated[str, Field(pattern=rf"^({MASKS_PATTERN})?\z", exclude_if=_is_empty)] = ""
    rows_fingerprint: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?\z", exclude_if=_is_empty)] = ""
    pairs: Annotated[Pairs | None, Field(exclude_if=lambda pairs: pairs is None)] = None
    duplicates: Annotated[int, Field(ge=1, le=MAX_DUPLICATES, exclude_if=lambda count: count == 1)] = 1
    sop_random_single: Annotated[bool, Field(exclude_if=lambda flag: not flag)] = False

    @property
    def has_word_starts(self) -> bool:
        """Whether the rows store where words start."""
        return self.vocabulary.segmenter is not None

    def explain_only_label(self) -> str | None:
        """For people, that all pairs have one label, and why; `None` if they have two, or if there are none."""
        label = self.counts.only_label
        if label is None:
            return None
        why = (
            "a B of another document needs two documents in a document shard"
            if (self.pairs, label) == (Pairs.NSP, 0)
            else "a B that follows its A needs documents of two sentences"
            if label == 1 and (self.pairs is Pairs.NSP or self.sop_random_single)
            else "there are too few of them"
        )
        pairs = "the only pair has" if self.counts.pairs == 1 else f"all {self.counts.pairs:,} pairs have"
        return f"{pairs} the label {label}, so a model learns nothing from it: {why}"

    @model_validator(mode="after")
    def _pairs_are_counted(self) -> PackedManifest:
        counts = self.counts
        if self.pairs is None and (any(getattr(counts, name) for name in PAIR_COUNTS) or self.duplicates > 1):
            raise ValueError("it has counts of pairs, but does not say which pairs they are")
        if counts.tokens_repeated != (self.duplicates - 1) * counts.tokens_encoded:
            raise ValueError(f"{counts.tokens_repeated} tokens repeated in {self.duplicates} duplicates")
        if self.pairs is not None and counts.segments != 2 * counts.pairs:
            raise ValueError(f"{counts.segments} segments in {counts.pairs} pairs")
        return self

    @model_validator(mode="after")
    def _blocks_are_small(self) -> PackedManifest:
        most = rows_per_block(self.seq_len, self.vocabulary.vocab_size)
        if self.block_rows > most:
            raise ValueError(f"{self.block_rows} rows in a block, where {most} of {self.seq_len} tokens make one")
        return self

    @model_validator(mode="after")
    def _rows_are_full(self) -> PackedManifest:
        places = self.counts.tokens_in_rows + self.counts.special_tokens + self.counts.padding
        if places != self.counts.rows * self.seq_len:
            raise ValueError(f"{places} places accounted for in {self.counts.rows} rows of {self.seq_len}")
        if self.text_fill_ppm != text_fill_ppm(self.counts.tokens_in_rows, places):
            raise ValueError(f"a text fill of {self.text_fill_ppm} ppm does not go with the counts")
        return self


def text_fill_ppm(tokens: int, places: int) -> int:
    """Millionths of positions that have text, rounded down."""
    return tokens * 1_000_000 // max(1, places)


class EncodedManifest(Manifest):
    """The manifest of encoded documents, kept so that packing again needs no encoding.

    Attributes:
        kind: Tells manifests apart.
        schema_version: `major.minor` of the manifest and the shards.
        held_out: Whether these are the held-out documents.
        tokenizer_checksum: xxh3-128 of the `tokenizer.json` that encoded them.
        documents_fingerprint: The documents' identity: `fingerprint` of their manifest.
        text_bytes: UTF-8 bytes of their texts.
        counts: Counts of these documents alone.
    """

    kind: Literal["encoded"] = "encoded"
    held_out: bool
    tokenizer_checksum: str
    documents_fingerprint: str
    text_bytes: Count
    counts: EncodingCounts


class TokenizerManifest(Written):
    """The manifest of a tokenizer folder; written last, so if it exists the folder is complete.

    Attributes:
        kind: Tells manifests apart.
        schema_version: As in the datasets' manifests.
        run_fingerprint: As in the datasets' manifests.
        documents_fingerprint: The documents whose words were counted; empty if the tokenizer was brought.
        trained: Whether the vocabulary was trained here or brought.
        vocab_size: Pieces in it.
        counts: Counts of training: words, distinct words, characters, and what limits cut.
        sources: Measurements of every source, by name: on all text if it was trained, on a sample if it was brought.
            One entry named "" for all text if there are too many sources to keep apart.
        checksums: xxh3-128 of the other files of the folder.
        fingerprint: xxh3-128 of this manifest without this field.
    """

    kind: Literal["tokenizer"] = "tokenizer"
    schema_version: str = SCHEMA_VERSION
    run_fingerprint: str
    documents_fingerprint: str
    trained: bool
    vocab_size: Annotated[int, Field(ge=0, le=MAX_VOCAB_SIZE)]
    counts: dict[str, Count]
    sources: tuple[SourceReport, ...]
    checksums: dict[str, str]
    fingerprint: str = ""

    @model_validator(mode="after")
    def _has_a_tokenizer(self) -> TokenizerManifest:
        if "tokenizer.json" not in self.checksums:
            raise ValueError("no checksum of tokenizer.json")
        return self


KindOfManifest = DocumentsManifest | EncodedManifest | PackedManifest | TokenizerManifest
AnyManifest = TypeVar("AnyManifest", bound=KindOfManifest)


def parse_manifest(model: type[AnyManifest], data: bytes, path: str) -> AnyManifest:
    """Parse a manifest: check its version first, then its kind, then its fields and sums.

    Unknown fields are kept if a newer minor version wrote them; otherwise they are damage.

    Raises:
        ConfigError: A newer version wrote it in a way this one cannot read, or it is a manifest of another kind.
        ShardCorruptError: It is not a manifest, or its counts do not add up.
    """
    try:
        head = _parse_head(data)
    except ValidationError as error:
        raise _damaged("not a manifest", path, _first(error)) from None
    except ValueError as error:
        raise _damaged("not a manifest", path, str(error)) from None
    check_schema_version(head.schema_version, path)
    expected = model.model_fields["kind"].default
    if head.kind != expected:
        raise ConfigError(
            "this is a manifest of another kind",
            path=path,
            expected=f"kind {expected!r}",
            found=f"kind {head.kind!r}",
            action="check the path",
        )
    newer = is_newer_minor(head.schema_version)
    try:
        manifest = cast(AnyManifest, model.model_validate_json(data))
    except ValidationError as error:
        if newer:
            raise too_new(head.schema_version, path) from None
        raise _damaged("the manifest is invalid", path, _first(error)) from None
    unknown = [] if newer else _unknown_fields(manifest)
    if unknown:
        raise _damaged("the manifest is invalid", path, f"unknown {', '.join(unknown)}")
    return manifest


def kind_of_manifest(data: bytes) -> str | None:
    """The kind that a manifest names; `None` if it is not a manifest."""
    try:
        return _parse_head(data).kind
    except ValueError:  # pydantic's among them
        return None


class _Head(BaseModel):
    schema_version: str
    kind: str


def _parse_head(data: bytes) -> _Head:
    check_parts(data, MAX_MANIFEST_BYTES, MAX_MANIFEST_PARTS, MAX_MANIFEST_COMMAS)
    return _Head.model_validate_json(data)


def _unknown_fields(model: BaseModel) -> list[str]:
    inner = [getattr(model, name) for name in type(model).model_fields]
    deeper = [name for value in inner if isinstance(value, BaseModel) for name in _unknown_fields(value)]
    return sorted(model.model_extra or {}) + deeper


def _damaged(what: str, path: str, found: str) -> ShardCorruptError:
    return ShardCorruptError(
        what,
        path=path,
        expected="the manifest as it was written",
        found=found,
        action=RESTORE,
    )


def _first(error: ValidationError) -> str:
    finding = error.errors()[0]
    return f"{'.'.join(str(part) for part in finding['loc']) or 'manifest'}: {finding['msg']}"
