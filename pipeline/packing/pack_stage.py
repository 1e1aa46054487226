"""The pack stage: one document shard to one packed shard.

    documents -> ids -> segments -> rows -> static masks -> blocks on storage

Every unit is a function of its document shard, the tokenizer and the run file, so shards can be packed anywhere in
any order. Row r of packed shard s has the id s * 2^32 + r.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.plan import documents_folder, shard_path
from pipeline.engine.stage import UnitDescription, UnitOutcome
from pipeline.masking.static_masks import static_masks
from pipeline.masking.tables import MaskTables
from pipeline.packing.assemble_rows import assemble_rows
from pipeline.packing.best_fit import pack_best_fit
from pipeline.packing.measure_fill import measure_fill
from pipeline.packing.packed_rows import PackedRows, RowLists
from pipeline.packing.split_documents import split_documents
from pipeline.storage.arrow_files import read_file, write_blocks
from pipeline.storage.store import Store
from pipeline.wordpiece.encode import Encoder, FastEncode, SpecialInText, load_fast_encode
from pipeline.wordpiece.prove_encoder import Proof, make_proof_key
from pipeline.wordpiece.tokenizer_files import describe_vocabulary
from schemas.documents import QUARANTINE_SCHEMA
from schemas.errors import ConfigError
from schemas.masking import Masking, MaskVocabulary
from schemas.rows import id_type, packed_row_schema, rows_per_block
from schemas.run_file import PackSection


@dataclass(frozen=True)
class PackContext:
    """What every pack unit is given.

    Attributes:
        output: The run's output.
        pack: `[pack]` of the run file.
        masking: Settings of the static masks.
        copies: How many of them.
        seed: Key of the order of rows.
        tokenizer_json: The tokenizer.
        special_in_text: What a special token's string in raw text is.
        proof: Whether the fast encoder may be used for it.
    """

    output: Store
    pack: PackSection
    masking: Masking
    copies: int
    seed: int
    tokenizer_json: bytes
    special_in_text: SpecialInText
    proof: Proof | None


class PackUnit(UnitDescription):
    """Pack one document shard.

    Attributes:
        held_out: Which of the two datasets.
        shard: Number of the shard, of documents and of rows.
        path: Of the document shard.
        checksum: Of it, xxh3-128.
        tokenizer_checksum: Of tokenizer.json.
    """

    stage: str = "pack"
    held_out: bool
    shard: int
    path: str
    checksum: str
    tokenizer_checksum: str


def packed_folder(held_out: bool) -> str:
    """The folder of packed shards, relative to the run's output."""
    return "packed-heldout" if held_out else "packed"


def pack_documents(context: PackContext, unit: PackUnit) -> UnitOutcome:
    """Encode and pack one document shard; the unit of the pack stage.

    Raises:
        ShardCorruptError: The document shard is not what was written.
    """
    data = context.output.map_file(unit.path)
    documents = read_file(data, unit.checksum, context.output.locate(unit.path)).read_all()
    texts = documents.column("text").to_pylist()
    encoder, vocabulary, is_continuation = _prepare_encoder(context)
    encoded = encoder.encode_proven(texts)
    text_bytes = int(pc.sum(pc.binary_length(documents.column("text"))).as_py() or 0)
    del texts
    if encoded.rejected:
        _write_rejected(context.output, unit, documents, encoded.rejected)

    pack = context.pack
    segments = split_documents(encoded.ids, encoded.offsets, is_continuation, pack.seq_len, pack.min_segment, pack.cut)
    row_of_segment, num_rows = pack_best_fit(segments.lengths, pack.seq_len)
    rows = assemble_rows(
        encoded.ids,
        encoded.offsets,
        segments,
        row_of_segment,
        num_rows,
        seq_len=pack.seq_len,
        cls_id=vocabulary.cls_id,
        sep_id=vocabulary.sep_id,
        pad_id=vocabulary.pad_id,
        dtype=id_type(vocabulary.vocab_size).to_pandas_dtype(),
        document_shard=unit.shard,
        seed=context.seed,
    )
    fill = measure_fill(segments, num_rows, pack.seq_len)
    schema = packed_row_schema(pack.seq_len, vocabulary.vocab_size, context.copies)
    receipt = write_blocks(
        context.output,
        shard_path(packed_folder(unit.held_out), unit.shard),
        schema,
        _iter_blocks(context, rows, unit.shard, vocabulary, schema),
        tokens=fill.tokens,
        text_bytes=text_bytes,
    )
    sample = encoded.sample
    counts = {
        "documents": documents.num_rows,
        "packed": documents.num_rows - segments.documents_without_tokens,
        "without_tokens": segments.documents_without_tokens - len(encoded.rejected),
        "quarantined": len(encoded.rejected),
        "tokens_encoded": int(encoded.offsets[-1]),
        "tokens_in_rows": fill.tokens,
        "rows": num_rows,
        "segments": len(segments),
        "special_tokens": fill.special_tokens,
        "padding": fill.padding,
        "cuts": segments.cuts,
        "cuts_inside_words": segments.cuts_inside_words,
        "special_in_text": sum(encoded.special_in_text.values()),
        "rows_lower_bound": fill.num_rows_l2,
        "proof_documents": sample.documents if sample else 0,
        "proof_bytes": sample.bytes if sample else 0,
        "fallback_shards": int(encoder.fast_encode is None),
        "text_bytes": text_bytes,
    }
    return UnitOutcome([receipt], counts, {"fell_back": encoded.fell_back})


