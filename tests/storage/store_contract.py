"""What every store does: a class of tests that each backend's test module subclasses."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from maskmill.pipeline.storage.arrow_batches import read_block
from maskmill.pipeline.storage.arrow_reader import open_whole
from maskmill.pipeline.storage.leases import hold_output
from maskmill.pipeline.storage.remote_files import PART_BYTES
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError
from tests.storage.arrow_tables import arrow_footer_blocks, write_table


class _GivenUpError(Exception):
    pass


def race(store: Store, path: str, number: int, gate: threading.Barrier, won: list[int]) -> None:
    gate.wait()
    if store.create(path, b"writer %d" % number):
        won.append(number)


class StoreContract:
    """Subclass it as `TestSomething`, with a fixture `url`: a fresh folder, whose path ends in `/out`."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def store(self, url: str) -> Store:
        return open_store(url)

    def leftovers(self, store: Store) -> list[str]:  # noqa: ARG002
        """What a reader of the store cannot see, such as partial files or parts of uploads; to be overridden."""
        return []

    @pytest.mark.parametrize("name", ["notes::x", "s3:", "a b", "[1]*", "é#%20", "a@b", "d=1"])
    def test_a_folder_of_any_name_is_read_as_it_is_written(self, url: str, name: str) -> None:
        store = pickle.loads(pickle.dumps(open_store(f"{url}/{name}")))  # noqa: S301
        store.write_bytes(f"in/{name}", b"x")
        with store.open_output(f"{name}.arrow") as file:
            file.write(b"abc")
        if store.capabilities.conditional_create:
            assert store.create("once", b"1")
            assert not store.create("once", b"2")
        else:
            store.write_bytes("once", b"1")
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

    def test_what_is_written_is_read(self, store: Store) -> None:
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
    def test_a_range_is_what_slicing_gives(self, store: Store, offset: int, length: int) -> None:
        store.write_bytes("digits", b"0123456789")
        assert store.read_range("digits", offset, length) == b"0123456789"[offset : offset + length]

    @pytest.mark.parametrize(
        ("offset", "sizes"), [(0, [1]), (0, [3, 3, 4]), (2, [5, 1]), (3, [7]), (7, [2, 4, 3]), (10, [2]), (12, [1, 1])]
    )
    def test_pieces_are_what_slicing_gives(self, store: Store, offset: int, sizes: list[int]) -> None:
        store.write_bytes("digits", b"0123456789")
        found = [bytes(piece) for piece in store.iter_pieces("digits", offset, sizes)]
        starts = [offset + sum(sizes[:place]) for place in range(len(sizes))]
        assert found == [b"0123456789"[start : start + size] for start, size in zip(starts, sizes, strict=True)]

    def test_an_input_file_is_seekable(self, store: Store) -> None:
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

    def test_a_file_that_is_longer_than_it_may_be_is_refused(self, store: Store) -> None:
        store.write_bytes("digits", b"0123456789")
        assert store.read_bytes("digits", 10) == b"0123456789"
        with pytest.raises(ConfigError, match="out/digits: the file is too large"):
            store.read_bytes("digits", 9)
        with pytest.raises(FileNotFoundError, match="out/none"):
            store.read_bytes("none", 9)

    def test_a_missing_file_is_file_not_found(self, store: Store) -> None:
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

    def test_a_listing_is_sorted_recursive_and_relative(self, store: Store) -> None:
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

    def test_a_listing_is_never_stale(self, url: str) -> None:
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

    def test_a_file_is_replaced_whole(self, store: Store) -> None:
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

    def test_deletes_take_what_is_named_and_no_more(self, store: Store) -> None:
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

    @pytest.mark.parametrize("size", [0, 10, PART_BYTES, 2 * PART_BYTES + 5])
    def test_a_streamed_file_is_whole(self, store: Store, size: int) -> None:
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
    def test_a_failed_output_leaves_nothing_visible(self, store: Store, size: int) -> None:
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
        assert self.leftovers(store) == []

    def test_an_error_of_the_block_is_not_taken_for_one_of_the_store(self, store: Store) -> None:
        failure = OSError(5, "of something else")

        def fail() -> None:
            with store.open_output("file") as file:
                file.write(b"x")
                raise failure

        with pytest.raises(OSError, match="of something else") as caught:
            fail()
        assert caught.value is failure

    def test_of_racing_creators_exactly_one_wins(self, url: str) -> None:
        stores = [open_store(url) for _ in range(16)]
        if not stores[0].capabilities.conditional_create:
            pytest.skip("no file is created by one of many writers on this store")
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

    def test_a_store_survives_pickling(self, url: str) -> None:
        store = pickle.loads(pickle.dumps(open_store(url)))  # noqa: S301
        store.write_bytes("a/file", b"x")
        assert open_store(url).list() == store.list() == ["a/file"]
        assert store.url == open_store(url).url
        assert store.locate("a") == f"{url}/a"

    def test_arrow_blocks_are_read_back_and_stand_where_arrow_says(self, store: Store) -> None:
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

    def test_one_driver_holds_an_output_at_a_time(self, url: str) -> None:
        store = open_store(url)
        if not store.capabilities.conditional_create:
            with pytest.raises(ConfigError, match="cannot keep two drivers apart"), hold_output(store):
                pass
            return
        with hold_output(store, beat_seconds=0.1) as lease:
            with pytest.raises(ConfigError, match="another driver"), hold_output(open_store(url), beat_seconds=0.1):
                pass
            lease.check()
        with pytest.raises(KeyboardInterrupt), hold_output(store, beat_seconds=0.1):
            raise KeyboardInterrupt
        with hold_output(open_store(url), beat_seconds=0.1) as lease:
            lease.check()
        assert store.list() == []

    def test_what_a_store_can_do_it_does(self, store: Store) -> None:
        capabilities = store.capabilities
        store.write_bytes("file", b"x")
        assert os.path.exists(store.full("file")) == capabilities.local_paths
        if not capabilities.conditional_create:
            with pytest.raises(ConfigError):
                store.create("once", b"x")

    def test_other_processes_see_what_is_written_if_it_is_shared(self, store: Store) -> None:
        store.write_bytes("file", b"x")
        script = f"from maskmill.pipeline.storage.store import open_store; print(open_store({store.url!r}).list())"
        seen = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
        if store.capabilities.shared:
            assert seen.stdout.strip() == "['file']"
        else:
            assert "file" not in seen.stdout
