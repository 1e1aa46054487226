"""A unit packs one document shard into every dataset; whether it encodes fast depends on the proof alone."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.engine.units import UnitOutcome
from maskmill.pipeline.masking.numba_masks import mask_rows
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.packing import encoded_documents, pack_stage, quarantine_documents
from maskmill.pipeline.packing.encoded_documents import EncodedDocuments, read_encoded, write_encoded
from maskmill.pipeline.packing.pack_receipts import (
    PackDetails,
    encoding_counts,
    iter_dataset_shards,
    packing_counts,
    summarise_fallbacks,
    take_encoding,
)
from maskmill.pipeline.packing.pack_stage import pack_documents
from maskmill.pipeline.packing.pack_units import PackContext, PackUnit
from maskmill.pipeline.packing.prepare_encoder import describe_tokenizer, prepare_encoder
from maskmill.pipeline.packing.rows import write_rows
from maskmill.pipeline.packing.rows.write_rows import share_by_tokens
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.wordpiece.encoding.encode import Encoder
from maskmill.pipeline.wordpiece.encoding.load_encoders import Ids, Offsets, SpecialInText
from maskmill.pipeline.wordpiece.encoding.prove_encoder import WITHOUT_NANOTOKEN, Proof, make_proof_key
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import build_tokenizer, tokenizer_files
from maskmill.schemas.counts import EncodingCounts, PackingCounts
from maskmill.schemas.documents import DOCUMENT_SCHEMA, QUARANTINED_DOCUMENT_SCHEMA
from maskmill.schemas.errors import ConfigError, ShardCorruptError
from maskmill.schemas.layout import DataSplit, packed_folders
from maskmill.schemas.masking import IGNORE_INDEX, Masking
from maskmill.schemas.receipt import Receipt
from maskmill.schemas.rows import encoded_schema, id_type, packed_row_schema
from maskmill.schemas.run_file import PackSection
from maskmill.schemas.tokenizer.tokenizer_file import SPECIAL_TOKENS

TOKENIZER_JSON = tokenizer_files(build_tokenizer([*SPECIAL_TOKENS, "a", "b", "##b", "."], Normalisation()))[
    "tokenizer.json"
]
SHARD = 3


def make_context(output: Store, copies: int = 0, **pack: Any) -> PackContext:
    return PackContext(
        output=output,
        pack=PackSection.model_validate({"seq_len": 32, "min_segment": 4} | pack),
        masking=Masking(),
        copies=copies,
        seed=0,
        tokenizer_json=TOKENIZER_JSON,
        special_in_text=SpecialInText.TEXT,
        proof=Proof(
            make_proof_key(TOKENIZER_JSON, SpecialInText.TEXT),
            1,
            1,
            difference=None if importlib.util.find_spec("nanotoken") else WITHOUT_NANOTOKEN,
        ),
    )


@pytest.fixture
def output(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


@pytest.fixture
def context(output: Store) -> PackContext:
    return make_context(output)


def write_documents(output: Store, texts: Sequence[str]) -> PackUnit:
    columns = [[f"{n}" for n in range(len(texts))], ["s"] * len(texts)]
    documents = pa.record_batch([*columns, list(texts)], schema=DOCUMENT_SCHEMA)
    batches = [documents.slice(start, 7) for start in range(0, len(texts), 7)]
    path = f"documents/shard-{SHARD:05d}.arrow"
    shard = write_blocks(output, path, DOCUMENT_SCHEMA, batches)
    return PackUnit(
        unit=0,
        held_out=False,
        shard=SHARD,
        path=path,
        checksum=shard.checksum,
        tokenizer_checksum="",
        text_bytes=sum(len(text.encode()) for text in texts),
    )


def read_table(output: Store, path: str) -> pa.Table:
    return pa.ipc.open_file(output.read_bytes(path)).read_all()


def pack_texts(context: PackContext, texts: Sequence[str]) -> UnitOutcome[PackDetails]:
    return pack_documents(context, write_documents(context.output, texts))


def to_receipt(outcome: UnitOutcome[PackDetails], unit: int = 0) -> Receipt[PackDetails]:
    return Receipt[PackDetails].model_validate_json(
        Receipt[PackDetails](
            stage="pack",
            unit=unit,
            description="",
            shards=outcome.shards,
            counts=outcome.counts,
            details=outcome.details,
        ).model_dump_json()
    )


def counts_of(outcome: UnitOutcome[PackDetails], seq_len: int) -> PackingCounts:
    counts = packing_counts(to_receipt(outcome), seq_len)
    return PackingCounts(**{name: counts[name] for name in PackingCounts.model_fields})


WHY_NANOTOKEN = "nanotoken is optional, and this is about a shard that it encodes"
MANY = ["a " * length + "b." * (length % 5) for length in (40, 0, 3, 29, 30, 31, 7, 100, 1, 64, 12, 5, 5, 9, 61, 2)]


def test_a_shard_becomes_rows_of_the_schema_and_every_count_is_by_hand(output: Store) -> None:
    pytest.importorskip("nanotoken", reason=WHY_NANOTOKEN)
    texts = ["a " * 40, "", "ab", "a [MASK]"]  # 40, 0, 2 and 4 tokens: "[" and "]" are [UNK], "mask" is too
    outcome = pack_texts(make_context(output, copies=2, min_segment=1), texts)
    assert outcome.counts == {"text_bytes": 90, "documents": 4, "tokens": 46, "rows": 2}
    assert outcome.details.model_dump() == {
        "datasets": {"32": {"counts": outcome.details.datasets["32"].counts, "num_shards": 1}},
        "encoding": {
            "documents": 4,
            "quarantined": 0,
            "tokens": 46,
            "text_bytes": 90,
            "special_in_text": 1,
            "proof_documents": 4,
            "proof_bytes": 90,
            "fallback_shards": 0,
        },
        "sample": {"documents": 4, "bytes": 90, "is_equal": True},
        "fell_back": None,
        "sentences_unmatched": 0,
    }
    assert outcome.details.datasets["32"].counts == {
        "documents": 4,
        "packed": 3,
        "without_tokens": 1,
        "quarantined": 0,
        "too_long": 0,
        "tokens_encoded": 46,
        "tokens_in_rows": 46,
        "rows": 2,
        "segments": 4,
        "special_tokens": 8,
        "padding": 64 - 46 - 8,
        "cuts": 1,
        "cuts_to_fill": 0,
        "cuts_inside_sentences": 0,
        "cuts_inside_words": 0,
        "special_in_text": 1,
        "rows_lower_bound_l1": 2,
        "rows_lower_bound_l2": 2,
        "proof_documents": 4,
        "proof_bytes": 90,
        "fallback_shards": 0,
        "text_bytes": 90,
    }
    (shard,) = outcome.shards
    assert (shard.path, shard.first_row_id) == ("packed/shard-00003.arrow", 3 << 32)
    assert (shard.rows, shard.tokens, shard.text_bytes) == (2, 46, 90)
    rows = read_table(output, shard.path)
    assert rows.schema.equals(packed_row_schema(32, 9, 2), check_metadata=True)
    segments = {
        (document, offset): length
        for row in rows.to_pylist()
        for document, offset, length in zip(
            row["segment_document"], row["segment_offset"], row["segment_lengths"], strict=True
        )
    }
    assert segments == {(3 << 32, 0): 32, (3 << 32, 30): 12, (3 << 32 | 2, 0): 4, (3 << 32 | 3, 0): 6}
    for copy in range(2):
        for row in rows.to_pylist():
            positions = row[f"mask_{copy}_positions"]
            assert row[f"mask_{copy}_labels"] == [row["input_ids"][position] for position in positions]


texts_of_documents = st.lists(
    st.lists(st.sampled_from(["a", "b", "ab", "abb", ".", "a.", "\n\n", "c"]), max_size=90).map(" ".join), max_size=9
)
ways_to_pack = st.sampled_from(
    [
        {},
        {"rows_per_shard": 2},
        {"seq_len": [32, 64], "compression": "lz4"},
        {"split": "never"},
        {"split": "never", "seq_len": [32, 64]},
        {"split": "fill", "max_waste": 0.0, "cut": "token", "min_segment": 2},
        {"cut": "sentence"},
        {"sequences": "doc_sentences", "rows_per_shard": 1},
        {"sequences": "full_sentences"},
        {"sequences": "document", "split": "never"},
        {"sequences": "document", "seq_len": 64, "length_bins": [32, 40, 64]},
        {"sequences": "document", "seq_len": 64, "length_bins": [32, 64], "split": "never"},
    ]
)


@settings(max_examples=120, deadline=None)
@given(texts_of_documents, ways_to_pack)
def test_nothing_is_lost_however_it_is_packed(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], pack: dict[str, Any]
) -> None:
    context = make_context(open_store(str(tmp_path_factory.mktemp("any"))), **pack)
    outcome = pack_texts(context, texts)
    receipt = to_receipt(outcome)
    law = Encoder(TOKENIZER_JSON).law
    expected = [law.encode(text, add_special_tokens=False).ids for text in texts]
    found: dict[int, dict[int, list[int]]] = {}
    documents, text_bytes = [], []
    for seq_len, folder in packed_folders(context.pack, DataSplit.TRAIN).items():
        counts = counts_of(outcome, seq_len)  # the sums are checked here
        documents.append(counts.documents)
        text_bytes.append(packing_counts(receipt, seq_len)["text_bytes"])
        assert counts.tokens_in_rows + counts.special_tokens + counts.padding == counts.rows * seq_len
        shards = list(iter_dataset_shards(receipt, folder))
        assert len(shards) == receipt.details.datasets[str(seq_len)].num_shards
        assert sum(shard.text_bytes for shard in shards) == text_bytes[-1]
        assert sum(shard.tokens for shard in shards) == counts.tokens_in_rows
        next_row = SHARD << 32
        for shard in shards:
            assert shard.first_row_id == next_row
            next_row += shard.rows
            for row in read_table(context.output, shard.path).to_pylist():
                collect_segments(row, found.setdefault(0 if context.pack.length_bins else seq_len, {}))
        quarantined = read_quarantine(context.output, folder)
        assert len(quarantined) == counts.quarantined == counts.too_long
    total = sum(len(text.encode()) for text in texts)
    if context.pack.length_bins:
        assert (sum(documents), sum(text_bytes)) == (len(texts), total)
    else:
        assert set(documents) == {len(texts)}
        assert set(text_bytes) == {total}
    for rebuilt in found.values():
        for number, ids in rebuilt.items():
            assert [ids[place] for place in range(len(ids))] == expected[number]
    if context.pack.split != "never":
        kept = {number for number, ids in enumerate(expected) if ids}
        assert all({number for number, ids in rebuilt.items() if ids} == kept for rebuilt in found.values())


def collect_segments(row: dict[str, Any], found: dict[int, Any]) -> None:
    """Put the tokens of a row's segments where they belong in their documents: place to id."""
    place, sequence_end = 0, 0
    ends = np.cumsum(row["sequence_lengths"]).tolist()
    for length, document, offset in zip(
        row["segment_lengths"], row["segment_document"], row["segment_offset"], strict=True
    ):
        assert document >> 32 == SHARD
        is_first = place == sequence_end
        if is_first:
            sequence_end = next(end for end in ends if end > place)
        ids = row["input_ids"][place + is_first : place + length - 1]
        tokens = found.setdefault(document & 0xFFFFFFFF, {})
        for at, token in enumerate(ids, offset):
            assert at not in tokens
            tokens[at] = token
        place += length


