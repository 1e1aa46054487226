"""Buckets on moto, and on Ceph where it is installed."""

from __future__ import annotations

from typing import Any

import pytest

from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError
from tests.conftest import make_bucket
from tests.storage.store_contract import StoreContract

SECRET = "s3cr3t/Key+With/Slashes"  # noqa: S105


class S3Contract(StoreContract):
    @pytest.fixture
    def endpoint(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def url(self, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
        return make_bucket(endpoint, monkeypatch)

    def leftovers(self, store: Store) -> list[str]:
        bucket = store.root.partition("/")[0]
        return store.backend.fs.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads") or []

    def test_a_tree_of_more_than_one_request_is_deleted(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("maskmill.pipeline.storage.backends.s3.DELETE_AT_ONCE", 4)
        for number in range(9):
            store.write_bytes(f"many/{number}", b"")
        store.delete_tree("many")
        assert store.list() == []


class TestMoto(S3Contract):
    @pytest.fixture
    def endpoint(self, moto_endpoint: str) -> str:
        return moto_endpoint


class TestCeph(S3Contract):
    @pytest.fixture
    def endpoint(self, ceph_endpoint: str) -> str:
        return ceph_endpoint


def test_what_s3_would_not_delete_is_an_error(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(moto_url)
    store.write_bytes("kept", b"")
    refusal = {"Errors": [{"Key": "run/out/kept", "Code": "AccessDenied", "Message": "no"}]}
    monkeypatch.setattr(store.backend.fs, "call_s3", lambda *_, **__: refusal)
    with pytest.raises(ConfigError, match=r"out/kept.*AccessDenied"):
        store.delete_tree("")


def test_credentials_are_in_no_message(moto_url: str) -> None:
    store = open_store(moto_url, {"key": "AKIDEXAMPLE", "secret": SECRET, "client_kwargs": {"use_ssl": False}})
    texts = [repr(store), store.display_url, store.locate("a")]
    with pytest.raises(FileNotFoundError) as missing:
        store.read_bytes("none")
    texts.append(str(missing.value))

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(f"signed with {SECRET} by AKIDEXAMPLE")

    store.backend.fs = type("Failing", (), {"cat_file": fail, "info": fail})()
    with pytest.raises(ConfigError, match=r"\*\*\*") as refused:
        store.read_bytes("none")
    assert refused.value.__cause__ is None
    texts += [str(refused.value), repr(refused.value)]
    assert not [text for text in texts if SECRET in text or "AKIDEXAMPLE" in text]


@pytest.mark.parametrize("user_info", [f"AKID:{SECRET}@", "AKID:secret@", "AKID@", f"AKID:{SECRET}%40@"])
def test_credentials_in_an_s3_url_are_refused_without_showing_them(user_info: str) -> None:
    with pytest.raises(ConfigError, match="credentials") as caught:
        open_store(f"s3://{user_info}bucket/out")
    assert "AKID" not in str(caught.value)
    assert "ecret" not in str(caught.value)


def test_a_write_whose_answer_is_lost_is_known_at_the_next_attempt(
    moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the store's own attempt, not by one of the layers below, which may use another connection."""
    monkeypatch.setattr("maskmill.pipeline.storage.failures.FIRST_DELAY_SECONDS", 0.001)
    store = open_store(moto_url)
    put, lost = store.backend.fs.pipe_file, ["the first answer"]

    def put_and_lose(*arguments: Any, **options: Any) -> None:
        put(*arguments, **options)
        if lost:
            lost.pop()
            raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(store.backend.fs, "pipe_file", put_and_lose)
    assert store.create("claim", b"mine")
    assert lost == []
    assert not store.create("claim", b"another's")
    assert store.read_bytes("claim") == b"mine"


@pytest.mark.parametrize("options", [3, [1], {1: 2}, {"config_kwargs": 3}, {"client_kwargs": "x"}])
def test_options_that_are_none_are_refused_by_name(options: Any) -> None:
    with pytest.raises(ConfigError, match="storage_options"):
        open_store("s3://bucket/a", options)
