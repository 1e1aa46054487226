"""Small whole outputs, written by the project's own stages without a command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import xxhash

from maskmill.pipeline.engine.local_engine import LocalEngine
from maskmill.pipeline.engine.stage import run_stage
from maskmill.pipeline.packing.pack_receipts import (
    PackDetails,
    encoding_counts,
    iter_dataset_shards,
    packing_counts,
    take_encoding,
)
from maskmill.pipeline.packing.pack_stage import PACK
from maskmill.pipeline.packing.pack_units import PackContext, PackUnit, plan_pack_units
from maskmill.pipeline.packing.prepare_encoder import describe_tokenizer
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.datasets import write_manifest
from maskmill.pipeline.storage.shard_table import ShardTable, read_shard_table, write_shard_table
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.wordpiece.encoding.load_encoders import SpecialInText
from maskmill.pipeline.wordpiece.encoding.prove_encoder import Proof, make_proof_key
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.schemas.counts import DocumentCounts, EncodingCounts, PackingCounts
from maskmill.schemas.documents import DOCUMENT_SCHEMA
from maskmill.schemas.layout import DataSplit, documents_folder, encoded_folder, packed_folders, shard_path
from maskmill.schemas.manifest import (
    DocumentsManifest,
    EncodedManifest,
    PackedManifest,
    TokenizerManifest,
    text_fill_ppm,
)
from maskmill.schemas.masking import Masking
from maskmill.schemas.receipt import Receipt, ShardReceipt
from maskmill.schemas.rows import rows_per_block
from maskmill.schemas.run_file import PackSection
from tests.wordpiece.encoding.test_encode import make_tokenizer_json

TOKENIZER_JSON = make_tokenizer_json(Normalisation())
RUN = "f" * 32
Shards = Sequence[Sequence[str]]


@dataclass
class Output:
    """An output in the making.

    Attributes:
        store: Where.
        pack: How it is packed.
        copies: Static masks.
        documents: Manifests by split.
        receipts: Of the pack units.
    """

    store: Store
    pack: PackSection
    copies: int = 0
    documents: dict[DataSplit, DocumentsManifest] = field(default_factory=dict)
    receipts: list[Receipt[PackDetails]] = field(default_factory=list)

    def tables(self) -> dict[DataSplit, ShardTable]:
        return {
            split: read_shard_table(self.store.below(documents_folder(split)), manifest)
            for split, manifest in self.documents.items()
        }


def ignore(*_: object) -> None:
    """Hear nothing."""


def make_context(store: Store, pack: PackSection, copies: int = 0) -> PackContext:
    key = make_proof_key(TOKENIZER_JSON, SpecialInText.TEXT)
    return PackContext(
        output=store,
        pack=pack,
        masking=Masking(),
        copies=copies,
        seed=3,
        tokenizer_json=TOKENIZER_JSON,
        special_in_text=SpecialInText.TEXT,
        proof=Proof(key, 1, 1, difference=None),
    )


def write_document_shard(
    store: Store, split: DataSplit, shard: int, texts: Sequence[str], block: int = 5
) -> ShardReceipt:
    """A document shard of some texts."""
    batches = []
    for start in range(0, len(texts), block):
        lines = range(start, min(len(texts), start + block))
        columns = [[f"{shard}-{line}" for line in lines], ["s"] * len(lines)]
        batches.append(pa.record_batch([*columns, [texts[line] for line in lines]], schema=DOCUMENT_SCHEMA))
    text_bytes = sum(len(text.encode()) for text in texts)
    path = shard_path(documents_folder(split), shard)
    return write_blocks(store, path, DOCUMENT_SCHEMA, batches, text_bytes=text_bytes, first_row_id=shard << 32)


def write_output(url: str, pack: PackSection, shards: Shards, held_out: Shards = (), *, copies: int = 0) -> Output:
    """Documents, tokenizer and rows, as a run leaves them."""
    output = Output(open_store(url), pack, copies)
    splits = {DataSplit.TRAIN: shards} | ({DataSplit.HELD_OUT: held_out} if held_out else {})
    written = {split: sum(map(len, texts)) for split, texts in splits.items()}
    for split, texts in splits.items():
        receipts = [write_document_shard(output.store, split, number, shard) for number, shard in enumerate(texts)]
        num_shards, checksum = write_shard_table(output.store, documents_folder(split), receipts)
        counts = DocumentCounts(
            read=sum(written.values()),
            written=written[DataSplit.TRAIN],
            held_out=written.get(DataSplit.HELD_OUT, 0),
            duplicates=0,
            quarantined=0,
            quarantined_by_reason={},
        )
        output.documents[split] = write_manifest(
            output.store,
            documents_folder(split),
            DocumentsManifest(
                run_fingerprint=RUN,
                num_shards=num_shards,
                shards_checksum=checksum,
                held_out=split.is_held_out,
                documents=written[split],
                text_bytes=sum(receipt.text_bytes for receipt in receipts),
                counts=counts,
            ),
        )
    output.store.write_bytes("tokenizer/tokenizer.json", TOKENIZER_JSON)
    write_manifest(
        output.store,
        "tokenizer",
        TokenizerManifest(
            run_fingerprint=RUN,
            documents_fingerprint=output.documents[DataSplit.TRAIN].fingerprint,
            trained=True,
            vocab_size=describe_tokenizer(TOKENIZER_JSON)[0].vocab_size,
            counts={},
            sources=(),
            checksums={"tokenizer.json": xxhash.xxh3_128_hexdigest(TOKENIZER_JSON)},
        ),
    )
    pack_output(output)
    return output


def pack_output(output: Output, encoded: dict[DataSplit, EncodedManifest] | None = None) -> None:
    """Pack the documents of an output, from encoded shards where they are given."""
    context = make_context(output.store, output.pack, output.copies)
    kept = {
        split: read_shard_table(output.store.below(encoded_folder(split, "")), manifest)
        for split, manifest in (encoded or {}).items()
    }
    checksum = xxhash.xxh3_128_hexdigest(TOKENIZER_JSON)
    units = plan_pack_units(output.tables(), checksum, kept or None)
    output.store.delete_tree("work")
    output.receipts = list(run_stage(LocalEngine(1), PACK, context, output.store, units, ignore))
    for split in output.documents:
        if output.pack.keep_encoded and not encoded:
            _write_encoded(output, units, split)
        for seq_len, folder in packed_folders(output.pack, split).items():
            _write_packed(output, units, split, seq_len, folder, (encoded or {}).get(split))


def _write_encoded(output: Output, units: list[PackUnit], split: DataSplit) -> None:
    folder = encoded_folder(split, "")
    receipts = [receipt for receipt in output.receipts if units[receipt.unit].split is split]
    shards = [shard for receipt in receipts for shard in iter_dataset_shards(receipt, folder)]
    counts = sum((encoding_counts(receipt) for receipt in receipts), Counter())
    num_shards, checksum = write_shard_table(output.store, folder, shards)
    write_manifest(
        output.store,
        folder,
        EncodedManifest(
            run_fingerprint=RUN,
            num_shards=num_shards,
            shards_checksum=checksum,
            held_out=split.is_held_out,
            tokenizer_checksum=xxhash.xxh3_128_hexdigest(TOKENIZER_JSON),
            documents_fingerprint=output.documents[split].fingerprint,
            text_bytes=counts["text_bytes"],
            counts=EncodingCounts(**{name: counts[name] for name in EncodingCounts.model_fields}),
        ),
    )


def _write_packed(
    output: Output, units: list[PackUnit], split: DataSplit, seq_len: int, folder: str, encoded: EncodedManifest | None
) -> None:
    receipts = [receipt for receipt in output.receipts if units[receipt.unit].split is split]
    counts: Counter[str] = sum((packing_counts(receipt, seq_len) for receipt in receipts), Counter())
    if encoded is not None:
        counts = take_encoding(counts, encoded.counts)
    shards = [shard for receipt in receipts for shard in iter_dataset_shards(receipt, folder)]
    num_shards, checksum = write_shard_table(output.store, folder, shards)
    output.store.write_bytes(f"{folder}/tokenizer.json", TOKENIZER_JSON)
    vocabulary, _ = describe_tokenizer(TOKENIZER_JSON)
    write_manifest(
        output.store,
        folder,
        PackedManifest(
            run_fingerprint=RUN,
            num_shards=num_shards,
            shards_checksum=checksum,
            held_out=split.is_held_out,
            seq_len=seq_len,
            block_rows=rows_per_block(seq_len, vocabulary.vocab_size),
            vocabulary=vocabulary,
            tokenizer_checksum=xxhash.xxh3_128_hexdigest(TOKENIZER_JSON),
            documents_fingerprint=output.documents[split].fingerprint,
            sequences=output.pack.sequences.value,
            compression=output.pack.compression,
            text_fill_ppm=text_fill_ppm(counts["tokens_in_rows"], counts["rows"] * seq_len),
            copies=output.copies,
            masking=Masking(),
            text_bytes=counts["text_bytes"],
            counts=PackingCounts(**{name: counts[name] for name in PackingCounts.model_fields}),
            pairs=output.pack.pairs,
            duplicates=output.pack.duplicates,
            sop_random_single=output.pack.sop_random_single,
        ),
    )