def read_quarantine(output: Store, folder: str) -> list[dict[str, Any]]:
    path = f"quarantine/{folder}-shard-{SHARD:05d}.arrow"
    if not output.exists(path):
        return []
    table = read_table(output, path)
    assert table.schema.equals(QUARANTINED_DOCUMENT_SCHEMA, check_metadata=True)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def read_packed(output: Store) -> dict[str, bytes]:
    paths = [path for path in output.list() if path.startswith(("packed", "quarantine"))]
    return {path: output.read_bytes(path) for path in paths}


@pytest.mark.parametrize("rows_per_shard", [1, 4, 1000])
def test_several_files_hold_the_rows_of_one_and_their_masks(tmp_path: Path, rows_per_shard: int) -> None:
    whole, parts = (open_store(str(tmp_path / name)) for name in ("whole", "parts"))
    (shard,) = pack_texts(make_context(whole, copies=2), MANY).shards
    written = pack_texts(make_context(parts, copies=2, rows_per_shard=rows_per_shard), MANY).shards
    rows = read_table(whole, shard.path).to_pylist()
    assert [receipt.path for receipt in written] == [
        f"packed/shard-00003-{part:04d}.arrow" for part in range(-(-len(rows) // rows_per_shard))
    ]
    assert [row for receipt in written for row in read_table(parts, receipt.path).to_pylist()] == rows
    assert all(receipt.rows == rows_per_shard for receipt in written[:-1])


@pytest.mark.parametrize("rows_per_shard", [None, 5])
def test_static_masks_are_those_of_the_rows_numbers_in_every_block(
    output: Store, monkeypatch: pytest.MonkeyPatch, rows_per_shard: int | None
) -> None:
    monkeypatch.setattr(write_rows, "rows_per_block", lambda *_: 2)
    shards = pack_texts(make_context(output, copies=2, rows_per_shard=rows_per_shard), MANY).shards
    assert max(len(shard.block_offsets) for shard in shards) > 2
    rows = [row for shard in shards for row in read_table(output, shard.path).to_pylist()]
    ids = np.array([row["input_ids"] for row in rows], np.uint16)
    numbers = np.arange(len(rows), dtype=np.uint64) + np.uint64(SHARD << 32)
    vocabulary, _ = describe_tokenizer(TOKENIZER_JSON)
    for copy in range(2):
        shown, labels = mask_rows(ids, numbers, copy, Masking(), MaskTables.build(vocabulary))
        for row, shown_row, label_row in zip(rows, shown, labels, strict=True):
            positions = np.flatnonzero(label_row != IGNORE_INDEX).tolist()
            assert row[f"mask_{copy}_positions"] == positions
            assert row[f"mask_{copy}_input_ids"] == shown_row[positions].tolist()


def test_the_seed_decides_the_order_of_rows_and_nothing_else(tmp_path: Path) -> None:
    tables = []
    for seed in (0, 1):
        output = open_store(str(tmp_path / str(seed)))
        (shard,) = pack_texts(replace(make_context(output), seed=seed), MANY).shards
        tables.append([str(row) for row in read_table(output, shard.path).to_pylist()])
    assert tables[0] != tables[1]
    assert sorted(tables[0]) == sorted(tables[1])


def test_a_folder_whose_name_begins_another_has_its_own_shards_alone(output: Store) -> None:
    receipt = to_receipt(pack_texts(make_context(output, seq_len=[32, 320], keep_encoded=True), MANY))
    for folder in ("encoded", "packed-32", "packed-320"):
        assert [shard.path for shard in iter_dataset_shards(receipt, folder)] == [f"{folder}/shard-00003.arrow"]
    assert list(iter_dataset_shards(receipt, "packed")) == []


def test_cuts_stand_at_sentences_where_these_are_asked_for(output: Store) -> None:
    texts = ["Ab ab ab! " * 40, "Ab abb? Abb ab abb! " * 30]
    by_sentence = pack_texts(make_context(output, cut="sentence"), texts)
    assert counts_of(by_sentence, 32).cuts_inside_sentences == 0
    assert counts_of(by_sentence, 32).cuts > 0
    assert by_sentence.details.sentences_unmatched == 0


def test_each_of_several_lengths_is_packed_as_it_would_be_alone(tmp_path: Path) -> None:
    together = open_store(str(tmp_path / "together"))
    pack_texts(make_context(together, copies=1, seq_len=[64, 32, 48]), MANY)
    for seq_len in (64, 32, 48):
        alone = open_store(str(tmp_path / str(seq_len)))
        (shard,) = pack_texts(make_context(alone, copies=1, seq_len=seq_len), MANY).shards
        assert together.read_bytes(f"packed-{seq_len}/shard-00003.arrow") == alone.read_bytes(shard.path)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_shards_hold_the_same_rows_in_fewer_bytes(tmp_path: Path, compression: str) -> None:
    plain, packed = (open_store(str(tmp_path / name)) for name in ("plain", "packed"))
    (one,) = pack_texts(make_context(plain, copies=1), MANY * 20).shards
    (other,) = pack_texts(make_context(packed, copies=1, compression=compression), MANY * 20).shards
    assert read_table(plain, one.path).equals(read_table(packed, other.path))
    assert other.size_bytes < one.size_bytes
    assert other.size_bytes == packed.size(other.path)


@pytest.mark.parametrize("texts", [[], [""], ["", "\x00"]])
@pytest.mark.parametrize("rows_per_shard", [None, 3])
def test_a_shard_without_rows_is_one_empty_file(output: Store, texts: list[str], rows_per_shard: int | None) -> None:
    outcome = pack_texts(
        make_context(output, seq_len=[32, 64], rows_per_shard=rows_per_shard, keep_encoded=True), texts
    )
    packed = [shard for shard in outcome.shards if shard.path.startswith("packed")]
    assert [(shard.rows, shard.first_row_id, shard.block_offsets) for shard in packed] == [(0, 3 << 32, [])] * 2
    assert all(read_table(output, shard.path).num_rows == 0 for shard in packed)
    assert counts_of(outcome, 32).without_tokens == len(texts)


WAYS = [
    {},
    {"seq_len": [32, 64], "rows_per_shard": 3, "compression": "zstd"},
    {"sequences": "document", "seq_len": 64, "length_bins": [32, 64], "rows_per_shard": 2},
    {"split": "never"},
    {"cut": "sentence"},
    {"sequences": "full_sentences"},
]


@pytest.mark.parametrize("pack", WAYS)
def test_rows_packed_again_from_encoded_documents_are_the_same_bytes(tmp_path: Path, pack: dict[str, Any]) -> None:
    first, again, keeper = (open_store(str(tmp_path / name)) for name in ("first", "again", "keeper"))
    outcome = pack_texts(make_context(first, copies=1, **pack), MANY)
    kept = pack_texts(make_context(keeper, keep_encoded=True), MANY)
    (encoded,) = iter_dataset_shards(to_receipt(kept), "encoded")
    unit = write_documents(again, MANY)
    again.write_bytes(encoded.path, keeper.read_bytes(encoded.path))
    told = unit.model_copy(update={"encoded_path": encoded.path, "encoded_checksum": encoded.checksum})
    second = pack_documents(make_context(again, copies=1, keep_encoded=True, **pack), told)
    assert read_packed(again) == read_packed(first)
    assert second.shards == outcome.shards  # no encoded shard among them
    assert told.digest() == unit.digest()
    encoding = EncodingCounts(**{name: encoding_counts(to_receipt(kept))[name] for name in EncodingCounts.model_fields})
    for seq_len in packed_folders(
        PackSection.model_validate({"seq_len": 32, "min_segment": 4} | pack), DataSplit.TRAIN
    ):
        counts = take_encoding(packing_counts(to_receipt(second), seq_len), encoding)
        assert counts == packing_counts(to_receipt(outcome), seq_len)


def test_packing_again_reads_no_text_and_loads_no_encoder(output: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = write_documents(output, MANY)
    first = pack_documents(make_context(output, keep_encoded=True), unit)
    encoded = first.shards[0]
    output.delete(unit.path)
    monkeypatch.setattr(pack_stage, "prepare_encoder", None)
    told = unit.model_copy(update={"encoded_path": encoded.path, "encoded_checksum": encoded.checksum})
    assert pack_documents(make_context(output), told).counts == first.counts
    flipped = bytearray(output.read_bytes(encoded.path))
    flipped[len(flipped) // 2] ^= 1
    output.write_bytes(encoded.path, bytes(flipped))
    with pytest.raises(ShardCorruptError, match=r"encoded/shard-00003\.arrow"):
        pack_documents(make_context(output), told)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 65_535), max_size=9), max_size=20),
    st.integers(1, 5),
    st.integers(1, 12),
    st.sampled_from([1 << 16, (1 << 16) + 1]),
    st.data(),
)
def test_encoded_shards_give_back_what_was_written_in_blocks_of_bounded_size(
    documents: list[list[int]], block_documents: int, block_tokens: int, vocab_size: int, data: Any
) -> None:
    rejected = data.draw(st.sets(st.sampled_from(range(len(documents)))) if documents else st.just(set()))
    documents = [[] if index in rejected else ids for index, ids in enumerate(documents)]
    encoded = EncodedDocuments(
        ids=np.array([token for ids in documents for token in ids], id_type(vocab_size).to_pandas_dtype()),
        offsets=np.cumsum([0, *map(len, documents)], dtype=np.int64),
        rejected=dict.fromkeys(sorted(rejected), "why"),
        text_bytes=7,
    )
    store = open_store("memory://test-encoded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoded_documents, "_BLOCK_DOCUMENTS", block_documents)
        patch.setattr(encoded_documents, "_BLOCK_TOKENS", block_tokens)
        receipt = write_encoded(store, "encoded", SHARD, vocab_size, encoded)
    assert (receipt.rows, receipt.tokens, receipt.text_bytes) == (len(documents), len(encoded.ids), 7)
    reader = pa.ipc.open_file(store.read_bytes(receipt.path))
    assert reader.schema.equals(encoded_schema(vocab_size), check_metadata=True)
    for index in range(reader.num_record_batches):
        block = reader.get_batch(index)
        tokens = len(block.column("input_ids").flatten())
        assert block.num_rows <= block_documents
        assert tokens <= block_tokens or block.num_rows == 1
    back = read_encoded(store, receipt.path, receipt.checksum, vocab_size, 7)
    assert back.ids.dtype == encoded.ids.dtype
    assert (back.ids.tolist(), back.offsets.tolist()) == (encoded.ids.tolist(), encoded.offsets.tolist())
    assert list(back.rejected) == list(encoded.rejected)


def test_documents_that_may_not_be_cut_are_set_aside_with_their_text(output: Store) -> None:
    texts = ["a " * 30, "a " * 31, "b " * 62, "b" * 70, "a " * 63]
    outcome = pack_texts(make_context(output, seq_len=[32, 64], split="never"), texts)
    short, long = (read_quarantine(output, f"packed-{length}") for length in (32, 64))
    assert [row["content"].decode() for row in short] == [texts[1], texts[2], texts[3], texts[4]]
    assert [row["doc_id"] for row in short] == ["1", "2", "3", "4"]
    assert short[0]["reason"] == ('longer than a row: 31 tokens where 30 fit into 32 places, and pack.split = "never"')
    assert [row["content"].decode() for row in long] == [texts[3], texts[4]]
    assert [row["size_bytes"] for row in long] == [70, 126]
    for seq_len, too_long in ((32, 4), (64, 2)):
        counts = counts_of(outcome, seq_len)
        assert (counts.too_long, counts.quarantined, counts.packed) == (too_long, too_long, 5 - too_long)


def test_the_quarantine_keeps_the_first_mebibyte_and_is_written_in_blocks(
    output: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_documents, "KEPT_QUARANTINE_BYTES", 100)
    monkeypatch.setattr(quarantine_documents, "_BLOCK_BYTES", 150)
    texts = ["a " * 51, "a", "a " * 40, "b " * 80, "b " * 49]
    pack_texts(make_context(output, split="never"), texts)
    reader = pa.ipc.open_file(output.read_bytes("quarantine/packed-shard-00003.arrow"))
    rows = [reader.get_batch(index).to_pylist() for index in range(reader.num_record_batches)]
    assert [len(block) for block in rows] == [2, 2]
    found = [(row["content"].decode(), row["size_bytes"]) for block in rows for row in block]
    assert found == [(text[:100], len(text)) for text in texts if text != "a"]


class RejectingEncoder(Encoder):
    """An encoder that cannot encode one text."""

    def encode_proven(self, texts: pa.ChunkedArray) -> Any:
        batch = super().encode_proven(pa.chunked_array([["" if text == "bad" else text for text in texts.to_pylist()]]))
        bad = [index for index, text in enumerate(texts.to_pylist()) if text == "bad"]
        return replace(batch, rejected=dict.fromkeys(bad, "ValueError: a word too many"))

    def explain_rejection(self, text: str) -> str | None:
        return "ValueError: a word too many" if text == "bad" else None


@pytest.mark.parametrize(
    ("pack", "counted_in"),
    [
        ({}, {32: 2}),
        ({"seq_len": [64, 32]}, {64: 2, 32: 2}),
        ({"sequences": "document", "seq_len": 64, "length_bins": [32, 64]}, {32: 2, 64: 0}),
    ],
)
def test_documents_that_cannot_be_encoded_are_set_aside_alone_and_stay_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: dict[str, Any], counted_in: dict[int, int]
) -> None:
    monkeypatch.setattr(pack_stage, "prepare_encoder", lambda source, special, _: RejectingEncoder(source, special))
    texts = ["a b", "bad", "", "a " * 50, "bad"]
    output = open_store(str(tmp_path))
    outcome = pack_texts(make_context(output, keep_encoded=True, **pack), texts)
    assert outcome.details.encoding["quarantined"] == 2
    folders = packed_folders(make_context(output, **pack).pack, DataSplit.TRAIN)
    for seq_len, quarantined in counted_in.items():
        counts = counts_of(outcome, seq_len)
        assert (counts.quarantined, counts.too_long) == (quarantined, 0)
        assert counts.without_tokens == (1 if quarantined else 0)
        rows = read_quarantine(output, folders[seq_len])
        assert [(row["doc_id"], row["reason"], row["content"]) for row in rows] == [
            (doc_id, "ValueError: a word too many", b"bad") for doc_id in ("1", "4")
        ][:quarantined]
    written = read_packed(output)
    for path in written:
        output.delete(path)
    encoded = outcome.shards[0]
    assert read_table(output, encoded.path).column("is_rejected").to_pylist() == [False, True, False, False, True]
    told = write_documents(output, texts).model_copy(
        update={"encoded_path": encoded.path, "encoded_checksum": encoded.checksum}
    )
    pack_documents(make_context(output, **pack), told)
    assert read_packed(output) == written


