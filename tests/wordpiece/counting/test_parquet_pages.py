"""Word counts that somebody wrote with bad intent take no more memory than stated, and what maskmill writes is read."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.counting.delta_lengths import LEVELS
from maskmill.pipeline.wordpiece.counting.parquet_footer import read_footer
from maskmill.pipeline.wordpiece.counting.parquet_pages import measure_partition
from maskmill.pipeline.wordpiece.counting.word_counts import WordCounts
from maskmill.schemas.errors import ShardCorruptError
from tests.hostile.parquet_files import I32, ParquetFile
from tests.wordpiece.counting.test_word_counts import PATH, make_partition, write

SEEDS = 5
READ_LIMITED = """
import random, resource, sys
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.counting.word_counts import WordCounts
from maskmill.schemas.errors import ShardCorruptError
from tests.hostile.parquet_files import ParquetFile
from tests.hostile.word_pages import CHANGES

store = Store(sys.argv[1])
data = store.read_bytes("words.parquet")
list(WordCounts.open(store, "words.parquet").iter_partitions())
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for name in CHANGES:
    for seed in range(int(sys.argv[2])):
        file = ParquetFile.parse(data)
        what = CHANGES[name](file, random.Random(f"{name}{seed}"))
        store.write_bytes("changed.parquet", file.pack())
        del file
        resource.setrlimit(resource.RLIMIT_AS, (taken + (300 << 20), resource.RLIM_INFINITY))
        try:
            list(WordCounts.open(store, "changed.parquet").iter_partitions())
        except ShardCorruptError as error:
            assert error.path.endswith("changed.parquet")
        except BaseException as error:
            print(name, seed, what, repr(error)[:200])
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print("read all")
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_no_crafted_file_takes_more_memory_than_stated(store: Store) -> None:
    rows = [(f"w{number:06d}", "web", number % 7 + 1) for number in range(5_000)]
    write(store, [make_partition(rows), make_partition([])], "words.parquet")
    command = [sys.executable, "-c", READ_LIMITED, store.root, str(SEEDS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.stdout, ended.returncode) == ("read all\n", 0), ended.stderr[-2000:]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab\u00e9"), max_size=9), min_size=1, max_size=700), st.integers(1, 200))
def test_the_bytes_of_words_are_those_that_arrow_makes_of_them(words: list[str], most_bytes: int) -> None:
    """Any words, sorted or not; the oracle is their own length."""
    store = Store("memory://pages")
    write(store, [make_partition([(word, "web", 1) for word in words])])
    with store.open_input(PATH) as file:
        (partition,) = read_footer(file).partitions
        lengths = measure_partition(file, partition)
    sizes = [len(word.encode()) for word in words]
    assert (lengths.num_texts, lengths.num_bytes) == (len(sizes), sum(sizes))

    def most_of(count: int) -> int:
        return max(sum(sizes[start : start + count]) for start in range(0, len(sizes), count))

    fitting = [1 << level for level in range(LEVELS) if most_of(1 << level) <= most_bytes]
    assert lengths.fit_window(most_bytes) == max(fitting, default=1)


def _change_size(file: ParquetFile) -> None:
    file.pages[0][1][-1].header[2] = I32, (1 << 31) - 1


def _change_compression(file: ParquetFile) -> None:
    file.chunk(0, 0)[4] = I32, 0


def _change_values(file: ParquetFile) -> None:
    file.set_rows(0, 1 << 40)


def _change_words(file: ParquetFile) -> None:
    page = file.pages[0][0][0]
    page.compress(page.decompress() + b"x")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_change_size, r"a page of column source of \d+ bytes states 2147483647 bytes"),
        (_change_compression, "column word has another compression"),
        (_change_values, r"1099511627776 rows in \d+ bytes"),
        (_change_words, "a page of words is invalid"),
    ],
)
def test_the_error_says_what_is_wrong(store: Store, change: Callable[[ParquetFile], None], found: str) -> None:
    write(store, [make_partition([("a", "web", 1), ("b", "web", 2)])])
    file = ParquetFile.parse(store.read_bytes(PATH))
    assert file.pack() == store.read_bytes(PATH)
    change(file)
    store.write_bytes(PATH, file.pack())
    with pytest.raises(ShardCorruptError, match=f"{PATH}.*{found}"):
        list(WordCounts.open(store, PATH).iter_partitions())


def test_words_come_whole_however_many_rows_are_read_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = ["b\u00fccher", "web"]
    rows = [(f"{number:03d}", source, 1) for number in range(500) for source in sources[number % 2 :]]
    write(store, [make_partition(rows)])
    monkeypatch.setattr("maskmill.pipeline.wordpiece.counting.word_counts.PIECE_BYTES", 10)
    pieces = list(WordCounts.open(store, PATH).iter_partitions())
    assert len(pieces) > 100
    assert pa.concat_tables(pieces).to_pylist() == make_partition(rows).to_pylist()
    ends = [(piece["word"][0].as_py(), piece["word"][-1].as_py()) for piece in pieces]
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(ends))


def test_a_word_with_more_rows_than_sources_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, [make_partition([("word", "web", 1)] * 100)])
    monkeypatch.setattr("maskmill.pipeline.wordpiece.counting.word_counts.PIECE_BYTES", 40)
    with pytest.raises(ShardCorruptError, match=r"a word of 4 bytes has \d+ rows and more"):
        list(WordCounts.open(store, PATH).iter_partitions())


def test_long_words_are_read(store: Store) -> None:
    """Pages that are longer than others: Arrow ends one behind 1024 words at the earliest."""
    rows = [(f"{number:04d}" + "".join(map(chr, range(97, 123))) * 800, "web", 1) for number in range(1500)]
    write(store, [make_partition(rows)])
    with store.open_input(PATH) as file:
        (partition,) = read_footer(file).partitions
        assert measure_partition(file, partition).num_bytes == 1500 * (4 + 26 * 800)
    assert sum(map(len, WordCounts.open(store, PATH).iter_partitions())) == 1500
