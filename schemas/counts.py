"""The counts in manifests: documents, tokens, rows and words; each model checks that its parts add up."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_COUNT = (1 << 63) - 1
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
LateCount = Annotated[int, Field(ge=0, le=MAX_COUNT, exclude_if=lambda count: count == 0)]
"""A count that older manifests lack: written only if it is not 0, so that their fingerprints stay valid."""


class Written(BaseModel):
    """The base class of everything in a manifest: frozen, with checked sums.

    Fields that a newer minor version added are kept, so that the fingerprint still covers them; `parse_manifest`
    refuses unknown fields in anything else.
    """

    model_config = ConfigDict(frozen=True, extra="allow")


class DocumentCounts(Written):
    """What became of every document; a manifest whose sums do not add up is rejected.

    Attributes:
        read: Documents found in the input; = written + held_out + duplicates + quarantined.
        written: Documents in the document shards to train on.
        held_out: Documents in the held-out shards.
        duplicates: Documents left out because another one has the same text.
        quarantined: Rejected documents, whose bytes are in the quarantine.
        quarantined_by_reason: Number by reason; the numbers add up to `quarantined`.
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


class PackingCounts(Written):
    """What became of every document and token; a manifest whose sums do not add up is rejected.

    Attributes:
        documents: Documents in the document shards; = packed + without_tokens + quarantined.
        packed: Documents with tokens in rows.
        without_tokens: Documents whose text encodes to nothing, such as one of control characters alone.
        quarantined: Documents that could not be encoded, or that are longer than a row and may not be cut.
        too_long: The quarantined documents that are longer than a row.
        tokens_encoded: Tokens of all documents; = tokens_in_rows.
        tokens_in_rows: Tokens of all segments, without the special tokens added by packing.
        rows: Rows of `seq_len` positions.
        segments: Pieces of documents in the rows; = packed + cuts.
        special_tokens: [CLS] and [SEP] added by packing.
        padding: [PAD] at the ends of rows.
        cuts: Places where a document was cut.
        cuts_to_fill: Cuts made only to fill a row.
        cuts_inside_sentences: Cuts not at a sentence start; counted if sentences are looked for.
        cuts_inside_words: Cuts inside a word, because no word start fits.
        special_in_text: What looked like a special token in raw text.
        rows_lower_bound_l1: Rows needed if segments could be cut anywhere, summed over shards.
        rows_lower_bound_l2: Martello-Toth L2 bound of the same lengths, summed over shards.
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


class EncodingCounts(Written):
    """What became of the documents of encoded shards.

    Attributes:
        documents: Documents in the document shards.
        quarantined: Documents that could not be encoded.
        tokens: Tokens of all documents.
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


class SourceReport(Written):
    """How a tokenizer encodes the text of one source.

    Attributes:
        source: Its name.
        text_bytes: UTF-8 bytes of text that were measured.
        words: Words in it, as the tokenizer's pre-tokenizer splits them.
        tokens: Tokens of these words.
        unknown: Tokens that are [UNK].
        characters: Characters of the words, normalised.
        characters_unknown: Characters in words that encode as [UNK].
        letters: Letters of the raw text.
        letters_changed: Letters that stripping accents changes, or that lose a mark by it.
        words_changed: Words with such a letter.
        words_too_long: Words with more characters than the encoder accepts, which are [UNK] whatever the vocabulary.
        characters_too_long: Characters of these words.
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
    words_changed: LateCount = 0
    words_too_long: LateCount = 0
    characters_too_long: LateCount = 0

    @model_validator(mode="after")
    def _parts_fit(self) -> SourceReport:
        if self.unknown > self.tokens or self.characters_unknown > self.characters:
            raise ValueError(f"more is unknown than there is in source {self.source!r}")
        if self.words_too_long > self.unknown or self.characters_too_long > self.characters_unknown:
            raise ValueError(f"more is too long than is unknown in source {self.source!r}")
        if self.letters_changed > self.letters or self.words_changed > self.letters_changed:
            raise ValueError(f"more letters are changed than there are in source {self.source!r}")
        return self