def test_only_a_proof_without_a_difference_opens_the_fast_path(context: PackContext) -> None:
    pytest.importorskip("nanotoken", reason=WHY_NANOTOKEN)
    assert context.proof is not None
    vocabulary, is_continuation = describe_tokenizer(TOKENIZER_JSON)
    assert (vocabulary.vocab_size, is_continuation.tolist()) == (9, [False] * 7 + [True, False])
    texts = pa.chunked_array([["ab b"]])
    encoder = prepare_encoder(TOKENIZER_JSON, SpecialInText.TEXT, context.proof)
    assert encoder.fast_encode is not None
    assert encoder.encode_proven(texts).ids.tolist() == [5, 7, 6]
    for proof in (None, replace(context.proof, difference="they differ")):
        encoder = prepare_encoder(TOKENIZER_JSON, SpecialInText.TEXT, proof)
        assert encoder.fast_encode is None
        assert encoder.encode_proven(texts).ids.tolist() == [5, 7, 6]


def test_a_proof_for_other_libraries_is_refused(context: PackContext) -> None:
    assert context.proof is not None
    other = replace(context.proof, key=replace(context.proof.key, nanotoken_version="0.0.1"))
    with pytest.raises(ConfigError, match=r"expected tokenizers .*, nanotoken 0\.0\.1; found"):
        pack_texts(replace(context, proof=other), ["a"])


