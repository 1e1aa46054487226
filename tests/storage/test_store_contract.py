"""One contract for every store: local files, memory, S3 on moto, S3 on Ceph (skipped where it is not installed)."""

from __future__ import annotations

import os
import pickle
import random
import threading
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.arrow_reader import check_bytes, open_whole, read_block
from maskmill.pipeline.storage.paths import check_inside
from maskmill.pipeline.storage.remote_files import PART_BYTES
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError, ShardCorruptError
from tests.conftest import make_bucket


@pytest.fixture(scope="module", params=["local", "memory", "moto", "ceph"])
def backend(request: pytest.FixtureRequest) -> str:
    """`local`, `memory`, or the endpoint of an S3 server; module-scoped, so that each is done in one go."""
    in_process = request.param in ("local", "memory")
    return str(request.param if in_process else request.getfixturevalue(f"{request.param}_endpoint"))


@pytest.fixture
def url(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if backend == "local":
        return str(tmp_path / "run" / "out")
    if backend == "memory":
        return f"memory://{uuid.uuid4().hex}/out"
    return make_bucket(backend, monkeypatch)


@pytest.fixture
def store(url: str) -> Store:
    return open_store(url)


@pytest.mark.parametrize("name", ["notes::x", "s3:", "a b", "[1]*", "é#%20", "a@b", "d=1"])
def test_a_folder_of_any_name_is_read_as_it_is_written(url: str, name: str) -> None:
    store = pickle.loads(pickle.dumps(open_store(f"{url}/{name}")))  # noqa: S301
    store.write_bytes(f"in/{name}", b"x")
    with store.open_output(f"{name}.arrow") as file:
        file.write(b"abc")
    assert store.create("once", b"1")
    assert not store.create("once", b"2")
    assert store.list() == sorted([f"in/{name}", f"{name}.arrow", "once"])
    assert (store.read_bytes(f"in/{name}"), store.read_range(f"{name}.arrow", 1, 1), store.size("once")) == (
        b"x",
        b"b",
        1,
    )
    assert store.below("in").read_bytes(name) == b"x"
    assert name in store.locate("once")
    assert open_store(url).list() == sorted(f"{name}/{path}" for path in store.list())
    store.delete(f"in/{name}")
    assert not store.exists(f"in/{name}")
    store.delete_tree("")
    assert store.list() == []


def test_what_is_written_is_read(store: Store) -> None:
    data = random.Random(0).randbytes(100_000)
    store.write_bytes("a/b/file.bin", data)
    assert store.read_bytes("a/b/file.bin") == data
    assert bytes(store.map_file("a/b/file.bin")) == data
    assert store.size("a/b/file.bin") == len(data)
    assert store.exists("a/b/file.bin")
    store.write_bytes("empty", b"")
    assert store.read_bytes("empty") == b""
    assert store.size("empty") == 0
    assert bytes(store.map_file("empty")) == b""


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 1), (0, 10), (3, 4), (9, 1), (5, 100), (10, 1), (11, 5), (0, 0), (4, 0), (10, 0)]
)
def test_a_range_is_what_slicing_gives(store: Store, offset: int, length: int) -> None:
    store.write_bytes("digits", b"0123456789")
    assert store.read_range("digits", offset, length) == b"0123456789"[offset : offset + length]


