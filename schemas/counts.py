"""The counts in manifests: documents, tokens, rows and words; each model checks that its parts add up."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from pydantic import Field, model_validator

from maskmill.schemas.counting import Count, LateCount, LateCounts, Written
from maskmill.schemas.source_counts import MAX_SOURCES, SourceCounts

SUMMED = ("read", "written", "held_out", "duplicates", "quarantined", "filtered", "repaired", "near_duplicates")
"""Counts that are the sums of those of the sources."""


class DocumentCounts(Written):
    """What became of every document; a manifest whose sums do not add up is rejected.

    Attributes:
        read: Documents found in the input; = written + held_out + duplicates + quarantined + filtered +
            near_duplicates.
        written: Documents in the document shards to train on.
        held_out: Documents in the held-out shards.
        duplicates: Documents left out because another one has the same text.
        quarantined: Rejected documents, whose bytes are in the quarantine.
        quarantined_by_reason: Number by reason; the numbers add up to `quarantined`.
        filtered: Documents that a filter has dropped.
        filtered_by_reason: Number by filter and reason; the numbers add up to `filtered`.
        repaired: Documents whose characters were repaired, whatever became of them afterwards.
        near_duplicates: Documents left out because an earlier one is almost the same.
        contaminated: Documents that share text with evaluation files, dropped or trimmed.
        contaminated_by_file: Number by evaluation file; a document may share text with several.
        evaluation_texts: Texts of each evaluation file.
        evaluation_whole: Those of fewer words than an n-gram, which are compared whole.
        evaluation_too_short: Those of too few words to compare.
        sources: The same by source, of all documents together if there are more than 1,000; they add up to the rest.
    """

    read: Count
    written: Count
    held_out: Count
    duplicates: Count
    quarantined: Count
    quarantined_by_reason: dict[str, Count]
    filtered: LateCount = 0
    filtered_by_reason: LateCounts = Field(default_factory=dict)
    repaired: LateCount = 0
    near_duplicates: LateCount = 0
    contaminated: LateCount = 0
    contaminated_by_file: LateCounts = Field(default_factory=dict)
    evaluation_texts: LateCounts = Field(default_factory=dict)
    evaluation_whole: LateCounts = Field(default_factory=dict)
    evaluation_too_short: LateCounts = Field(default_factory=dict)
    sources: Annotated[
        tuple[SourceCounts, ...], Field(max_length=MAX_SOURCES, exclude_if=lambda sources: not sources)
    ] = ()

    @model_validator(mode="after")
    def _nothing_is_lost(self) -> DocumentCounts:
        accounted = self.written + self.held_out + self.duplicates + self.quarantined + self.filtered
        accounted += self.near_duplicates
        if self.read != accounted:
            raise ValueError(f"{self.read} documents read but {accounted} accounted for")
        if sum(self.quarantined_by_reason.values()) != self.quarantined:
            raise ValueError("the reasons do not add up to the quarantined documents")
        if sum(self.filtered_by_reason.values()) != self.filtered:
            raise ValueError("the reasons do not add up to the filtered documents")
        if self.repaired > self.read:
            raise ValueError(f"{self.repaired} repaired documents of {self.read}")
        by_file = self.contaminated_by_file.values()
        if not max(by_file, default=0) <= self.contaminated <= min(sum(by_file), self.read):
            raise ValueError("the evaluation files do not add up to the documents that share text with them")
        compared = (self.contaminated_by_file, self.evaluation_whole, self.evaluation_too_short)
        if not all(counts.keys() <= self.evaluation_texts.keys() for counts in compared):
            raise ValueError("an evaluation file is counted of which no texts are")
        if self.sources:
            self._check_sources()
        return self

    def _check_sources(self) -> None:
        for name in SUMMED:
            if sum(getattr(source, name) for source in self.sources) != getattr(self, name):
                raise ValueError(f"the sources do not add up in {name}")
        reasons = Counter[str]()
        for source in self.sources:
            reasons.update(source.filtered_by_reason)
        if reasons != Counter(self.filtered_by_reason):
            raise ValueError("the sources do not add up in the reasons of filters")
        if len({source.source for source in self.sources}) != len(self.sources):
            raise ValueError("a source is counted twice")


class PackingCounts(Written):
    """What became of every document and token; a manifest whose sums do not add up is rejected.

    Attributes:
        documents: Documents in the document shards; = packed + without_tokens + quarantined + unpaired.
        packed: Documents with tokens in rows; with pairs, those of which a pair was made.
        without_tokens: Documents whose text encodes to nothing, such as one of control characters alone.
        quarantined: Documents that could not be encoded, or that are longer than a row and may not be cut.
        too_long: The quarantined documents that are longer than a row.
        tokens_encoded: Tokens of all documents; = tokens_in_rows. With pairs, tokens_encoded + tokens_repeated +
            tokens_of_others = tokens_in_rows + tokens_truncated + tokens_unpaired.
        tokens_in_rows: Tokens of all segments, without the special tokens added by packing.
        rows: Rows of `seq_len` positions.
        segments: Pieces of documents in the rows; = packed + cuts, or 2 * pairs.
        special_tokens: [CLS] and [SEP] added by packing.
        padding: [PAD] at the ends of rows.
        cuts: Places where a document was cut; 0 with pairs, for which the last counts are.
        cuts_to_fill: Cuts made only to fill a row.
        cuts_inside_sentences: Cuts not at a sentence start; counted if sentences are looked for.
        cuts_inside_words: Cuts inside a word, because no word start fits.
        special_in_text: What looked like a special token in raw text.
        rows_lower_bound_l1: Rows needed if segments could be cut anywhere, summed over shards.
        rows_lower_bound_l2: Martello-Toth L2 bound of the same lengths, summed over shards.
        proof_documents: Documents whose encoding was compared with `tokenizers`.
        proof_bytes: Their bytes of text.
        fallback_shards: Shards encoded by `tokenizers` because the fast path is not proven for this tokenizer.
        pairs: Sequences of two segments, A and B.
        pairs_of_label_1: Pairs whose B is from another document (NSP), or precedes A in the document (SOP).
        pairs_truncated: Pairs that lost tokens because they were too long.
        unpaired: Documents of which no pair could be made, such as those of one sentence with SOP.
        tokens_repeated: Tokens of all documents once for each duplicate but the first.
        tokens_of_others: Tokens in rows of segments B that are from another document than A.
        tokens_truncated: Tokens that pairs lost, other than those of another document.
        tokens_unpaired: Tokens of sentences with which no pair could be made, once for each duplicate.
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
    pairs: LateCount = 0
    pairs_of_label_1: LateCount = 0
    pairs_truncated: LateCount = 0
    unpaired: LateCount = 0
    tokens_repeated: LateCount = 0
    tokens_of_others: LateCount = 0
    tokens_truncated: LateCount = 0
    tokens_unpaired: LateCount = 0

    @model_validator(mode="after")
    def _nothing_is_lost(self) -> PackingCounts:
        if self.documents != self.packed + self.without_tokens + self.quarantined + self.unpaired:
            raise ValueError(
                f"{self.documents} documents but {self.packed} packed, {self.without_tokens} without tokens, "
                f"{self.quarantined} quarantined and {self.unpaired} unpaired"
            )
        taken = self.tokens_encoded + self.tokens_repeated + self.tokens_of_others
        left_out = self.tokens_truncated + self.tokens_unpaired
        if taken != self.tokens_in_rows + left_out:
            raise ValueError(f"{taken} tokens encoded but {self.tokens_in_rows} in rows and {left_out} left out")
        if self.segments != (2 * self.pairs or self.packed + self.cuts):
            raise ValueError(f"{self.segments} segments of {self.packed} documents cut in {self.cuts} places")
        if max(self.pairs_of_label_1, self.pairs_truncated) > self.pairs:
            raise ValueError(f"more labels or truncations than the {self.pairs} pairs")
        if max(self.cuts_inside_words, self.cuts_inside_sentences, self.cuts_to_fill) > self.cuts:
            raise ValueError(f"more cuts inside words or sentences, or to fill rows, than the {self.cuts} cuts")
        if self.too_long > self.quarantined:
            raise ValueError(f"{self.too_long} of {self.quarantined} quarantined documents are too long")
        return self

    @property
    def only_label(self) -> int | None:
        """The label of every pair, if all have the same; `None` if they differ, or if there is none."""
        labels = {0} if self.pairs_of_label_1 == 0 else {1} if self.pairs_of_label_1 == self.pairs else set()
        return next(iter(labels), None) if self.pairs else None


PAIR_COUNTS = tuple(name for name, field in PackingCounts.model_fields.items() if not field.is_required())
"""The fields of `PackingCounts` that only datasets of pairs have."""


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
