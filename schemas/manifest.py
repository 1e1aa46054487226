"""Manifests: what a dataset holds, what was counted on the way, and the table of its shards."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import RESTORE, ConfigError, ShardCorruptError
from schemas.masking import Masking, MaskVocabulary
from schemas.rows import Compression
from schemas.version import SCHEMA_VERSION, check_schema_version, is_newer_minor, too_new

Count = Annotated[int, Field(ge=0)]

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


class Written(BaseModel):
    """What a manifest is made of: frozen, sums checked.

    Fields that a newer minor version added are kept, so that the fingerprint still covers them; `parse_manifest`
    refuses unknown fields in anything else.
    """

    model_config = ConfigDict(frozen=True, extra="allow")


class Manifest(Written):
    """What the manifests of all datasets share.

    Attributes:
        schema_version: `major.minor` of the written formats.
        run_fingerprint: Of everything that decides bytes: run file without engine and output, and the inputs.
        num_shards: Lines of `shards.arrow`.
        shards_checksum: xxh3-128 of `shards.arrow`; through it the manifest covers every block.
        fingerprint: xxh3-128 of this manifest without this field: the identity of the dataset.
    """

    schema_version: str = SCHEMA_VERSION
    run_fingerprint: str
    num_shards: Count
    shards_checksum: str
    fingerprint: str = ""


class DocumentCounts(Written):
    """What became of every document: nothing is lost silently, so the sums below hold or the manifest is refused.

    Attributes:
        read: Documents found in the input; = written + held_out + duplicates + quarantined.
        written: Of them, those in the document shards to train on.
        held_out: Those in the held-out shards.
        duplicates: Those left out because another has the same text.
        quarantined: Those rejected, whose bytes stand in the quarantine.
        quarantined_by_reason: Reason to number; the numbers add up to `quarantined`.
    """

    read: Count
    written: Count
    held_out: Count
    duplicates: Count
    quarantined: Count
    quarantined_by_reason: dict[str, Count]

    @model_validator(mode="after")
    def _nothing_is_lost(self) -> DocumentCounts:
        accounted = self.written + self.held_out + self.duplicates + self.quarantined
        if self.read != accounted:
            raise ValueError(f"{self.read} documents read but {accounted} accounted for")
        if sum(self.quarantined_by_reason.values()) != self.quarantined:
            raise ValueError("the reasons do not add up to the quarantined documents")
        return self


class DocumentsManifest(Manifest):
    """The manifest of document shards, trained on or held out.

    Attributes:
        kind: Tells manifests apart.
        held_out: Whether these are the held-out documents.
        documents: In the shards; = `counts.held_out` or `counts.written`.
        text_bytes: UTF-8 bytes of their texts.
        counts: Of the whole run: the same in both manifests.
    """

    kind: Literal["documents"] = "documents"
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


class PackingCounts(Written):
    """Where every document and token went: nothing is lost silently, so the sums hold or the manifest is refused.

    Attributes:
        documents: In the document shards; = packed + without_tokens + quarantined.
        packed: Documents with tokens in rows.
        without_tokens: Documents whose text encodes to nothing, such as one of control characters alone.
        quarantined: Documents that could not be encoded, or that are longer than a row and may not be cut.
        too_long: Those of them that are longer than a row.
        tokens_encoded: Tokens of all documents; = tokens_in_rows.
        tokens_in_rows: Of all segments, special tokens that packing added not counted.
        rows: Each of `seq_len` places.
        segments: Pieces of documents in the rows; = packed + cuts.
        special_tokens: [CLS] and [SEP] added by packing.
        padding: [PAD] at the ends of rows.
        cuts: Places where a document was cut.
        cuts_to_fill: Of them those that only fill a row.
        cuts_inside_sentences: Of them at no sentence start; counted where sentences are looked for.
        cuts_inside_words: Of them inside a word, because no word start fits.
        special_in_text: What looked like a special token in raw text.
        rows_lower_bound_l1: Rows that the lengths of the segments fill if they could be poured, summed over shards.
        rows_lower_bound_l2: Martello-Toth L2 of the same lengths, summed over shards.
        proof_documents: Documents whose encoding was compared with `tokenizers`.
        proof_bytes: Their bytes of text.
        fallback_shards: Shards encoded by `tokenizers` because the fast path is not proven for this tokenizer.
    """

    documents: Count
    packed: Count
    without_tokens: Count
    quarantined: Count
    too_long: Count
    tokens_encoded: Count
    tokens_in_rows: Count
    rows: Count
    segments: Count
    special_tokens: Count
    padding: Count
    cuts: Count
    cuts_to_fill: Count
    cuts_inside_sentences: Count
    cuts_inside_words: Count
    special_in_text: Count
    rows_lower_bound_l1: Count
    rows_lower_bound_l2: Count
    proof_documents: Count
    proof_bytes: Count
    fallback_shards: Count

    @model_validator(mode="after")
    def _nothing_is_lost(self) -> PackingCounts:
        if self.documents != self.packed + self.without_tokens + self.quarantined:
            raise ValueError(
                f"{self.documents} documents but {self.packed} packed, {self.without_tokens} without tokens "
                f"and {self.quarantined} quarantined"
            )
        if self.tokens_encoded != self.tokens_in_rows:
            raise ValueError(f"{self.tokens_encoded} tokens encoded but {self.tokens_in_rows} in rows")
        if self.segments != self.packed + self.cuts:
            raise ValueError(f"{self.segments} segments of {self.packed} documents cut in {self.cuts} places")
        if max(self.cuts_inside_words, self.cuts_inside_sentences, self.cuts_to_fill) > self.cuts:
            raise ValueError(f"more cuts inside words or sentences, or to fill rows, than the {self.cuts} cuts")
        if self.too_long > self.quarantined:
            raise ValueError(f"{self.too_long} of {self.quarantined} quarantined documents are too long")
        return self


class PackedManifest(Manifest):
    """The manifest of a packed dataset: all that a loader needs beside `shards.arrow`.

    Attributes:
        kind: Tells manifests apart.
        held_out: Whether these are the rows of the held-out documents.
        seq_len: Token ids in a row.
        block_rows: Rows in a block; the last block of a shard may have fewer.
        vocabulary: Special ids, and which ids may replace a token.
        tokenizer_checksum: xxh3-128 of the `tokenizer.json` beside this manifest, which encoded the rows.
        documents_fingerprint: The documents' identity: `fingerprint` of their manifest.
        sequences: What a sequence is made of, as the run file says it.
        compression: Of the shards' blocks.
        text_fill_ppm: Millionths of all places that hold text: neither [CLS], [SEP] nor [PAD].
        copies: Static masks beside every row.
        masking: The settings of these masks.
        text_bytes: UTF-8 bytes of text that the rows were encoded from.
        counts: Of these rows and documents alone.
    """

    kind: Literal["packed"] = "packed"
    held_out: bool
    seq_len: Count
    block_rows: Count
    vocabulary: MaskVocabulary
    tokenizer_checksum: str
    documents_fingerprint: str
    sequences: str
    compression: Compression
    text_fill_ppm: Count
    copies: Count
    masking: Masking
    text_bytes: Count
    counts: PackingCounts

    @model_validator(mode="after")
    def _rows_are_full(self) -> PackedManifest:
        places = self.counts.tokens_in_rows + self.counts.special_tokens + self.counts.padding
        if places != self.counts.rows * self.seq_len:
            raise ValueError(f"{places} places accounted for in {self.counts.rows} rows of {self.seq_len}")
        if self.text_fill_ppm != text_fill_ppm(self.counts.tokens_in_rows, places):
            raise ValueError(f"a text fill of {self.text_fill_ppm} ppm does not go with the counts")
        return self


def text_fill_ppm(tokens: int, places: int) -> int:
    """Millionths of places that hold text, rounded down."""
    return tokens * 1_000_000 // max(1, places)


class EncodingCounts(Written):
    """What became of the documents of encoded shards.

    Attributes:
        documents: In the document shards.
        quarantined: Of them those that could not be encoded.
        tokens: Of all documents.
        special_in_text: What looked like a special token in raw text.
        proof_documents: Documents whose encoding was compared with `tokenizers`.
        proof_bytes: Their bytes of text.
        fallback_shards: Shards encoded by `tokenizers` because the fast path is not proven for this tokenizer.
    """

    documents: Count
    quarantined: Count
    tokens: Count
    special_in_text: Count
    proof_documents: Count
    proof_bytes: Count
    fallback_shards: Count


class EncodedManifest(Manifest):
    """The manifest of encoded documents, kept so that packing again needs no encoding.

    Attributes:
        kind: Tells manifests apart.
        held_out: Whether these are the held-out documents.
        tokenizer_checksum: xxh3-128 of the `tokenizer.json` that encoded them.
        documents_fingerprint: The documents' identity: `fingerprint` of their manifest.
        text_bytes: UTF-8 bytes of their texts.
        counts: Of these documents alone.
    """

    kind: Literal["encoded"] = "encoded"
    held_out: bool
    tokenizer_checksum: str
    documents_fingerprint: str
    text_bytes: Count
    counts: EncodingCounts


class SourceReport(Written):
    """What a tokenizer makes of the text of one source.

    Attributes:
        source: Its name.
        text_bytes: UTF-8 bytes of text that were looked at.
        words: Words in it, as the tokenizer's pre-tokeniser splits them.
        tokens: Tokens that they make.
        unknown: Of them [UNK].
        characters: Characters of the words, normalised.
        characters_unknown: Of them those in words that encode as [UNK].
        letters: Letters of the raw text.
        letters_changed: Of them those that stripping accents changes.
    """

    source: str
    text_bytes: Count
    words: Count
    tokens: Count
    unknown: Count
    characters: Count
    characters_unknown: Count
    letters: Count
    letters_changed: Count

    @model_validator(mode="after")
    def _parts_fit(self) -> SourceReport:
        if self.unknown > self.tokens or self.characters_unknown > self.characters:
            raise ValueError(f"more is unknown than there is in source {self.source!r}")
        if self.letters_changed > self.letters:
            raise ValueError(f"more letters are changed than there are in source {self.source!r}")
        return self


class TokenizerManifest(Written):
    """The manifest of a tokenizer folder; written last, so its presence says that the folder is whole.

    Attributes:
        kind: Tells manifests apart.
        schema_version: As in the datasets' manifests.
        run_fingerprint: As in the datasets' manifests.
        documents_fingerprint: The documents whose words were counted; empty where the tokenizer was brought.
        trained: Whether the vocabulary was trained here or brought.
        vocab_size: Pieces in it.
        counts: What was counted in training: words, distinct words, characters, what limits cut.
        sources: What the tokenizer makes of every source, by name: of all text where it was trained, of a sample where
            it was brought. One line named "" for all text where there are too many sources to keep apart.
        checksums: xxh3-128 of the other files of the folder.
        fingerprint: xxh3-128 of this manifest without this field.
    """

    kind: Literal["tokenizer"] = "tokenizer"
    schema_version: str = SCHEMA_VERSION
    run_fingerprint: str
    documents_fingerprint: str
    trained: bool
    vocab_size: Count
    counts: dict[str, Count]
    sources: tuple[SourceReport, ...]
    checksums: dict[str, str]
    fingerprint: str = ""


AnyManifest = TypeVar("AnyManifest", DocumentsManifest, EncodedManifest, PackedManifest, TokenizerManifest)


def parse_manifest(model: type[AnyManifest], data: bytes, path: str) -> AnyManifest:
    """Read a manifest: its version first, then its kind, then its fields and sums.

    Fields unknown here are kept where a newer minor version wrote them, else they are damage.

    Raises:
        ConfigError: A newer version wrote it in a way this one cannot read, or it is a manifest of another kind.
        ShardCorruptError: It is no manifest, or its counts do not add up.
    """
    try:
        head = _Head.model_validate_json(data)
    except ValidationError as error:
        raise _damaged("not a manifest", path, _first(error)) from None
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
        manifest = model.model_validate_json(data)
    except ValidationError as error:
        if newer:
            raise too_new(head.schema_version, path) from None
        raise _damaged("the manifest does not hold together", path, _first(error)) from None
    unknown = [] if newer else _unknown_fields(manifest)
    if unknown:
        raise _damaged("the manifest does not hold together", path, f"unknown {', '.join(unknown)}")
    return manifest


class _Head(BaseModel):
    schema_version: str
    kind: str


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
