"""One small dataset for all tests of the loader, and its rows."""

from __future__ import annotations

import pytest

from tests.loader.cache.caches import asked, cache_home, remote  # noqa: F401  # fixtures
from tests.loader.datasets import StoredRow, read_stored_rows, write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Shards of unequal size, one empty, one of a single row; blocks of four rows."""
    folder = str(tmp_path_factory.mktemp("packed"))
    write_dataset(folder)
    return folder


@pytest.fixture(scope="session")
def stored(dataset: str) -> dict[int, StoredRow]:
    return read_stored_rows(dataset)