def describe_tokenizer(tokenizer_json: bytes) -> tuple[MaskVocabulary, np.ndarray[Any, np.dtype[np.bool_]]]:
    """What a manifest says of the vocabulary, and which ids continue a word, `(vocab_size,)` bool."""
    from tokenizers import Tokenizer

    return describe_vocabulary(Tokenizer.from_str(tokenizer_json.decode()))


def _prepare_encoder(
    context: PackContext,
) -> tuple[Encoder, MaskVocabulary, np.ndarray[Any, np.dtype[np.bool_]]]:
    """An encoder of this unit's own: whether it falls back must not depend on what its worker did before.

    Raises:
        ConfigError: The proof was made with other libraries than stand on this machine.
    """
    vocabulary, is_continuation = _describe(context.tokenizer_json)
    if context.proof is not None:
        here = make_proof_key(context.tokenizer_json, context.special_in_text)
        if context.proof.key != here:
            raise ConfigError(
                "the encoder is proven for other libraries than this machine has",
                path=socket.gethostname(),
                expected=f"tokenizers {context.proof.key.tokenizers_version}, "
                f"nanotoken {context.proof.key.nanotoken_version}",
                found=f"tokenizers {here.tokenizers_version}, nanotoken {here.nanotoken_version}",
                action="install the same versions on every node",
            )
    proven = context.proof is not None and context.proof.difference is None
    fast = _load_fast(context.tokenizer_json, context.special_in_text) if proven else None
    return Encoder(context.tokenizer_json, context.special_in_text, fast), vocabulary, is_continuation


# A worker packs many shards with one tokenizer; what is kept here changes no result, only the time.
_describe = functools.lru_cache(maxsize=1)(describe_tokenizer)


@functools.lru_cache(maxsize=1)
def _load_fast(tokenizer_json: bytes, special_in_text: SpecialInText) -> FastEncode:
    return load_fast_encode(tokenizer_json, special_in_text)


def _write_rejected(output: Store, unit: PackUnit, documents: pa.Table, rejected: dict[int, str]) -> None:
    chosen = documents.take(pa.array(sorted(rejected)))
    contents = [text.encode() for text in chosen.column("text").to_pylist()]
    batch = pa.record_batch(
        [
            pa.array(chosen.column("path").to_pylist(), pa.string()),
            pa.array(chosen.column("line").to_pylist(), pa.uint64()),
            pa.array([rejected[index] for index in sorted(rejected)], pa.string()),
            pa.array([len(content) for content in contents], pa.uint64()),
            pa.array(contents, pa.binary()),
        ],
        schema=QUARANTINE_SCHEMA,
    )
    name = shard_path(packed_folder(unit.held_out), unit.shard).replace("/", "-")
    write_blocks(output, f"quarantine/{name}", QUARANTINE_SCHEMA, [batch])


def _iter_blocks(
    context: PackContext, rows: PackedRows, shard: int, vocabulary: MaskVocabulary, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    tables = MaskTables.build(vocabulary)
    block_rows = rows_per_block(context.pack.seq_len, vocabulary.vocab_size)
    for start in range(0, len(rows), block_rows):
        block = rows.slice(start, start + block_rows)
        flat = pa.array(block.input_ids.reshape(-1))
        arrays: list[pa.Array] = [
            pa.FixedSizeListArray.from_arrays(flat, type=schema.field("input_ids").type),
            _list_array(block.sequence_lengths),
            _list_array(block.segment_lengths),
            _list_array(block.segment_document),
            _list_array(block.segment_offset),
        ]
        row_ids = np.arange(start, start + len(block), dtype=np.uint64) + np.uint64(shard << 32)
        for copy in range(context.copies):
            offsets, *columns = static_masks(block.input_ids, row_ids, copy, context.masking, tables)
            arrays += [pa.ListArray.from_arrays(pa.array(offsets), pa.array(column)) for column in columns]
        cast = [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)]
        yield pa.record_batch(cast, schema=schema)


def _list_array(lists: RowLists[Any]) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(lists.offsets), pa.array(lists.values))


def plan_pack_units(shards: list[list[tuple[str, str]]], tokenizer_checksum: str) -> list[PackUnit]:
    """One unit a document shard, the held-out ones after the others.

    Args:
        shards: Path and checksum of the shards to train on, and of the held-out ones, in order.
        tokenizer_checksum: xxh3-128 of tokenizer.json.
    """
    units: list[PackUnit] = []
    for held_out, dataset in zip((False, True), shards, strict=False):
        for shard, (path, checksum) in enumerate(dataset):
            units.append(
                PackUnit(
                    unit=len(units),
                    held_out=held_out,
                    shard=shard,
                    path=f"{documents_folder(held_out)}/{path}",
                    checksum=checksum,
                    tokenizer_checksum=tokenizer_checksum,
                )
            )
    return units
