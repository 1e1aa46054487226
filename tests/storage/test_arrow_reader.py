"""Whatever a file says of itself is compared with its schema and its bytes, and refused by name."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from maskmill.pipeline.storage import arrow_reader
from maskmill.pipeline.storage.arrow_batches import read_batch
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.arrow_layout import BatchLayout
from maskmill.pipeline.storage.arrow_reader import ArrowFile, open_whole
from maskmill.pipeline.storage.arrow_schema import MAX_SCHEMA_BYTES
from maskmill.pipeline.storage.arrow_views import view_lists, view_numbers
from maskmill.pipeline.storage.checksums import hash_file, read_span
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.documents import PLACED_DOCUMENT_SCHEMA as DOCUMENT_SCHEMA  # it has numbers too
from maskmill.schemas.documents import QUARANTINE_SCHEMA
from maskmill.schemas.errors import MaskmillError, ShardCorruptError
from maskmill.schemas.manifest import SHARD_TABLE_SCHEMA
from maskmill.schemas.rows import Compression, encoded_schema, packed_row_schema
from tests.storage.crafted import Message, serialise
from tests.storage.shared_parts import share_in_footer, share_in_message

TEXTS = ["a few words", "", "zwölf Boxkämpfer", "x" * 70]
DOCUMENTS = pa.record_batch([["1", "2", "3", "4"], ["s"] * 4, ["p"] * 4, [1, 2, 3, 4], TEXTS], schema=DOCUMENT_SCHEMA)
ENCODED = pa.record_batch([[[1, 2], [], [7]], [False, True, False]], schema=encoded_schema(9))
TEXT_OFFSETS, TEXT_DATA = 12, 13  # buffers of the column `text`: three a string, two a number
BIG = 1 << 40

DAMAGE: dict[str, tuple[Callable[[Message], None], str]] = {
    "offset beyond the text": (lambda m: m.poke(TEXT_OFFSETS, "i", 4, 1 << 30), "text|offset"),
    "negative offset": (lambda m: m.poke(TEXT_OFFSETS, "i", 1, -5), "offset"),
    "offsets that fall": (lambda m: m.poke(TEXT_OFFSETS, "i", 2, 1), "offset"),
    "text that is not UTF-8": (lambda m: m.poke(TEXT_DATA, "B", 0, 0xFF), "UTF8"),
    "rows beyond the buffers": (lambda m: m.set("q", m.field(m.batch, 0), 5000), "differ in length"),
    "all lengths beyond the buffers": (
        lambda m: [m.set("q", m.field(m.batch, 0), 5000), *(m.set_node(n, length=5000) for n in range(5))][0],
        "shorter than its values",
    ),
    "negative rows": (lambda m: m.set("q", m.field(m.batch, 0), -1), "number of rows"),
    "a column of another length": (
        lambda m: m.set_node(3, length=3),
        "column line: a column and the rows differ in length",
    ),
    "nulls": (lambda m: m.set_node(4, nulls=1), "column text: a column has nulls"),
    "negative nulls": (lambda m: m.set_node(4, nulls=-1), "column text: a column has nulls"),
    "no offsets": (lambda m: m.set_buffer(TEXT_OFFSETS, size=0), "column text: a buffer is shorter"),
    "offsets cut short": (lambda m: m.set_buffer(TEXT_OFFSETS, size=16), "column text: a buffer is shorter"),
    "no text": (lambda m: m.set_buffer(TEXT_DATA, size=0), "text|offset|buffer"),
    "a buffer beyond the body": (lambda m: m.set_buffer(TEXT_DATA, size=BIG), "column text: a buffer lies outside"),
    "a buffer of a negative size": (lambda m: m.set_buffer(TEXT_DATA, size=-8), "column text: a buffer lies outside"),
    "a buffer before the body": (lambda m: m.set_buffer(TEXT_OFFSETS, offset=-64), "a buffer lies outside"),
    "an odd offset": (lambda m: m.set_buffer(TEXT_DATA, offset=3), "a buffer lies outside"),
    "fewer buffers": (lambda m: m.set("i", m.buffers - 4, 13), "number of columns or buffers does not match"),
    "fewer columns": (lambda m: m.set("i", m.nodes - 4, 4), "number of columns or buffers does not match"),
    "2^32 - 1 buffers": (lambda m: m.set("I", m.buffers - 4, (1 << 32) - 1), "not a record batch"),
    "a longer body": (lambda m: m.set("q", m.field(m.message, 3), BIG), "the length of its body is not"),
    "a negative body": (lambda m: m.set("q", m.field(m.message, 3), -8), "the length of its body is not"),
    "a schema": (lambda m: m.set("B", m.field(m.message, 1), 1), "not a record batch"),
    "a dictionary": (lambda m: m.set("B", m.field(m.message, 1), 2), "not a record batch"),
    "longer metadata": (lambda m: m.set("i", 4, 1 << 30), "not an Arrow message"),
    "negative metadata": (lambda m: m.set("i", 4, -8), "not an Arrow message"),
    "no marker": (lambda m: m.set("i", 0, 7), "not an Arrow message"),
    "a root elsewhere": (lambda m: m.set("I", 8, (1 << 32) - 1), "not a"),
}


def read(data: bytes, schema: pa.Schema = DOCUMENT_SCHEMA) -> pa.RecordBatch:
    return read_batch(data, BatchLayout.of(schema), "file", "block 7")


@pytest.mark.parametrize("name", DAMAGE)
def test_a_record_batch_that_does_not_hold_together_is_refused_by_name(name: str) -> None:
    change, words = DAMAGE[name]
    message = Message(serialise(DOCUMENTS))
    change(message)
    with pytest.raises(ShardCorruptError, match=f"^file, block 7: the record batch is invalid.*({words})"):
        read(bytes(message.data))


@pytest.mark.parametrize(("batch", "schema"), [(DOCUMENTS, DOCUMENT_SCHEMA), (ENCODED, encoded_schema(9))])
def test_what_is_written_is_read(batch: pa.RecordBatch, schema: pa.Schema) -> None:
    for rows in (batch, batch.slice(1), batch.slice(1, 2), batch.slice(2, 0)):
        assert read(serialise(rows), schema).equals(rows)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_batches_are_refused_where_none_are_written(codec: str) -> None:
    with pytest.raises(ShardCorruptError, match="its compression differs"):
        read(serialise(DOCUMENTS, codec))


@pytest.mark.parametrize("codec", Compression)
def test_a_batch_never_decompresses_to_more_than_its_rows_allow(codec: Compression) -> None:
    """Ten million zeros take a few hundred bytes."""
    if codec is Compression.NONE:
        return
    bomb = pa.record_batch([[[0] * 10_000_000], [False]], schema=encoded_schema(9))
    data = serialise(bomb, codec.value)
    layout = BatchLayout.of(bomb.schema, {"input_ids": 100})
    with pytest.raises(ShardCorruptError, match="column input_ids: a list column has more values"):
        read_batch(data, layout, "file", "block 0", 1, codec)
    message = Message(data)
    message.set_node(1, length=100)
    before = pa.total_allocated_bytes()
    with pytest.raises(ShardCorruptError, match="column input_ids: a buffer decompresses to more"):
        read_batch(bytes(message.data), layout, "file", "block 0", 1, codec)
    assert pa.total_allocated_bytes() == before
    message.poke(3, "q", 0, -2)
    with pytest.raises(ShardCorruptError, match="column input_ids: a buffer is shorter"):
        read_batch(bytes(message.data), layout, "file", "block 0", 1, codec)


def test_changed_metadata_is_refused_or_harmless() -> None:
    """Whatever is flipped in the metadata, what is read has the rows that it says."""
    whole = serialise(DOCUMENTS)
    chooser = random.Random(3)
    refused = 0
    for _ in range(3000):
        message = Message(whole)
        for _ in range(chooser.choice((1, 1, 2, 4))):
            at = chooser.randrange(message.body)
            message.data[at] = chooser.choice((0, 1, 0x7F, 0x80, 0xFF, message.data[at] ^ (1 << chooser.randrange(8))))
        try:
            found = read(bytes(message.data))
        except ShardCorruptError as error:
            assert error.path == "file"  # noqa: PT017
            refused += 1
        else:
            assert found.num_rows in (0, 4)
            assert len(found.to_pylist()) == found.num_rows
    assert refused > 1000


def write_file(batches: list[pa.RecordBatch], schema: pa.Schema) -> bytearray:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytearray(sink.getvalue().to_pybytes())


def footer_blocks(data: bytearray) -> int:
    """Where the blocks of a file's footer begin; 24 bytes each."""
    length = int.from_bytes(data[-10:-6], "little")
    start = len(data) - 10 - length

    def number(at: int, size: int, signed: bool = True) -> int:
        return int.from_bytes(data[at : at + size], "little", signed=signed)

    table = start + number(start, 4)
    vtable = table - number(table, 4)
    field = table + number(vtable + 4 + 2 * 3, 2, signed=False)
    return field + number(field, 4) + 4


