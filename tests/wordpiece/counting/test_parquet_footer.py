"""The Arrow schema in a Parquet file is measured before pyarrow reads it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.wordpiece.counting.parquet_footer import read_footer
from maskmill.pipeline.wordpiece.counting.word_counts import WordCounts
from maskmill.schemas.errors import ShardCorruptError
from tests.storage.shared_parts import share_in_schema

KEY = b"\x0cARROW:schema\x18"
LENGTH = len(base64.b64encode(pa.schema([]).serialize()))


def write_file(path: Path, stored: bytes, **metadata: str) -> bytes:
    """A Parquet file with a schema of Arrow in it."""
    with pq.ParquetWriter(path, pa.schema([("word", pa.string())]), store_schema=False) as writer:
        writer.add_key_value_metadata({**metadata, "ARROW:schema": base64.b64encode(stored).decode()})
    return path.read_bytes()


def test_a_schema_that_names_one_text_many_times_is_refused(tmp_path: Path) -> None:
    """5,000 entries of one text of 100 KB: a file of 150 KB took a gigabyte."""
    write_file(tmp_path / "words.parquet", share_in_schema(5000, 100_000))
    with pytest.raises(ShardCorruptError, match=r"words.parquet: this is not a table of word counts.*a schema of more"):
        WordCounts.open(open_store(str(tmp_path)), "words.parquet")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Also where texts are the same as the key."""
    schema = pa.schema([("word", pa.string())], metadata={"note": "\\fARROW:schema"})
    with pq.ParquetWriter(tmp_path / "words.parquet", schema) as writer:
        writer.add_key_value_metadata({"names": '["ARROW:schema"]'})
    read_footer(pa.memory_map(str(tmp_path / "words.parquet")))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(KEY, b"\x8c\0" + KEY[1:]),
        lambda data: data.replace(KEY, KEY[:-1] + b"\x08\x04"),
        lambda data: data.replace(KEY + LENGTH.to_bytes(1), KEY + b"\x01"),
        lambda data: data.replace(KEY + LENGTH.to_bytes(1), KEY + b"\xff\xff\xff\x0f"),
        lambda data: data[: data.index(KEY) + len(KEY)] + b"\xff",
        lambda _: b"",
    ],
)
def test_a_key_that_is_written_in_another_way_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    data = write_file(tmp_path / "words.parquet", pa.schema([]).serialize().to_pybytes())
    read_footer(pa.BufferReader(data))
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    footer = change(data[start:-8])
    changed = data[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(ValueError, match=r"schema|Parquet"):
        read_footer(pa.BufferReader(changed if footer else b""))
