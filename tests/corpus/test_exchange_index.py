"""An index of the exchange that is not as it was written is refused by name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from maskmill.pipeline.corpus.exchange_index import INDEX_PATH, INDEX_SCHEMA, list_pieces
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ShardCorruptError, StaleArtifactError

UNIT = SimpleNamespace(num_buckets=2, buckets=(0, 1))


@pytest.fixture
def output(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def write_index(output: Store, *lines: tuple[int, ...]) -> None:
    """A record batch for each line: bucket, unit, offset, length, checksum."""
    rows = [(*line, 10 * line[1], line[1]) for line in lines]
    batches = [pa.record_batch([[value] for value in row], schema=INDEX_SCHEMA) for row in rows]
    write_blocks(output, INDEX_PATH, INDEX_SCHEMA, batches)


def test_pieces_are_listed_bucket_by_bucket(output: Store) -> None:
    write_index(output, (0, 7, 8, 100, 1), (1, 7, 108, 50, 2), (0, 9, 8, 40, 3), (1, 9, 48, 20, 4))
    assert list_pieces(output, UNIT) == [
        (7, 8, 100, 1, 70, 7),
        (9, 8, 40, 3, 90, 9),
        (7, 108, 50, 2, 70, 7),
        (9, 48, 20, 4, 90, 9),
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([(0, 7, 8, 100, 1)], "1 record batches for 2 buckets"),
        ([(0, 7, 8, 1 << 63, 1), (1, 7, 108, 50, 2)], "a piece of more than"),
        ([(0, 7, (1 << 64) - 8, 8, 1), (1, 7, 108, 50, 2)], "a piece of more than"),
    ],
)
def test_an_index_that_points_elsewhere_is_refused(output: Store, lines: list[tuple[int, ...]], words: str) -> None:
    write_index(output, *lines)
    with pytest.raises(ShardCorruptError, match=rf"index.arrow: .*{words}"):
        list_pieces(output, UNIT)


def test_an_index_that_is_no_arrow_file_is_refused(output: Store) -> None:
    with pytest.raises(StaleArtifactError, match="gone"):
        list_pieces(output, UNIT)
    output.write_bytes(INDEX_PATH, b"ARROW1\0\0" + bytes(100) + b"ARROW1")
    with pytest.raises(ShardCorruptError, match=r"index.arrow: it is not an Arrow file"):
        list_pieces(output, UNIT)
