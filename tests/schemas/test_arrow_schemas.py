"""What is written keeps its shape: a change here is a new schema version."""

from __future__ import annotations

import pyarrow as pa
import pytest

from maskmill.schemas.documents import (
    DOCUMENT_SCHEMA,
    PLACED_DOCUMENT_SCHEMA,
    PLACED_QUARANTINE_SCHEMA,
    QUARANTINE_SCHEMA,
    QUARANTINED_DOCUMENT_SCHEMA,
    document_schema,
)
from maskmill.schemas.manifest import SHARD_TABLE_SCHEMA
from maskmill.schemas.rows import BLOCK_BYTES, encoded_schema, id_type, packed_row_schema, rows_per_block


def describe(schema: pa.Schema, version: str = "2.0") -> list[str]:
    assert schema.metadata[b"maskmill_schema_version"] == version.encode()
    return [schema.metadata[b"maskmill_kind"].decode(), *(str(field) for field in schema)]


def test_document_shards_have_these_columns() -> None:
    assert describe(DOCUMENT_SCHEMA, "2.4") == [
        "documents",
        "pyarrow.Field<doc_id: string not null>",
        "pyarrow.Field<source: string not null>",
        "pyarrow.Field<text: string not null>",
    ]


def test_quarantine_files_have_these_columns() -> None:
    assert describe(QUARANTINE_SCHEMA, "2.4") == [
        "quarantine",
        "pyarrow.Field<path: string not null>",
        "pyarrow.Field<line: uint64 not null>",
        "pyarrow.Field<first_byte: uint64 not null>",
        "pyarrow.Field<reason: string not null>",
        "pyarrow.Field<size_bytes: uint64 not null>",
        "pyarrow.Field<content: binary not null>",
    ]


def test_quarantined_documents_have_these_columns() -> None:
    assert describe(QUARANTINED_DOCUMENT_SCHEMA, "2.4") == [
        "quarantine",
        "pyarrow.Field<doc_id: string not null>",
        "pyarrow.Field<reason: string not null>",
        "pyarrow.Field<size_bytes: uint64 not null>",
        "pyarrow.Field<content: binary not null>",
    ]


def test_what_earlier_versions_wrote_has_these_columns() -> None:
    assert describe(PLACED_DOCUMENT_SCHEMA) == [
        "documents",
        "pyarrow.Field<doc_id: string not null>",
        "pyarrow.Field<source: string not null>",
        "pyarrow.Field<path: string not null>",
        "pyarrow.Field<line: uint64 not null>",
        "pyarrow.Field<text: string not null>",
    ]
    assert describe(PLACED_QUARANTINE_SCHEMA) == [
        "quarantine",
        "pyarrow.Field<path: string not null>",
        "pyarrow.Field<line: uint64 not null>",
        "pyarrow.Field<reason: string not null>",
        "pyarrow.Field<size_bytes: uint64 not null>",
        "pyarrow.Field<content: binary not null>",
    ]
    assert [document_schema(version) for version in ("2.0", "2.3", "2.4", "2.10")] == [
        *[PLACED_DOCUMENT_SCHEMA] * 2,
        *[DOCUMENT_SCHEMA] * 2,
    ]


def test_the_table_of_shards_has_these_columns() -> None:
    kinds = {
        "path": "string",
        "first_row_id": "uint64",
        "rows": "uint64",
        "tokens": "uint64",
        "text_bytes": "uint64",
        "size_bytes": "uint64",
        "checksum": "string",
        "block_offsets": "list<item: uint64>",
        "block_lengths": "list<item: uint32>",
        "block_checksums": "list<item: uint64>",
    }
    assert describe(SHARD_TABLE_SCHEMA) == [
        "shards",
        *(f"pyarrow.Field<{name}: {kind} not null>" for name, kind in kinds.items()),
    ]


@pytest.mark.parametrize(("vocab_size", "ids"), [(65_536, "uint16"), (65_537, "uint32")])
@pytest.mark.parametrize(("pairs", "words"), [(False, False), (True, False), (False, True), (True, True)])
def test_packed_shards_have_these_columns(vocab_size: int, ids: str, pairs: bool, words: bool) -> None:
    def lists(name: str, values: str) -> str:
        return f"pyarrow.Field<{name}: list<item: {values} not null> not null>"

    assert describe(packed_row_schema(512, vocab_size, 2, pairs=pairs, words=words)) == [
        "packed",
        f"pyarrow.Field<input_ids: fixed_size_list<item: {ids} not null>[512] not null>",
        *(["pyarrow.Field<word_starts: fixed_size_list<item: bool not null>[512] not null>"] if words else []),
        lists("sequence_lengths", "uint16"),
        lists("segment_lengths", "uint16"),
        lists("segment_document", "uint64"),
        lists("segment_offset", "uint32"),
        *([lists("sequence_labels", "uint8")] if pairs else []),
        *(
            lists(f"mask_{copy}_{name}", values)
            for copy in (0, 1)
            for name, values in (("positions", "uint16"), ("input_ids", ids), ("labels", ids))
        ),
    ]


@pytest.mark.parametrize(("vocab_size", "ids"), [(65_536, "uint16"), (65_537, "uint32")])
def test_encoded_shards_have_these_columns(vocab_size: int, ids: str) -> None:
    assert describe(encoded_schema(vocab_size)) == [
        "encoded",
        f"pyarrow.Field<input_ids: list<item: {ids} not null> not null>",
        "pyarrow.Field<is_rejected: bool not null>",
    ]


def test_the_largest_id_of_a_vocabulary_fits_its_type() -> None:
    for vocab_size in (6, 65_536, 65_537, 1 << 31):
        assert pa.scalar(vocab_size - 1, id_type(vocab_size)).as_py() == vocab_size - 1
    assert (id_type(65_536), id_type(65_537)) == (pa.uint16(), pa.uint32())


@pytest.mark.parametrize(
    ("seq_len", "vocab_size", "rows"),
    [(512, 30_522, 256), (512, 100_000, 128), (65_536, 100_000, 1), (48, 30_522, 2730)],
)
def test_a_block_is_at_most_256_kib_of_ids(seq_len: int, vocab_size: int, rows: int) -> None:
    assert rows_per_block(seq_len, vocab_size) == rows
    assert rows * seq_len * (id_type(vocab_size).bit_width // 8) <= BLOCK_BYTES
