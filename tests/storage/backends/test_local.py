from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskmill.pipeline.storage.store import Store
from tests.storage.store_contract import StoreContract


class TestLocal(StoreContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return str(tmp_path / "run" / "out")

    def leftovers(self, store: Store) -> list[str]:
        return sorted(set(os.listdir(store.root)) - {"file"})
