"""Any other driver of fsspec: an object store in this process, made of nothing but fsspec's own interface."""

from __future__ import annotations

import io
import uuid
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from maskmill.pipeline.storage.backends.claims import CLAIMS
from maskmill.pipeline.storage.leases import hold_output
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError
from tests.storage.store_contract import StoreContract


class BucketFileSystem(AbstractFileSystem):
    """Objects by key, each put at once; there are no folders."""

    protocol = "bucket"
    objects: ClassVar[dict[str, bytes]] = {}

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        key = self._strip_protocol(path)
        if mode == "create":
            if self.objects.setdefault(key, value) is not value:
                raise FileExistsError(path)
        else:
            self.objects[key] = value

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        return self._find(path)[start:end]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        key = self._strip_protocol(path)
        if key in self.objects:
            return {"name": key, "size": len(self.objects[key]), "type": "file"}
        if any(one.startswith(f"{key}/") for one in list(self.objects)):
            return {"name": key, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def find(self, path: str, **_: Any) -> list[str]:
        key = self._strip_protocol(path)
        return sorted(one for one in list(self.objects) if one == key or one.startswith(f"{key}/"))

    def rm_file(self, path: str) -> None:
        self._find(path)
        del self.objects[self._strip_protocol(path)]

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        return _Upload(self, path, mode, **options)

    def _find(self, path: str) -> bytes:
        try:
            return self.objects[self._strip_protocol(path)]
        except KeyError:
            raise FileNotFoundError(path) from None


class _Upload(AbstractBufferedFile):
    """A file that is put when it is committed."""

    def _initiate_upload(self) -> None:
        self.parts = io.BytesIO()

    def _upload_chunk(self, final: bool = False) -> bool:
        self.parts.write(self.buffer.getbuffer())
        if final and self.autocommit:
            self.commit()
        return True

    def commit(self) -> None:
        self.fs.pipe_file(self.path, self.parts.getvalue())

    def discard(self) -> None:
        self.parts.close()


class CarelessFileSystem(BucketFileSystem):
    """It takes `mode="create"` and writes over what is there all the same."""

    protocol = "careless"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:  # noqa: ARG002
        super().pipe_file(path, value, **options)


class OlderFileSystem(BucketFileSystem):
    """Its writes know no mode."""

    protocol = "older"

    def pipe_file(self, path: str, value: bytes) -> None:  # type: ignore[override]  # as drivers had it
        super().pipe_file(path, value)


@pytest.fixture(autouse=True)
def registered() -> None:
    for driver in (BucketFileSystem, CarelessFileSystem, OlderFileSystem):
        fsspec.register_implementation(driver.protocol, driver, clobber=True)


class TestFsspecDriver(StoreContract):
    test_other_processes_see_what_is_written_if_it_is_shared = None  # these objects are this process's

    @pytest.fixture
    def url(self) -> str:
        return f"bucket://{uuid.uuid4().hex}/out"


def test_an_unknown_protocol_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="no file system"):
        open_store("nosuch://user:word@host/folder")


@pytest.mark.parametrize(
    ("protocol", "found"),
    [
        ("careless", "out: this store cannot keep two drivers apart.*; found it overwrote an existing file"),
        ("older", "000001.json: the file system of this URL cannot do this; found TypeError: .* argument 'mode'"),
    ],
)
def test_a_driver_that_does_not_create_exclusively_is_refused_before_anything_is_written(
    protocol: str, found: str
) -> None:
    store = open_store(f"{protocol}://{uuid.uuid4().hex}/out")
    with (
        pytest.raises(ConfigError, match=found),
        hold_output(store, beat_seconds=0.1),
    ):
        store.write_bytes("run.json", b"{}")
    assert store.list() == []


def test_a_run_begins_with_one_file_although_the_store_is_tried() -> None:
    store = open_store(f"bucket://{uuid.uuid4().hex}/out")
    with hold_output(store, beat_seconds=60.0):
        assert store.list() == [f"{CLAIMS}/000001.json"]
    assert store.list() == []
