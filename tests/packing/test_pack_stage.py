"""A unit packs one shard; whether it encodes fast depends on the proof, not on what its worker did before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.packing.pack_stage import PackContext, PackUnit, _prepare_encoder, pack_documents
from pipeline.storage.arrow_files import write_blocks
from pipeline.storage.store import open_store
from pipeline.wordpiece.encode import SpecialInText
from pipeline.wordpiece.normalise import Normalisation
from pipeline.wordpiece.prove_encoder import Proof, make_proof_key
from pipeline.wordpiece.tokenizer_files import build_tokenizer, tokenizer_files
from pipeline.wordpiece.train import SPECIAL_TOKENS
from schemas.documents import DOCUMENT_SCHEMA
from schemas.errors import ConfigError
from schemas.masking import Masking
from schemas.rows import id_type, packed_row_schema
from schemas.run_file import PackSection


@pytest.fixture
def context(tmp_path: Path) -> PackContext:
    tokenizer = build_tokenizer([*SPECIAL_TOKENS, "a", "b", "##b"], Normalisation())
    tokenizer_json = tokenizer_files(tokenizer)["tokenizer.json"]
    return PackContext(
        output=open_store(str(tmp_path)),
        pack=PackSection(),
        masking=Masking(),
        copies=0,
        seed=0,
        tokenizer_json=tokenizer_json,
        special_in_text=SpecialInText.TEXT,
        proof=Proof(make_proof_key(tokenizer_json, SpecialInText.TEXT), 1, 1, difference=None),
    )


def test_a_shard_becomes_rows_of_the_schema_and_every_count_is_by_hand(context: PackContext) -> None:
    context = replace(context, pack=PackSection(seq_len=32, min_segment=1), copies=2)
    texts = ["a " * 40, "", "ab", "a [MASK]"]  # 40, 0, 2 and 4 tokens: "[" and "]" are [UNK], "mask" is too
    columns = [[f"{n}" for n in range(4)], ["s"] * 4, ["p"] * 4, range(4), texts]
    documents = pa.record_batch([list(column) for column in columns], schema=DOCUMENT_SCHEMA)
    shard = write_blocks(context.output, "documents/shard-00003.arrow", DOCUMENT_SCHEMA, [documents])
    unit = PackUnit(unit=0, held_out=False, shard=3, path=shard.path, checksum=shard.checksum, tokenizer_checksum="")
    outcome = pack_documents(context, unit)
    assert outcome.details == {"fell_back": None}
    wanted = {"documents": 4, "packed": 3, "without_tokens": 1, "tokens_encoded": 46, "tokens_in_rows": 46, "rows": 2}
    wanted |= {"segments": 4, "special_tokens": 8, "padding": 64 - 46 - 8, "cuts": 1, "cuts_inside_words": 0}
    wanted |= {"special_in_text": 1, "rows_lower_bound": 2, "fallback_shards": 0, "text_bytes": 90}
    assert {name: outcome.counts[name] for name in wanted} == wanted
    rows = pa.ipc.open_file(context.output.read_bytes(outcome.shards[0].path)).read_all()
    assert rows.schema.equals(packed_row_schema(32, 8, 2), check_metadata=True)
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


def test_only_a_proof_without_a_difference_opens_the_fast_path(context: PackContext) -> None:
    encoder, vocabulary, is_continuation = _prepare_encoder(context)
    assert encoder.fast_encode is not None
    assert encoder.encode_proven(["ab b"]).ids.tolist() == [5, 7, 6]
    assert (vocabulary.vocab_size, is_continuation.tolist()) == (8, [False] * 7 + [True])
    assert context.proof is not None
    for proof in (None, replace(context.proof, difference="they differ")):
        encoder, _, _ = _prepare_encoder(replace(context, proof=proof))
        assert encoder.fast_encode is None
        assert encoder.encode_proven(["ab b"]).ids.tolist() == [5, 7, 6]


def test_a_proof_for_other_libraries_is_refused(context: PackContext) -> None:
    assert context.proof is not None
    other = replace(context.proof, key=replace(context.proof.key, nanotoken_version="0.0.1"))
    with pytest.raises(ConfigError, match=r"expected tokenizers .*, nanotoken 0\.0\.1; found"):
        _prepare_encoder(replace(context, proof=other))


def test_a_unit_that_fell_back_leaves_the_next_one_its_fast_path(context: PackContext) -> None:
    first, _, _ = _prepare_encoder(context)
    first.fast_encode = lambda texts: (np.zeros(0, np.uint32), np.zeros(len(texts) + 1, np.int64))
    assert first.encode_proven(["a"]).fell_back is not None
    assert first.fast_encode is None
    assert _prepare_encoder(context)[0].fast_encode is not None


def test_ids_are_as_narrow_as_the_vocabulary_allows() -> None:
    assert [id_type(size).to_pandas_dtype() for size in (65_536, 65_537)] == [np.uint16, np.uint32]
