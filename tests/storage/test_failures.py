"""Every failure of a store names who must act; only what may pass is tried again, a bounded number of times."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import botocore.exceptions
import httpx2
import pyarrow as pa
import pytest
from huggingface_hub.errors import HfHubHTTPError

from maskmill.pipeline.storage import failures
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.failures import ATTEMPTS, explain_failure, explained_failures, retry_transient
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError, MaskmillError, ShardCorruptError, TransientStorageError
from tests.conftest import point_at
from tests.servers.fault_proxy import Faults, run_fault_proxy
from tests.servers.processes import find_free_ports


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "FIRST_DELAY_SECONDS", 0.001)


def server_error(code: str, status: int) -> botocore.exceptions.ClientError:
    answer = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(answer, "PutObject")  # type: ignore[arg-type]


def hub_error(status: int) -> HfHubHTTPError:
    return HfHubHTTPError("no", response=httpx2.Response(status, request=httpx2.Request("GET", "http://hub")))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "full"), ConfigError),
        (OSError(errno.EDQUOT, "full"), ConfigError),
        (PermissionError(errno.EACCES, "no"), ConfigError),
        (PermissionError("Access Denied"), ConfigError),  # s3fs's, without an errno
        (OSError(errno.EROFS, "no"), ConfigError),
        (IsADirectoryError(errno.EISDIR, "no"), ConfigError),
        (OSError(errno.EINVAL, "the bucket name is not valid"), ConfigError),
        (botocore.exceptions.NoCredentialsError(), ConfigError),
        (botocore.exceptions.ParamValidationError(report="no"), ConfigError),
        (OSError(errno.EIO, "device"), TransientStorageError),
        (OSError(errno.EREMOTEIO, "We encountered an internal error"), TransientStorageError),
        (OSError(errno.EBUSY, "Please reduce your request rate."), TransientStorageError),
        (ConnectionResetError(errno.ECONNRESET, "reset"), TransientStorageError),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), TransientStorageError),
        (TimeoutError("slow"), TransientStorageError),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"), TransientStorageError),
        (httpx2.ConnectError("Name or service not known"), TransientStorageError),
        (httpx2.ReadTimeout("slow"), TransientStorageError),
        (hub_error(503), TransientStorageError),
        (hub_error(429), TransientStorageError),
        (hub_error(403), ConfigError),
        (hub_error(401), ConfigError),
        (server_error("SlowDown", 503), TransientStorageError),
        (server_error("RequestTimeout", 400), TransientStorageError),
        (server_error("TooManyRequests", 429), TransientStorageError),
        (server_error("InternalError", 500), TransientStorageError),
        (server_error("AccessDenied", 403), ConfigError),
        (server_error("InvalidArgument", 400), ConfigError),
        (server_error("NotImplemented", 501), ConfigError),
    ],
)
def test_a_failure_is_given_to_who_must_act(error: Exception, expected: type[MaskmillError]) -> None:
    found = explain_failure(error, "s3://bucket/file")
    assert type(found) is expected
    assert found.path == "s3://bucket/file"


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("IncompleteBody", 400, TransientStorageError),
        ("ConditionalRequestConflict", 409, TransientStorageError),
        ("InternalError", 500, TransientStorageError),
        ("SlowDown", 503, TransientStorageError),
        ("ServiceUnavailable", 503, TransientStorageError),
        ("AccessDenied", 403, ConfigError),
        ("SignatureDoesNotMatch", 403, ConfigError),
        ("EntityTooLarge", 400, ConfigError),
        ("NoSuchThingInAnyTable", 400, ConfigError),
    ],
)
def test_a_servers_answer_counts_also_as_s3fs_words_it(code: str, status: int, expected: type[MaskmillError]) -> None:
    from s3fs.errors import translate_boto_error

    assert type(explain_failure(translate_boto_error(server_error(code, status)), "s3://b/f")) is expected


def test_what_is_no_failure_of_storage_passes_unchanged() -> None:
    for error in (KeyError("a"), ValueError("b"), ZeroDivisionError(), FileNotFoundError("c"), ShardCorruptError("d")):
        with pytest.raises(type(error)) as caught, explained_failures("url"):
            raise error
        assert caught.value is error


def test_only_what_may_pass_is_tried_again_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)

    def calls(failing: int, error: Exception) -> tuple[Callable[[], int], list[int]]:
        made: list[int] = []

        def call() -> int:
            made.append(1)
            if len(made) <= failing:
                raise error
            return len(made)

        return call, made

    for failing in range(ATTEMPTS):
        call, _ = calls(failing, TransientStorageError("no"))
        assert retry_transient(call) == failing + 1
    naps.clear()
    call, made = calls(1 << 30, TransientStorageError("no"))
    with pytest.raises(TransientStorageError):
        retry_transient(call)
    assert len(made) == ATTEMPTS
    for nap, longest in zip(naps, (0.2, 0.4, 0.8, 1.6, 3.2), strict=True):
        assert longest / 2 <= nap <= longest
    for error in (ConfigError("no"), ShardCorruptError("no"), ValueError("no")):
        call, made = calls(1, error)
        with pytest.raises(type(error)):
            retry_transient(call)
        assert len(made) == 1


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def assert_disk_is_full(call: Callable[[], object], store: Store) -> None:
    with pytest.raises(ConfigError, match="no space left on the device"):
        call()
    assert store.list() == []
    assert os.listdir(store.root) == []


def test_a_full_disk_is_the_operators_and_leaves_nothing(tiny_disk: Path) -> None:
    store = open_store(str(tiny_disk))

    def stream() -> None:
        with store.open_output("file") as file:
            for _ in range(1000):
                file.write(bytes(10_000))

    def write_arrow() -> None:
        batch = pa.record_batch({"a": pa.array(range(100_000))})
        write_blocks(store, "file", batch.schema, [batch] * 10)

    assert_disk_is_full(lambda: store.write_bytes("file", bytes(2 << 20)), store)
    assert_disk_is_full(lambda: store.create("file", bytes(2 << 20)), store)
    assert_disk_is_full(stream, store)
    assert_disk_is_full(write_arrow, store)
    store.write_bytes("file", b"there is room for this")


def test_a_full_disk_is_seen_through_a_failing_write_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    store = open_store(str(tmp_path))
    assert_disk_is_full(lambda: store.write_bytes("file", b"x"), store)


NEEDING_PERMISSION = ["write", "create", "read", "map", "input", "list", "delete", "delete_tree", "size"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_lack_of_permission_is_the_operators(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "closed" / "file").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "secret").chmod(0o600)
    script = """
