"""The pack stage: one document shard to its packed shards, of every dataset that is asked for.

    documents -> ids -> plan of rows -> rows -> static masks -> blocks on storage
                   |-> encoded shard, if it is kept
                   '-> where words start, if a segmenter finds them

Every unit is a function of its document shard, the tokenizer and the run file, so shards can be packed anywhere in
any order. Row r of document shard s has the id s * 2^32 + r in each dataset.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitOutcome
from maskmill.pipeline.masking.fit_vocabulary import make_tables
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.packing.cutting.locate_sentences import locate_sentences
from maskmill.pipeline.packing.cutting.token_columns import TokenColumns
from maskmill.pipeline.packing.encoded_documents import EncodedDocuments, encode_documents, read_encoded, write_encoded
from maskmill.pipeline.packing.pack_receipts import PackDetails, PackedDetails, SampleDetails
from maskmill.pipeline.packing.pack_units import PackContext, PackUnit, plan_pack_units
from maskmill.pipeline.packing.prepare_encoder import describe_tokenizer, prepare_encoder
from maskmill.pipeline.packing.quarantine_documents import explain_too_long, write_quarantine
from maskmill.pipeline.packing.rows.assemble_rows import SpecialIds, assemble_rows
from maskmill.pipeline.packing.rows.write_rows import RowWriter, share_by_tokens
from maskmill.pipeline.packing.sequences.plan_rows import plan_rows
from maskmill.pipeline.packing.sequences.row_plan import RowPlan
from maskmill.pipeline.packing.words.mark_words import mark_words
from maskmill.pipeline.packing.words.segmenters import require_version
from maskmill.pipeline.storage.arrow_reader import open_documents
from maskmill.pipeline.wordpiece.encoding.encode import Encoder
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.layout import encoded_folder, packed_folders
from maskmill.schemas.masking import Masking
from maskmill.schemas.receipt import ShardReceipt
from maskmill.schemas.run_file import PackSection

__all__ = ["PackContext", "PackUnit", "describe_tokenizer", "pack_documents", "plan_pack_units"]


def pack_documents(context: PackContext, unit: PackUnit) -> UnitOutcome[PackDetails]:
    """Encode and pack one document shard; the unit of the pack stage.

    Raises:
        ShardCorruptError: The document shard or encoded shard is not what was written.
        ConfigError: The proof was made with other libraries than this machine has, or it finds words by another
            segmenter than the run was begun with.
    """
    pack = context.pack
    work = _Work(context, unit)
    encoded = work.encode()
    shards: list[ShardReceipt] = []
    if pack.keep_encoded and not unit.encoded_path:
        folder = encoded_folder(unit.split, context.tokenizer_name)
        shards.append(write_encoded(context.output, folder, unit.shard, work.vocabulary.vocab_size, encoded))
    sentence_starts, unmatched = None, 0
    if pack.needs_sentences:
        work.check_documents(encoded)
        sentence_starts, unmatched = locate_sentences(work.encoder, work.texts, encoded, pack.sentence_language)
    word_starts = work.mark_words(encoded)
    columns = TokenColumns(encoded.ids, encoded.offsets, work.is_continuation, sentence_starts, word_starts)
    plans = plan_rows(columns, pack, unit.shard, context.seed)
    del sentence_starts
    columns = columns.without_sentences()
    counts = {"text_bytes": encoded.text_bytes, "documents": len(encoded.offsets) - 1, "tokens": len(encoded.ids)}
    datasets: dict[str, PackedDetails] = {}
    text_bytes = _share_text(pack, plans, encoded.text_bytes)
    for seq_len in list(plans):
        plan = plans.pop(seq_len)
        written = work.write(plan, columns, encoded, text_bytes[seq_len])
        shards += written
        counted = _count(plan, written, encoded, holds_rejected=_holds_rejected(pack, seq_len))
        datasets[str(seq_len)] = PackedDetails(
            counts={**counted, **encoded.counts, "text_bytes": text_bytes[seq_len]}, num_shards=len(written)
        )
    counts["rows"] = sum(dataset.counts["rows"] for dataset in datasets.values())
    return UnitOutcome(shards, counts, _describe(encoded, datasets, unmatched))


def _describe(encoded: EncodedDocuments, datasets: dict[str, PackedDetails], unmatched: int) -> PackDetails:
    encoding = {
        "documents": len(encoded.offsets) - 1,
        "quarantined": len(encoded.rejected),
        "tokens": len(encoded.ids),
        "text_bytes": encoded.text_bytes,
        **encoded.counts,
    }
    return PackDetails(
        datasets=datasets,
        encoding=encoding,
        sample=None if encoded.sample is None else SampleDetails(**vars(encoded.sample)),
        fell_back=encoded.fell_back,
        sentences_unmatched=unmatched,
    )


PACK = Stage("encode and pack", "encoding the documents and filling rows", PackUnit, PackDetails, pack_documents)


@functools.lru_cache(maxsize=1)
def _make_tables(masking: Masking, tokenizer_json: bytes) -> MaskTables:
    vocabulary, _ = describe_tokenizer(tokenizer_json)
    return make_tables(masking, vocabulary, lambda: tokenizer_json, "tokenizer.json")


class _Work:
    """A running unit: its inputs, each read or loaded at first use."""

    def __init__(self, context: PackContext, unit: PackUnit) -> None:
        self._context = context
        self._unit = unit
        self.vocabulary, self.is_continuation = describe_tokenizer(context.tokenizer_json)

    @functools.cached_property
    def documents(self) -> pa.Table:
        unit, output = self._unit, self._context.output
        return open_documents(output, unit.path, unit.checksum).read_all()

    @property
    def texts(self) -> pa.ChunkedArray:
        return self.documents.column("text")

    @functools.cached_property
    def encoder(self) -> Encoder:
        context = self._context
        return prepare_encoder(context.tokenizer_json, context.special_in_text, context.proof)

    def encode(self) -> EncodedDocuments:
        """The ids of the documents, from their text or from the encoded shard."""
        unit = self._unit
        if not unit.encoded_path:
            return encode_documents(self.encoder, self.texts)
        vocab_size = self.vocabulary.vocab_size
        return read_encoded(self._context.output, unit.encoded_path, unit.encoded_checksum, vocab_size, unit.text_bytes)

    def mark_words(self, encoded: EncodedDocuments) -> npt.NDArray[np.bool_] | None:
        """Where words start by the segmenter that is asked for, (T,); `None` if none is."""
        context = self._context
        segmenter = require_version(context.pack.word_boundaries, context.segmenter)
        if segmenter is None:
            return None
        self.check_documents(encoded)
        return mark_words(self.encoder, segmenter, self.texts, encoded, self.is_continuation)

    def check_documents(self, encoded: EncodedDocuments) -> None:
        """Refuse an encoded shard that does not have the documents of its document shard."""
        found = len(encoded.offsets) - 1
        if found != self.documents.num_rows:
            raise ShardCorruptError(
                "an encoded shard does not have the documents of its document shard",
                path=self._context.output.locate(self._unit.encoded_path),
                expected=f"{self.documents.num_rows} documents",
                found=f"{found}",
                action="delete the folder and encode the documents again",
            )

    def write(
        self, plan: RowPlan, columns: TokenColumns, encoded: EncodedDocuments, text_bytes: int
    ) -> list[ShardReceipt]:
        """Write the rows of one dataset, and the quarantine of its documents that come to none."""
        context, unit = self._context, self._unit
        folder = packed_folders(context.pack, unit.split)[plan.seq_len]
        rows = assemble_rows(columns, plan, SpecialIds.from_vocabulary(self.vocabulary), unit.shard, context.seed)
        writer = RowWriter(
            context.output,
            _make_tables(context.masking, context.tokenizer_json),
            context.masking,
            context.copies,
            context.pack.rows_per_shard,
            context.pack.compression,
            pairs=context.pack.pairs is not None,
            words=context.segmenter is not None,
        )
        written = writer.write(folder, unit.shard, rows, text_bytes)
        reasons = explain_too_long(plan.too_long, encoded.offsets, plan.seq_len)
        if _holds_rejected(context.pack, plan.seq_len) and encoded.rejected:
            self.check_documents(encoded)
            reasons |= self._explain_rejected(encoded)
        if reasons:
            self.check_documents(encoded)
            write_quarantine(context.output, folder, unit.shard, self.documents, reasons)
        return written

    def _explain_rejected(self, encoded: EncodedDocuments) -> dict[int, str]:
        # Encoded shards do not keep the reason; `tokenizers` gives it again.
        return {
            index: reason or self.encoder.explain_rejection(self.texts[index].as_py()) or "it could not be encoded"
            for index, reason in encoded.rejected.items()
        }


def _holds_rejected(pack: PackSection, seq_len: int) -> bool:
    """Whether documents that cannot be encoded are counted in this dataset: of length bins, in the shortest."""
    return not pack.length_bins or seq_len == pack.length_bins[0]


def _share_text(pack: PackSection, plans: Mapping[int, RowPlan], text_bytes: int) -> dict[int, int]:
    """The bytes of text that each dataset is encoded from: all of them, or in length bins the share of its tokens."""
    if not pack.length_bins:
        return dict.fromkeys(plans, text_bytes)
    shares = share_by_tokens(text_bytes, [plan.tokens_in_rows for plan in plans.values()])
    return dict(zip(plans, shares, strict=True))


def _count(
    plan: RowPlan, written: list[ShardReceipt], encoded: EncodedDocuments, holds_rejected: bool
) -> dict[str, int]:
    """The `PackingCounts` of one dataset; rows and tokens as written, not as planned."""
    rejected = len(encoded.rejected) if holds_rejected else 0
    return {
        "documents": plan.documents,
        "packed": plan.packed,
        "without_tokens": plan.without_tokens - rejected,
        "quarantined": rejected + len(plan.too_long),
        "too_long": len(plan.too_long),
        "tokens_encoded": plan.tokens_encoded,
        "tokens_in_rows": sum(receipt.tokens for receipt in written),
        "rows": sum(receipt.rows for receipt in written),
        "segments": len(plan.segments),
        "special_tokens": plan.special_tokens,
        "padding": plan.padding,
        "cuts": plan.cuts,
        "cuts_to_fill": plan.cuts_to_fill,
        "cuts_inside_sentences": plan.cuts_inside_sentences,
        "cuts_inside_words": plan.cuts_inside_words,
        "rows_lower_bound_l1": plan.rows_lower_bound_l1,
        "rows_lower_bound_l2": plan.rows_lower_bound_l2,
        **plan.pair_counts,
    }
