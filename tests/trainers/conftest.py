"""One packed dataset for every trainer: rows with several sequences and padding, no two rows alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.loader.datasets import write_dataset

SHARD_ROWS = (70, 33, 0, 64, 1, 58)  # three global batches of 64, and 34 rows that an epoch leaves out


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("trainers") / "packed")
    write_dataset(folder, shard_rows=SHARD_ROWS)
    return folder


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """The models are tiny: threads that wait for each other made a gradient of 0.1 s take 3 s on busy cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