@pytest.mark.parametrize(
    ("place", "size", "value"),
    [
        (0, 8, -8),
        (0, 8, 1 << 62),
        (0, 8, 4),
        (8, 4, -1),
        (8, 4, 1 << 30),
        (16, 8, 1 << 62),
        (16, 8, -1),
        (-4, 4, 1 << 30),
    ],
)
def test_a_footer_that_points_elsewhere_is_refused(place: int, size: int, value: int) -> None:
    data = write_file([DOCUMENTS, DOCUMENTS], DOCUMENT_SCHEMA)
    at = footer_blocks(data) + place
    data[at : at + size] = value.to_bytes(size, "little", signed=True)
    with pytest.raises(ShardCorruptError, match=r"^file: it is not an Arrow file"):
        ArrowFile.of(bytes(data), DOCUMENT_SCHEMA, "file")


def test_record_batches_that_overlap_are_refused() -> None:
    """Otherwise a file of a few bytes could hold any number of rows."""
    data = write_file([DOCUMENTS, DOCUMENTS], DOCUMENT_SCHEMA)
    blocks = footer_blocks(data)
    data[blocks + 24 : blocks + 48] = data[blocks : blocks + 24]
    with pytest.raises(ShardCorruptError, match="overlap"):
        ArrowFile.of(bytes(data), DOCUMENT_SCHEMA, "file")