def test_a_shard_that_is_encoded_wrongly_falls_back_and_all_of_them_are_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nanotoken", reason=WHY_NANOTOKEN)
    right, wrong = (open_store(str(tmp_path / name)) for name in ("right", "wrong"))
    expected = pack_texts(make_context(right), MANY)

    def encode_nothing(texts: Sequence[str] | Sequence[bytes]) -> tuple[Ids, Offsets]:
        return np.zeros(0, np.uint32), np.zeros(len(texts) + 1, np.int64)

    def prepare(source: bytes, special: SpecialInText, proof: Proof | None) -> Encoder:
        return Encoder(source, special, encode_nothing)

    with monkeypatch.context() as patch:
        patch.setattr(pack_stage, "prepare_encoder", prepare)
        outcome = pack_texts(make_context(wrong), MANY)
    assert read_packed(wrong) == read_packed(right)
    assert (outcome.counts, counts_of(outcome, 32).fallback_shards) == (expected.counts, 1)
    assert outcome.details.sample == expected.details.sample.model_copy(update={"is_equal": False})
    assert "differ on document" in outcome.details.fell_back
    receipts = [to_receipt(one, unit) for unit, one in enumerate([expected, outcome, expected, outcome])]
    said = summarise_fallbacks(receipts)
    assert said is not None
    assert said.startswith("2 of 4 document shards were encoded by tokenizers")
    assert f"first in unit 1: {outcome.details.fell_back}" in said
    assert summarise_fallbacks([receipts[0], receipts[2]]) is None
    # A worker that fell back once has its fast path again for the next shard.
    assert pack_texts(make_context(right), MANY).details.fell_back is None