import os, sys
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError
os.setgroups([]); os.setgid(65534); os.setuid(65534)
store = open_store(sys.argv[1])
for name, call in {
    "write": lambda: store.write_bytes("new/file", b"x"),
    "create": lambda: store.create("file", b"x"),
    "read": lambda: store.read_bytes("secret"),
    "map": lambda: store.map_file("secret"),
    "input": lambda: store.open_input("secret"),
    "list": lambda: store.list(),
    "delete": lambda: store.delete("secret"),
    "delete_tree": lambda: store.delete_tree("closed"),
    "size": lambda: store.size("closed/file"),
}.items():
    try:
        call()
    except ConfigError as error:
        assert "no permission" in str(error), error
        print(name)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == NEEDING_PERMISSION
    assert (tmp_path / "closed" / "file").exists()


def test_a_missing_bucket_is_the_operators_on_writing(moto_url: str) -> None:
    store = open_store("s3://no-such-bucket-here/out")
    for call in (
        lambda: store.write_bytes("a", b"x"),
        lambda: store.create("a", b"x"),
        lambda: write_streamed(store),
    ):
        with pytest.raises(ConfigError, match="the bucket does not exist"):
            call()
    assert store.list() == []
    assert not store.exists("a")
    with pytest.raises(FileNotFoundError):
        store.read_bytes("a")


def write_streamed(store: Store) -> None:
    with store.open_output("a") as file:
        file.write(b"x")


@pytest.fixture
def faulty(
    moto_url: str, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch, quick: None
) -> Iterator[tuple[Store, Faults]]:
    """A store behind a proxy that does what its faults say."""
    with run_fault_proxy(int(moto_endpoint.rpartition(":")[2])) as (port, faults):
        point_at(f"http://127.0.0.1:{port}", monkeypatch)
        yield open_store(moto_url), faults


BODY = random.Random(1).randbytes(3_000_000)


def test_a_body_cut_in_the_middle_is_read_again(faulty: tuple[Store, Faults]) -> None:
    store, faults = faulty
    store.write_bytes("file", BODY)
    faults.reset_after_bytes, faults.resets_left = 900_000, 6  # s3fs alone tries five times
    assert store.read_bytes("file") == BODY
    assert faults.num_resets == 6
    for read in (
        lambda: store.read_range("file", 10, 2_500_000) == BODY[10:2_500_010],
        lambda: bytes(store.map_file("file")) == BODY,
        lambda: store.open_input("file").read() == BODY,
    ):
        faults.resets_left = 2
        assert read()
        assert faults.resets_left == 0


def test_an_upload_cut_in_the_middle_leaves_nothing_and_ends(faulty: tuple[Store, Faults]) -> None:
    store, faults = faulty
    faults.cut_upload_after_bytes = 1_000_000
    with pytest.raises(TransientStorageError):
        store.write_bytes("file", BODY)
    assert 1 < faults.num_resets <= 5 * ATTEMPTS
    faults.cut_upload_after_bytes = None
    assert store.list() == []
    store.write_bytes("file", BODY)
    assert store.read_bytes("file") == BODY


def test_a_creation_whose_answer_was_lost_is_known_to_be_ours(faulty: tuple[Store, Faults]) -> None:
    store, faults = faulty
    assert not store.exists("warm")
    faults.swallow_answers = 1
    assert store.create("file", b"ours")
    assert faults.num_resets == 1
    faults.swallow_answers = 1
    assert not open_store(store.url).create("file", b"ours")  # the same bytes from another writer
    assert store.read_bytes("file") == b"ours"


def test_a_store_that_resets_or_refuses_is_given_up_after_bounded_attempts(
    faulty: tuple[Store, Faults], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, faults = faulty
    store.write_bytes("file", b"x")
    faults.refuse, faults.reset_after_bytes = True, 0
    for call in (lambda: store.exists("file"), lambda: store.create("other", b"x")):
        before = faults.num_connections
        with pytest.raises(TransientStorageError):
            call()
        assert ATTEMPTS <= faults.num_connections - before <= 5 * ATTEMPTS
    (port,) = find_free_ports(1)
    point_at(f"http://127.0.0.1:{port}", monkeypatch)
    with pytest.raises(TransientStorageError):
        open_store(store.url).list()
