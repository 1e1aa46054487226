from __future__ import annotations

import uuid

import pytest

from tests.storage.store_contract import StoreContract


class TestMemory(StoreContract):
    @pytest.fixture
    def url(self) -> str:
        return f"memory://{uuid.uuid4().hex}/out"
