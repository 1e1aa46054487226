"""`word_counts.parquet` keeps every row and what they belong to, the same bytes for the same rows, readable by all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.counting.word_counts import (
    WORD_COUNTS_SCHEMA,
    SourceText,
    WordCounts,
    write_word_counts,
)
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.schemas.errors import ConfigError, ShardCorruptError
from maskmill.schemas.version import SCHEMA_VERSION

Row = tuple[str, str, int]
PATH = "tokenizer/word_counts.parquet"
SOURCES = [SourceText("web", 10, 4, 8, 1, 1), SourceText("b\u00fccher", 7, 9, 6, 2, 2)]
ROWS: list[list[Row]] = [
    [("a", "b\u00fccher", 2), ("a", "web", 1), ("b", "web", 3_000_000_000)],
    [],
    [("\u4e2d", "b\u00fccher", 7)],
]


def make_partition(rows: Sequence[Row], dictionary: Sequence[str] | None = None) -> pa.Table:
    """Rows with the sources in the given order in their dictionary, or in order of appearance."""
    sources = pa.array([source for _, source, _ in rows], pa.string())
    if dictionary is None:
        encoded = sources.dictionary_encode()
    else:
        numbers = pa.array([dictionary.index(source) for _, source, _ in rows], pa.int32())
        encoded = pa.DictionaryArray.from_arrays(numbers, pa.array(dictionary, pa.string()))
    words = pa.array([word for word, _, _ in rows], pa.string())
    counts = pa.array([count for _, _, count in rows], pa.int64())
    return pa.table([words, encoded, counts], schema=WORD_COUNTS_SCHEMA)


def write(store: Store, partitions: Sequence[pa.Table], path: str = PATH, **changes: object) -> str:
    settings = {"corpus": "digest", "normalisation": Normalisation(lowercase=False), "sources": SOURCES, **changes}
    return write_word_counts(store, path, iter(partitions), **settings)


def open_writer(store: Store, schema: pa.Schema, **changes: object) -> pq.ParquetWriter:
    """A writer of such files with the settings of ours, or others."""
    settings: dict[str, Any] = {
        "compression": "zstd",
        "use_dictionary": ["source"],
        "column_encoding": {"word": "DELTA_BYTE_ARRAY", "count": "PLAIN"},
    }
    return pq.ParquetWriter(store.full(PATH), schema, **settings | changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_what_was_written_is_read(store: Store) -> None:
    checksum = write(store, [make_partition(rows) for rows in ROWS])
    assert checksum == xxhash.xxh3_128_hexdigest(store.read_bytes(PATH))
    found = WordCounts.open(store, PATH)
    assert found.corpus == "digest"
    assert found.normalisation == Normalisation(lowercase=False)
    assert found.sources == (SOURCES[1], SOURCES[0])  # by name
    assert (found.num_partitions, found.num_rows) == (3, 4)
    partitions = list(found.iter_partitions())
    assert [partition.to_pylist() for partition in partitions] == [
        [{"word": word, "source": source, "count": count} for word, source, count in rows] for rows in ROWS
    ]
    assert all(partition.schema == WORD_COUNTS_SCHEMA for partition in partitions)


def test_an_index_is_the_number_of_the_source_in_every_partition(store: Store) -> None:
    write(store, [make_partition(rows) for rows in ROWS])
    found = WordCounts.open(store, PATH)
    for rows, partition in zip(ROWS, found.iter_partitions(), strict=True):
        for chunk in partition["source"].chunks:
            assert chunk.dictionary.to_pylist() == ["b\u00fccher", "web"]
        numbers = [number for chunk in partition["source"].chunks for number in chunk.indices.to_pylist()]
        assert [found.sources[number].source for number in numbers] == [source for _, source, _ in rows]


def test_an_index_is_the_number_of_the_source_whatever_the_dictionaries_in_the_file(store: Store) -> None:
    write(store, [make_partition(rows) for rows in ROWS])
    metadata = pq.read_schema(store.full(PATH)).metadata
    schema = WORD_COUNTS_SCHEMA.with_metadata(metadata)
    with open_writer(store, schema) as writer:
        for rows in ROWS:
            writer.write_table(make_partition(rows, ["web", "none", "b\u00fccher"]).replace_schema_metadata(metadata))
    with pytest.raises(ShardCorruptError, match="not among the 2"):
        list(WordCounts.open(store, PATH).iter_partitions())
    with open_writer(store, schema) as writer:
        for rows in ROWS:
            writer.write_table(make_partition(rows, ["web", "b\u00fccher"]).replace_schema_metadata(metadata))
    first = next(WordCounts.open(store, PATH).iter_partitions())
    assert first["source"].chunk(0).indices.to_pylist() == [0, 1, 1]
    assert first["source"].to_pylist() == ["b\u00fccher", "web", "web"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.tuples(st.text(), st.sampled_from("xyz")), st.integers(1, 2**62)), max_size=4))
def test_any_rows_come_back(partitions: list[dict[tuple[str, str], int]]) -> None:
    store = Store("memory://word-counts")
    rows = [
        sorted(((*key, count) for key, count in partition.items()), key=lambda row: (row[0].encode(), row[1].encode()))
        for partition in partitions
    ]
    write(store, [make_partition(part) for part in rows], sources=[SourceText(name, 0, 0, 0, 0, 0) for name in "zxy"])
    found = WordCounts.open(store, PATH)
    assert [[tuple(row.values()) for row in part.to_pylist()] for part in found.iter_partitions()] == rows
    store.delete_tree("")


def test_chunks_dictionaries_and_the_order_of_sources_do_not_change_a_byte(store: Store) -> None:
    plain = [make_partition(rows) for rows in ROWS]
    other = [
        pa.concat_tables([make_partition(rows[:1], ["web", "b\u00fccher"]), make_partition(rows[1:])]) for rows in ROWS
    ]
    assert write(store, plain) == write(store, other, "other.parquet", sources=SOURCES[::-1])
    assert write(store, plain) != write(store, plain, "corpus.parquet", corpus="another")
    many = [(f"{number:09d}", "web", number + 1) for number in range(300_000)]  # more than a page
    in_chunks = pa.concat_tables(
        [make_partition(many[start : start + 70_001]) for start in range(0, len(many), 70_001)]
    )
    assert write(store, [make_partition(many)]) == write(store, [in_chunks], "chunks.parquet")


def test_the_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    code = (
        "import sys; from maskmill.pipeline.storage.store import Store; "
        "from tests.wordpiece.counting.test_word_counts import ROWS, make_partition, write; "
        "print(write(Store(sys.argv[1]), [make_partition(rows) for rows in ROWS]))"
    )
    checksums = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / seed)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(checksums) == 1


def test_plain_readers_read_it(store: Store) -> None:
    write(store, [make_partition(rows) for rows in ROWS])
    expected = [row for rows in ROWS for row in rows]
    frame = pd.read_parquet(store.full(PATH))
    assert list(frame.itertuples(index=False, name=None)) == expected
    table = pq.read_table(store.full(PATH))
    assert table["source"].to_pylist() == [source for _, source, _ in expected]
    assert table.schema.metadata[b"maskmill_schema_version"] == SCHEMA_VERSION.encode()
    assert table.schema.metadata[b"maskmill_corpus"] == b"digest"


def test_one_partition_is_in_memory_at_a_time(store: Store) -> None:
    rows = [(f"{number:09d}", "web", number + 1) for number in range(200_000)]
    before = pa.total_allocated_bytes()
    peaks = []

    def partitions() -> Iterator[pa.Table]:
        for _ in range(8):
            peaks.append(pa.total_allocated_bytes() - before)
            yield make_partition(rows)

    write(store, partitions())
    one_bytes = make_partition(rows).nbytes
    assert max(peaks) < 2.5 * one_bytes
    found = WordCounts.open(store, PATH)
    peaks = [pa.total_allocated_bytes() - before for _ in found.iter_partitions()]
    assert max(peaks) < 3 * one_bytes


def test_a_source_that_is_not_named_is_refused(store: Store) -> None:
    with pytest.raises(pa.ArrowInvalid, match="not among the 1"):
        write(store, [make_partition(rows) for rows in ROWS], sources=SOURCES[:1])
    assert not store.exists(PATH)


def test_what_is_no_table_of_word_counts_is_refused(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        WordCounts.open(store, PATH)
    write(store, [make_partition(rows) for rows in ROWS])
    data = store.read_bytes(PATH)
    table = pa.table({"word": ["a"], "count": [1]})
    pq.write_table(table, store.full("plain.parquet"))
    for damaged in (
        b"",
        b"no parquet",
        data[: len(data) // 2],
        data[:-20] + bytes(20),
        store.read_bytes("plain.parquet"),
    ):
        store.write_bytes(PATH, damaged)
        with pytest.raises(ShardCorruptError, match=r"not a table of word counts.*delete it and count again"):
            WordCounts.open(store, PATH)


def test_rows_that_cannot_be_read_are_refused_by_name(store: Store) -> None:
    write(store, [make_partition([(f"w{number}", "web", 1) for number in range(1000)])])
    data = bytearray(store.read_bytes(PATH))
    data[4:400] = bytes(396)
    store.write_bytes(PATH, bytes(data))
    found = WordCounts.open(store, PATH)
    with pytest.raises(ShardCorruptError, match=r"word_counts.parquet: the word counts cannot be read"):
        list(found.iter_partitions())


@pytest.mark.parametrize(("version", "words"), [("99.0", "newer maskmill"), ("1.0", "older maskmill")])
def test_another_major_version_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch, version: str, words: str
) -> None:
    monkeypatch.setattr("maskmill.pipeline.wordpiece.counting.word_counts.SCHEMA_VERSION", version)
    write(store, [make_partition(rows) for rows in ROWS])
    with pytest.raises(ConfigError, match=words):
        WordCounts.open(store, PATH)


def test_counts_of_another_way_to_count_letters_do_not_serve(store: Store) -> None:
    """What was kept before words with changed letters were counted is counted again."""
    write(store, [make_partition(rows) for rows in ROWS])
    metadata = dict(pq.read_schema(store.full(PATH)).metadata)
    sources = json.loads(metadata[b"maskmill_sources"])
    for source in sources:
        del source["words_changed"]
    metadata[b"maskmill_sources"] = json.dumps(sources).encode()
    with pq.ParquetWriter(store.full(PATH), WORD_COUNTS_SCHEMA.with_metadata(metadata)) as writer:
        for rows in ROWS:
            writer.write_table(make_partition(rows).replace_schema_metadata(metadata))
    with pytest.raises(ShardCorruptError, match="not a table of word counts"):
        WordCounts.open(store, PATH)