@pytest.mark.parametrize("data", [b"", b"ARROW1", b"ARROW1\0\0" + bytes(20) + b"ARROW1", bytes(100)])
def test_what_is_no_arrow_file_is_refused(data: bytes) -> None:
    with pytest.raises(ShardCorruptError, match=r"^file: it is not an Arrow file"):
        ArrowFile.of(data, DOCUMENT_SCHEMA, "file")


@pytest.mark.parametrize("length", [0, -1, 1 << 30, 8])
def test_a_footer_of_another_length_is_refused(length: int) -> None:
    data = write_file([DOCUMENTS], DOCUMENT_SCHEMA)
    data[-10:-6] = length.to_bytes(4, "little", signed=True)
    with pytest.raises(ShardCorruptError, match=r"^file: it is not an Arrow file"):
        ArrowFile.of(bytes(data), DOCUMENT_SCHEMA, "file")


OTHER_SCHEMAS = {
    "another kind": QUARANTINE_SCHEMA,
    "other columns": pa.schema([*DOCUMENT_SCHEMA, pa.field("more", pa.int8())], metadata=DOCUMENT_SCHEMA.metadata),
    "nullable": pa.schema([pa.field(f.name, f.type) for f in DOCUMENT_SCHEMA], metadata=DOCUMENT_SCHEMA.metadata),
    "wider": pa.schema(
        [pa.field(f.name, pa.large_string() if f.name == "text" else f.type, f.nullable) for f in DOCUMENT_SCHEMA],
        metadata=DOCUMENT_SCHEMA.metadata,
    ),
    "a dictionary": pa.schema(
        [
            pa.field(f.name, pa.dictionary(pa.int32(), f.type) if f.name == "text" else f.type, f.nullable)
            for f in DOCUMENT_SCHEMA
        ],
        metadata=DOCUMENT_SCHEMA.metadata,
    ),
    "no version": DOCUMENT_SCHEMA.with_metadata({"maskmill_kind": "documents"}),
    "a newer version": DOCUMENT_SCHEMA.with_metadata({"maskmill_kind": "documents", "maskmill_schema_version": "3.0"}),
    "an extension": pa.schema(
        [pa.field("doc_id", pa.string(), False, {"ARROW:extension:name": "x"}), *list(DOCUMENT_SCHEMA)[1:]],
        metadata=DOCUMENT_SCHEMA.metadata,
    ),
}


@pytest.mark.parametrize("name", OTHER_SCHEMAS)
def test_another_schema_is_refused(name: str) -> None:
    data = write_file([], OTHER_SCHEMAS[name])
    with pytest.raises(ShardCorruptError, match=r"^file: the schema is not the expected one"):
        ArrowFile.of(bytes(data), DOCUMENT_SCHEMA, "file")


def test_a_body_that_is_not_padded_is_refused() -> None:
    """Arrow refuses the file then, so others could not read what maskmill can."""
    message = Message(serialise(DOCUMENTS))
    message.set_buffer(TEXT_DATA, size=message.peek(TEXT_OFFSETS, "i", 4))
    del message.data[-1:]
    message.set("q", message.field(message.message, 3), len(message.data) - message.body)
    with pytest.raises(ShardCorruptError, match="not a multiple of 8"):
        read(bytes(message.data))


def test_metadata_of_a_record_batch_is_refused() -> None:
    """Arrow would copy the text for each of 5,000 entries that share it: 1 GB for a block of 120 KB."""
    with pytest.raises(ShardCorruptError, match=r"^file, block 7: .* it has metadata of its own"):
        read(share_in_message(serialise(DOCUMENTS), 5000, 100_000))
    assert read(share_in_message(serialise(DOCUMENTS), 0, 0)).equals(DOCUMENTS)