def test_a_damaged_document_shard_is_refused(context: PackContext) -> None:
    unit = write_documents(context.output, MANY)
    flipped = bytearray(context.output.read_bytes(unit.path))
    flipped[len(flipped) // 2] ^= 1
    context.output.write_bytes(unit.path, bytes(flipped))
    with pytest.raises(ShardCorruptError, match=r"documents/shard-00003\.arrow"):
        pack_documents(context, unit)


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**6), max_size=9))
def test_shares_add_up_and_follow_the_tokens(text_bytes: int, tokens: list[int]) -> None:
    shares = share_by_tokens(text_bytes, tokens)
    assert len(shares) == len(tokens)
    assert sum(shares) == (text_bytes if tokens else 0)
    total = sum(tokens)
    if total:
        assert all(abs(share - text_bytes * count / total) <= 1 for share, count in zip(shares, tokens, strict=True))


def test_counts_of_several_receipts_add_up(context: PackContext) -> None:
    receipts = [to_receipt(pack_texts(context, texts)) for texts in (MANY, MANY[:5])]
    total = sum((packing_counts(receipt, 32) for receipt in receipts), Counter())
    assert total["documents"] == len(MANY) + 5
    assert PackingCounts(**{name: total[name] for name in PackingCounts.model_fields}).segments == total["segments"]


def test_ids_are_as_narrow_as_the_vocabulary_allows() -> None:
    assert [id_type(size).to_pandas_dtype() for size in (65_536, 65_537)] == [np.uint16, np.uint32]
