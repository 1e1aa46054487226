"""A backend of the five operations that must be there: the others are made of them, or refused in words."""

from __future__ import annotations

import uuid
from typing import ClassVar

import pytest

from maskmill.pipeline.storage.backends.backend import Backend, Capabilities
from maskmill.pipeline.storage.backends.table import BACKENDS
from maskmill.pipeline.storage.regular_files import check_length
from tests.storage.store_contract import StoreContract


class SmallestBackend(Backend):
    capabilities = Capabilities(shared=False, ranged_reads=False, conditional_create=False, parallel_reads=False)
    files: ClassVar[dict[str, bytes]] = {}

    def read(self, path: str, most: int | None) -> bytes:
        found = self.files.get(self.full(path))
        if found is None:
            raise FileNotFoundError(path)
        check_length(self.locate(path), len(found), most)
        return found

    def find_size(self, path: str) -> int | None:
        found = self.files.get(self.full(path))
        return None if found is None else len(found)

    def list_files(self, folder: str) -> list[str]:
        start = f"{self.full(folder)}/"
        inside = [path for path in list(self.files) if path.startswith(start)]
        return [path.removeprefix(f"{self.root}/") for path in inside]

    def write(self, path: str, data: bytes) -> None:
        self.files[self.full(path)] = data

    def delete(self, path: str) -> None:
        self.files.pop(self.full(path), None)


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "smallest", SmallestBackend)


class TestSmallestBackend(StoreContract):
    @pytest.fixture
    def url(self) -> str:
        return f"smallest://{uuid.uuid4().hex}/out"