@pytest.mark.parametrize(
    ("offset", "sizes"), [(0, [1]), (0, [3, 3, 4]), (2, [5, 1]), (3, [7]), (7, [2, 4, 3]), (10, [2]), (12, [1, 1])]
)
def test_pieces_are_what_slicing_gives(store: Store, offset: int, sizes: list[int]) -> None:
    store.write_bytes("digits", b"0123456789")
    found = [bytes(piece) for piece in store.iter_pieces("digits", offset, sizes)]
    starts = [offset + sum(sizes[:place]) for place in range(len(sizes))]
    assert found == [b"0123456789"[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def test_an_input_file_is_seekable(store: Store) -> None:
    table = pa.table({"text": [f"document {number}" for number in range(10_000)], "id": range(10_000)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=1000)
    store.write_bytes("t.parquet", bytes(sink.getvalue()))
    with store.open_input("t.parquet") as file:
        assert pq.ParquetFile(file).read_row_group(7, columns=["id"])["id"].to_pylist() == list(range(7000, 8000))
    with store.open_input("t.parquet") as file:
        assert file.read(4) == b"PAR1"
        file.seek(-4, 2)
        assert file.read(100) == b"PAR1"
        assert file.read(1) == b""


def test_a_missing_file_is_file_not_found(store: Store) -> None:
    store.write_bytes("folder/file", b"x")
    for path in ("none", "folder", "folder/none", "folder/file/below"):
        assert not store.exists(path)
        with pytest.raises(FileNotFoundError, match=path):
            store.size(path)
    for call in (
        lambda: store.read_bytes("none"),
        lambda: store.map_file("none"),
        lambda: store.open_input("none"),
        lambda: store.read_range("none", 0, 1),
        lambda: store.read_range("none", 0, 0),
        lambda: list(store.iter_pieces("none", 0, [1, 2])),
    ):
        with pytest.raises(FileNotFoundError, match="out/none"):
            call()
    store.delete("none")
    store.delete_tree("none")


def test_a_listing_is_sorted_recursive_and_relative(store: Store) -> None:
    assert store.list() == []
    assert store.list("none") == []
    paths = ["b", "a/2", "a/10", "a/x/y/z", "a-b/1", "ab/1", "Z", "a.arrow"]
    for path in paths:
        store.write_bytes(path, b"x")
    assert store.list() == sorted(paths)
    assert store.list("a") == store.list("a/") == ["a/10", "a/2", "a/x/y/z"]
    assert store.list("a/x") == ["a/x/y/z"]
    assert store.list("b") == []  # a file, not a folder
    assert store.below("a").list() == ["10", "2", "x/y/z"]
    assert store.below("a").read_bytes("x/y/z") == b"x"


def test_a_listing_is_never_stale(url: str) -> None:
    ours, theirs = open_store(url), open_store(url, {"skip_instance_cache": True})  # as another process has it
    for number in range(3):
        assert len(ours.list()) == number
        assert not ours.exists(f"f{number}")
        theirs.write_bytes(f"f{number}", b"x" * number)
        assert ours.exists(f"f{number}")
        assert ours.size(f"f{number}") == number
        assert ours.list() == [f"f{one}" for one in range(number + 1)]
    theirs.delete("f1")
    assert ours.list() == ["f0", "f2"]
    assert not ours.exists("f1")


def test_a_file_is_replaced_whole(store: Store) -> None:
    versions = [bytes([letter]) * 200_000 for letter in b"ab"]
    store.write_bytes("file", versions[0])
    stop = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(store.read_bytes("file"))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(20):
        store.write_bytes("file", versions[turn % 2])
    stop.set()
    reader.join()
    assert seen <= set(versions)
    with store.open_output("file") as file:
        file.write(b"short")
    assert store.read_bytes("file") == b"short"


def test_deletes_take_what_is_named_and_no_more(store: Store) -> None:
    for path in ("a/1", "a/b/2", "ab/3", "a.x", "c"):
        store.write_bytes(path, b"x")
    store.delete("c")
    assert store.list() == ["a.x", "a/1", "a/b/2", "ab/3"]
    store.delete_tree("a")
    assert store.list() == ["a.x", "ab/3"]
    store.delete_tree("")
    assert store.list() == []
    store.write_bytes("again", b"x")  # the bucket is still there
    assert store.list() == ["again"]


def test_a_tree_of_more_than_one_request_is_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskmill.pipeline.storage.store.DELETE_AT_ONCE", 4)
    for number in range(9):
        store.write_bytes(f"many/{number}", b"")
    store.delete_tree("many")
    assert store.list() == []


def test_what_s3_would_not_delete_is_an_error(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(moto_url)
    store.write_bytes("kept", b"")
    refusal = {"Errors": [{"Key": "run/out/kept", "Code": "AccessDenied", "Message": "no"}]}
    monkeypatch.setattr(store.fs, "call_s3", lambda *_, **__: refusal)
    with pytest.raises(ConfigError, match=r"out/kept.*AccessDenied"):
        store.delete_tree("")


class _GivenUpError(Exception):
    pass


@pytest.mark.parametrize("size", [0, 10, PART_BYTES, 2 * PART_BYTES + 5])
def test_a_streamed_file_is_whole(store: Store, size: int) -> None:
    data = random.Random(size).randbytes(size)
    with store.open_output("file") as file:
        for start in range(0, size, 10_000_000):
            file.write(data[start : start + 10_000_000])
            assert not store.exists("file")
        assert file.tell() == size
        assert store.list() == []
    assert store.size("file") == size
    assert xxhash.xxh3_128_digest(store.read_bytes("file")) == xxhash.xxh3_128_digest(data)


@pytest.mark.parametrize("size", [0, 10, 2 * PART_BYTES + 5])
def test_a_failed_output_leaves_nothing_visible(store: Store, size: int) -> None:
    def fail(path: str) -> None:
        with store.open_output(path) as file:
            file.write(bytes(size))
            raise _GivenUpError

    with pytest.raises(_GivenUpError):
        fail("file")
    assert store.list() == []
    store.write_bytes("file", b"before")
    with pytest.raises(_GivenUpError):
        fail("file")
    assert store.read_bytes("file") == b"before"
    if store.is_local:
        assert os.listdir(store.root) == ["file"]
    if store.protocol == "s3":
        bucket = store.root.partition("/")[0]
        assert not store.fs.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads")


def test_an_error_of_the_block_is_not_taken_for_one_of_the_store(store: Store) -> None:
    failure = OSError(5, "of something else")

    def fail() -> None:
        with store.open_output("file") as file:
            file.write(b"x")
            raise failure

    with pytest.raises(OSError, match="of something else") as caught:
        fail()
    assert caught.value is failure


def race(store: Store, path: str, number: int, gate: threading.Barrier, won: list[int]) -> None:
    gate.wait()
    if store.create(path, b"writer %d" % number):
        won.append(number)


def test_of_racing_creators_exactly_one_wins(url: str) -> None:
    stores = [open_store(url) for _ in range(16)]
    for turn in range(5):
        won: list[int] = []
        gate = threading.Barrier(16)

        threads = [
            threading.Thread(target=race, args=(stores[number], f"race/{turn}", number, gate, won))
            for number in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert stores[0].read_bytes(f"race/{turn}") == b"writer %d" % won[0]
        assert not stores[0].create(f"race/{turn}", b"later")
    assert len(stores[0].list()) == 5


def test_a_store_survives_pickling(url: str) -> None:
    store = pickle.loads(pickle.dumps(open_store(url)))  # noqa: S301
    store.write_bytes("a/file", b"x")
    assert open_store(url).list() == store.list() == ["a/file"]
    assert store.url == open_store(url).url
    assert store.locate("a") == f"{url}/a"


def write_table(store: Store, path: str, rows: list[list[int]]) -> tuple[object, pa.Schema, list[pa.RecordBatch]]:
    schema = pa.schema(
        [pa.field("text", pa.string()), pa.field("ids", pa.list_(pa.uint16()))], metadata={"kind": "test" * len(rows)}
    )
    batches = [
        pa.record_batch([pa.array([str(n) * 3 for n in part]), pa.array([[n, n + 1] for n in part])], schema=schema)
        if part
        else pa.record_batch([pa.array([], pa.string()), pa.array([], pa.list_(pa.uint16()))], schema=schema)
        for part in rows
    ]
    return write_blocks(store, path, schema, batches, tokens=3, text_bytes=4), schema, batches


def arrow_footer_blocks(data: bytes) -> list[tuple[int, int]]:
    """(offset, length) of each record batch, read from the file's own footer with nothing but its format.

    A file ends with the footer (a flatbuffer), its length (int32) and ARROW1. A `Block` is a struct of 24 bytes:
    offset int64, metadata length int32, padding, body length int64. `recordBatches` is field 3 of the table.
    """
    footer_bytes = int.from_bytes(data[-10:-6], "little")
    footer = data[-10 - footer_bytes : -10]

    def number(at: int, size: int) -> int:
        return int.from_bytes(footer[at : at + size], "little", signed=True)

    table = number(0, 4)
    vtable = table - number(table, 4)
    field = number(vtable + 4 + 2 * 3, 2)
    if not field:
        return []
    vector = table + field + number(table + field, 4)
    starts = [vector + 4 + 24 * index for index in range(number(vector, 4))]
    return [(number(at, 8), number(at + 8, 4) + number(at + 16, 8)) for at in starts]


def test_arrow_blocks_are_read_back_and_stand_where_arrow_says(store: Store) -> None:
    receipt, schema, batches = write_table(store, "packed/shard.arrow", [[1, 2, 3], [], [4], list(range(1000))])
    data = store.read_bytes("packed/shard.arrow")
    assert receipt.checksum == xxhash.xxh3_128_hexdigest(data)
    assert (receipt.size_bytes, receipt.rows, receipt.tokens, receipt.text_bytes) == (len(data), 1004, 3, 4)
    places = list(zip(receipt.block_offsets, receipt.block_lengths, strict=True))
    assert places == arrow_footer_blocks(data)
    for index, (offset, length) in enumerate(places):
        block = store.read_range("packed/shard.arrow", offset, length)
        read = read_block(block, schema, receipt.block_checksums[index], "packed/shard.arrow", index)
        assert read.equals(batches[index])
    file = open_whole(store, "packed/shard.arrow", receipt.checksum, schema)
    assert [tuple(span) for span in file.spans.tolist()] == places
    assert file.read_all().equals(pa.Table.from_batches(batches))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    names=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=5, unique=True),
    sizes=st.lists(st.integers(0, 50), max_size=5),
)
def test_block_offsets_are_arrows_for_any_schema(names: list[str], sizes: list[int]) -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}")
    schema = pa.schema([pa.field(name, pa.int32()) for name in names])
    batches = [pa.record_batch([pa.array(range(size), pa.int32())] * len(names), schema=schema) for size in sizes]
    receipt = write_blocks(store, "f", schema, batches)
    data = store.read_bytes("f")
    store.delete("f")
    assert list(zip(receipt.block_offsets, receipt.block_lengths, strict=True)) == arrow_footer_blocks(data)
    assert receipt.checksum == xxhash.xxh3_128_hexdigest(data)
    assert receipt.block_checksums == [
        xxhash.xxh3_64_intdigest(data[offset : offset + length]) for offset, length in arrow_footer_blocks(data)
    ]


def test_every_flipped_byte_of_a_block_is_found() -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}")
    receipt, schema, _ = write_table(store, "f", [[1, 2, 3]])
    offset, length = receipt.block_offsets[0], receipt.block_lengths[0]
    block = store.read_range("f", offset, length)
    for at in range(length):
        broken = bytearray(block)
        broken[at] ^= 1 << (at % 8)
        with pytest.raises(ShardCorruptError) as caught:
            read_block(bytes(broken), schema, receipt.block_checksums[0], "f", 0)
        assert (caught.value.path, caught.value.place) == ("f", "block 0")
    with pytest.raises(ShardCorruptError):
        read_block(block[:-1], schema, receipt.block_checksums[0], "f", 0)
    whole = store.read_bytes("f")
    for at in range(len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 1
        with pytest.raises(ShardCorruptError):
            check_bytes(bytes(broken), receipt.checksum, "f")


def test_dictionary_types_are_refused_before_a_byte_is_written() -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}")
    schema = pa.schema([pa.field("a", pa.list_(pa.dictionary(pa.int8(), pa.string())))])
    with pytest.raises(ValueError, match="dictionary"):
        write_blocks(store, "f", schema, [])
    assert store.list() == []


SECRET = "s3cr3t/Key+With/Slashes"  # noqa: S105


def test_credentials_are_in_no_message(moto_url: str) -> None:
    store = open_store(moto_url, {"key": "AKIDEXAMPLE", "secret": SECRET, "client_kwargs": {"use_ssl": False}})
    texts = [repr(store), store.display_url, store.locate("a")]
    with pytest.raises(FileNotFoundError) as missing:
        store.read_bytes("none")
    texts.append(str(missing.value))

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(f"signed with {SECRET} by AKIDEXAMPLE")

    store.fs = type("Failing", (), {"cat_file": fail, "info": fail})()
    with pytest.raises(ConfigError, match=r"\*\*\*") as refused:
        store.read_bytes("none")
    assert refused.value.__cause__ is None
    texts += [str(refused.value), repr(refused.value)]
    assert not [text for text in texts if SECRET in text or "AKIDEXAMPLE" in text]


@pytest.mark.parametrize("user_info", [f"AKID:{SECRET}@", "AKID:secret@", "AKID@", f"AKID:{SECRET}%40@"])
def test_credentials_in_an_s3_url_are_refused_without_showing_them(user_info: str) -> None:
    with pytest.raises(ConfigError, match="credentials") as caught:
        open_store(f"s3://{user_info}bucket/out")
    assert "AKID" not in str(caught.value)
    assert "ecret" not in str(caught.value)


def test_an_unknown_protocol_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="no file system"):
        open_store("nosuch://user:word@host/folder")


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "s3://b/a", "a\\b", "a\0b", "a/", ".."]
)
def test_paths_that_leave_a_dataset_are_refused(path: str) -> None:
    with pytest.raises(ShardCorruptError, match="leaves the dataset"):
        check_inside(path, "dataset")


def test_paths_inside_a_dataset_are_taken() -> None:
    assert [check_inside(path, "d") for path in ("a", "a/b.arrow", "shard-0.arrow")]