@pytest.mark.parametrize(
    ("where", "count", "length", "found"),
    [
        ("footer", 5000, 100_000, "metadata of the footer"),
        ("schema", 5000, 100_000, "a schema of more than 1048576 bytes"),
        ("columns", 20, 0, "a schema of more than 1048576 bytes"),
        ("columns", 1, 0, "metadata|struct"),
    ],
)
def test_a_schema_that_names_one_part_many_times_is_refused(where: str, count: int, length: int, found: str) -> None:
    """20^5 columns in a footer of 1 KB, or 5,000 texts that are one."""
    data = share_in_footer(bytes(write_file([], DOCUMENT_SCHEMA)), where, count, length)
    with pytest.raises(ShardCorruptError, match=rf"^file: the schema is not the expected one.*found .*({found})"):
        ArrowFile.of(data, DOCUMENT_SCHEMA, "file")


def test_the_widest_schema_is_read() -> None:
    schema = packed_row_schema(512, 1 << 24, 100)
    assert len(ArrowFile.of(bytes(write_file([], schema)), schema, "file")) == 0
    assert 8 * schema.serialize().size < MAX_SCHEMA_BYTES


def test_names_that_are_not_utf8_are_refused() -> None:
    data = bytes(write_file([], DOCUMENT_SCHEMA)).replace(b"source", b"s\xffurce")
    with pytest.raises(ShardCorruptError, match=r"the schema is not the expected one.*names that are not UTF-8"):
        ArrowFile.of(data, DOCUMENT_SCHEMA, "file")


def test_a_newer_minor_version_is_read() -> None:
    schema = DOCUMENT_SCHEMA.with_metadata({"maskmill_kind": "documents", "maskmill_schema_version": "2.9"})
    assert ArrowFile.of(bytes(write_file([DOCUMENTS], schema)), DOCUMENT_SCHEMA, "file").read_all().num_rows == 4


def test_a_whole_file_is_refused_with_its_place(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    with pytest.raises(ShardCorruptError, match=r"shard.arrow: the file is gone"):
        open_whole(store, "shard.arrow", "0" * 32, DOCUMENT_SCHEMA)
    receipt = write_blocks(store, "shard.arrow", DOCUMENT_SCHEMA, [DOCUMENTS, DOCUMENTS])
    assert open_whole(store, "shard.arrow", receipt.checksum, DOCUMENT_SCHEMA).read_all().num_rows == 8
    with pytest.raises(ShardCorruptError, match="the bytes of a file have changed"):
        open_whole(store, "shard.arrow", "0" * 32, DOCUMENT_SCHEMA)


def test_columns_are_viewed_as_arrow_gives_them() -> None:
    batch = read(serialise(ENCODED), encoded_schema(9))
    offsets, values = view_lists(batch.column(0), "u2")
    assert (offsets.tolist(), values.tolist()) == ([0, 2, 2, 3], [1, 2, 7])
    offsets, values = view_lists(read(serialise(ENCODED.slice(3)), encoded_schema(9)).column(0), "u2")
    assert (offsets.tolist(), values.tolist()) == ([0], [])
    assert not view_numbers(DOCUMENTS.column(3)).flags.writeable


def test_the_most_bytes_of_a_batch_are_known_before_it_is_read() -> None:
    layout = BatchLayout.of(encoded_schema(9), {"input_ids": 50})
    rows = pa.record_batch([[[8] * 50] * 30, [True] * 30], schema=encoded_schema(9))
    for codec in (None, "lz4", "zstd"):
        assert len(serialise(rows, codec)) <= layout.most_bytes(30) < 8000
    with pytest.raises(ValueError, match="no limit"):
        BatchLayout.of(SHARD_TABLE_SCHEMA).most_bytes(1)


class CutShort:
    """A remote file that ends before its size."""

    def seek(self, _: int) -> None:
        pass

    def read_buffer(self, _: int) -> bytes:
        raise EOFError("the object ended at byte 3 of 9")

    def readinto(self, _: memoryview) -> int:
        raise EOFError("the object ended at byte 3 of 9")


def test_a_remote_file_that_became_shorter_is_a_damaged_one() -> None:
    for read in (lambda: read_span(CutShort(), 0, 9, "s3://b/f"), lambda: hash_file(CutShort(), "s3://b/f")):
        with pytest.raises(ShardCorruptError, match=r"s3://b/f.*cut short.*byte 3 of 9"):
            read()


def test_a_file_that_is_held_in_memory_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_reader, "MAX_WHOLE_BYTES", 1 << 20)
    with open(tmp_path / "sparse.arrow", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(MaskmillError, match=r"sparse\.arrow"):
        open_whole(open_store(str(tmp_path)), "sparse.arrow", "0" * 32, pa.schema([]))
