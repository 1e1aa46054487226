"""Ranges of objects got without s3fs: the same bytes, and s3fs wherever something is unusual."""

from __future__ import annotations

import http.client
import http.server
import multiprocessing
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from s3fs import S3FileSystem

from maskmill.pipeline.storage.backends.s3_ranges import S3Ranges
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError
from tests.conftest import point_at
from tests.servers.fault_proxy import CHUNK_BYTES, Faults, run_fault_proxy

BODY = random.Random(2).randbytes(300_000)
NAMES = ["plain", "a b", "a+b", "ä/ö", "q?x=1&y", "h#1", "50%", "%41", "~t", "a//b", "日本"]


Watch = Callable[[Store], list[str]]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Gives the list of paths of which a store's s3fs was asked for bytes."""

    def begin(store: Store) -> list[str]:
        asked: list[str] = []
        cat_file = store.backend.fs.cat_file

        def note(path: str, **options: Any) -> Any:
            asked.append(path)
            return cat_file(path, **options)

        monkeypatch.setattr(store.backend.fs, "cat_file", note)
        return asked

    return begin


@pytest.fixture
def proxied(moto_url: str, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, Faults]]:
    with run_fault_proxy(int(moto_endpoint.rpartition(":")[2])) as (port, faults):
        point_at(f"http://127.0.0.1:{port}", monkeypatch)
        store = open_store(moto_url)
        store.write_bytes("file", BODY)
        yield store, faults


@pytest.mark.parametrize("name", NAMES)
def test_every_name_and_range_is_read_without_s3fs(s3_url: str, watch: Watch, name: str) -> None:
    store = open_store(s3_url)
    asked = watch(store)
    store.write_bytes(name, BODY)
    for offset, length in ((0, 1), (0, len(BODY)), (17, 1000), (len(BODY) - 1, 1), (len(BODY) - 5, 100)):
        assert store.read_range(name, offset, length) == BODY[offset : offset + length]
    assert asked == []


def test_what_is_not_there_is_told_by_s3fs(s3_url: str, watch: Watch) -> None:
    store = open_store(s3_url)
    asked = watch(store)
    store.write_bytes("file", BODY)
    with pytest.raises(FileNotFoundError):
        store.read_range("none", 0, 10)
    assert store.read_range("file", len(BODY), 10) == b""
    assert len(asked) == 2
    assert store.read_range("file", 5, 10) == BODY[5:15]  # and the next is got as before
    assert len(asked) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"s3_additional_kwargs": {"RequestPayer": "requester"}},
        {"requester_pays": True},
        {"version_aware": True},
        {"client_kwargs": {"verify": False}},
        {"config_kwargs": {"proxies": {}}},
    ],
)
def test_unusual_options_are_left_to_s3fs(moto_url: str, watch: Watch, options: dict[str, Any]) -> None:
    open_store(moto_url).write_bytes("file", BODY)
    store = open_store(moto_url, options)
    asked = watch(store)
    assert store.read_range("file", 5, 10) == BODY[5:15]
    assert len(asked) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"key": "testkey", "secret": "testsecret"},
        {"client_kwargs": {"region_name": "eu-west-3"}},
        {"client_kwargs": None, "config_kwargs": None},
        {"config_kwargs": {"read_timeout": 5, "s3": {"addressing_style": "path"}}},
    ],
)
def test_usual_options_are_not(moto_url: str, watch: Watch, options: dict[str, Any]) -> None:
    open_store(moto_url).write_bytes("file", BODY)
    store = open_store(moto_url, options)
    asked = watch(store)
    assert store.read_range("file", 5, 10) == BODY[5:15]
    assert asked == []


def test_behind_a_proxy_s3fs_is_asked(moto_url: str, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(moto_url).write_bytes("file", BODY)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    store = open_store(moto_url)
    asked = watch(store)
    assert store.read_range("file", 5, 10) == BODY[5:15]
    assert len(asked) == 1


def test_without_credentials_the_error_is_that_of_s3fs(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    S3FileSystem.clear_instance_cache()
    with pytest.raises(ConfigError, match="no credentials"):
        open_store(moto_url).read_range("file", 0, 1)
    S3FileSystem.clear_instance_cache()


def test_throttling_and_cut_bodies_are_sat_out(proxied: tuple[Store, Faults], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskmill.pipeline.storage.failures.FIRST_DELAY_SECONDS", 0.001)
    store, faults = proxied
    faults.throttled = 2
    assert store.read_range("file", 0, len(BODY)) == BODY
    assert faults.throttled == 0
    faults.reset_after_bytes, faults.resets_left = 100_000, 3
    assert store.read_range("file", 0, len(BODY)) == BODY
    assert faults.resets_left == 0


PIECES = [70_000, 1, 99_999, 100_000, 30_000]


def starts_of(sizes: list[int]) -> list[int]:
    return [sum(sizes[:place]) for place in range(len(sizes))]


def test_pieces_come_by_one_request_and_stand_in_the_same_memory(proxied: tuple[Store, Faults], watch: Watch) -> None:
    store, faults = proxied
    asked = watch(store)
    memory = set()
    for start, size, piece in zip(starts_of(PIECES), PIECES, store.iter_pieces("file", 0, PIECES), strict=True):
        assert piece == BODY[start : start + size]
        memory.add(id(piece.obj))
    assert len(memory) == 1
    assert [(first, last) for _, first, last in faults.ranges] == [(0, sum(PIECES) - 1)]
    assert asked == []


def test_a_range_may_be_read_between_two_pieces(proxied: tuple[Store, Faults], watch: Watch) -> None:
    store, faults = proxied
    asked = watch(store)
    for start, size, piece in zip(starts_of(PIECES), PIECES, store.iter_pieces("file", 0, PIECES), strict=True):
        assert store.read_range("file", start + 1, 50) == BODY[start + 1 : start + 51]
        assert piece == BODY[start : start + size]
    assert asked == []
    assert len(faults.ranges) == 1 + len(PIECES)


@pytest.mark.parametrize("cut_after", [0, 100_000, 200_000])
def test_where_an_answer_is_cut_only_the_rest_is_asked_for_again(
    proxied: tuple[Store, Faults], monkeypatch: pytest.MonkeyPatch, cut_after: int
) -> None:
    monkeypatch.setattr("maskmill.pipeline.storage.failures.FIRST_DELAY_SECONDS", 0.001)
    store, faults = proxied
    faults.reset_after_bytes, faults.resets_left = cut_after, 1
    found = [bytes(piece) for piece in store.iter_pieces("file", 0, PIECES)]
    assert found == [BODY[start : start + size] for start, size in zip(starts_of(PIECES), PIECES, strict=True)]
    assert faults.resets_left == 0
    (_, _, last), (_, again, until) = faults.ranges
    assert last == until == sum(PIECES) - 1
    assert again in starts_of(PIECES)
    assert again <= cut_after + CHUNK_BYTES


def test_whoever_wants_no_more_pieces_leaves_a_store_that_can_be_asked(
    proxied: tuple[Store, Faults], watch: Watch
) -> None:
    store, _ = proxied
    asked = watch(store)
    for _ in range(10):
        pieces = store.iter_pieces("file", 0, PIECES)
        assert next(pieces) == BODY[:70_000]
        pieces.close()  # type: ignore[attr-defined]
    assert store.read_range("file", 5, 10) == BODY[5:15]
    assert asked == []  # it is not thought to have failed
    assert [len(piece) for piece in store.iter_pieces("file", 5, [3, 4])] == [3, 4]


def test_a_hung_answer_ends_at_the_clients_own_limit(moto_url: str, proxied: tuple[Store, Faults]) -> None:
    _, faults = proxied
    ranges = S3Ranges(open_store(moto_url, {"config_kwargs": {"read_timeout": 0.3}}).backend.fs, {})
    path = moto_url.removeprefix("s3://") + "/file"
    assert ranges.read(path, 0, 10) == BODY[:10]
    faults.silent = True
    began = time.monotonic()
    assert ranges.read(path, 0, 10) is None
    assert 0.2 < time.monotonic() - began < 5
    faults.silent = False
    assert ranges.read(path, 0, 10) == BODY[:10]


@dataclass
class Server:
    """A server that keeps connections open, and the client of it.

    Attributes:
        ranges: Ours.
        status: What it answers with; 200 is the whole object.
        content_range: What it says of an answer's bytes; empty is the truth.
        ends: Whether it closes the connection after an answer, and says so.
        chunked: Whether it sends answers in chunks, without their length.
        sent: How many bytes of an answer it sends before it closes the connection; `None` is all.
        connections: The client's port of each connection, in the order they came.
    """

    ranges: S3Ranges
    status: int = 206
    content_range: str = ""
    ends: bool = False
    chunked: bool = False
    sent: int | None = None
    connections: list[int] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            found.connections.append(self.client_address[1])

        def do_GET(self) -> None:
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            body = BODY if found.status == 200 else BODY[first : last + 1]
            self.send_response(found.status)
            if found.ends:
                self.send_header("Connection", "close")
            if found.chunked:
                self.send_header("Transfer-Encoding", "chunked")
                chunks = [body[start : start + 7] for start in range(0, len(body), 7)]
                body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
            else:
                self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Range", found.content_range or f"bytes {first}-{last}/{len(BODY)}")
            self.end_headers()
            self.wfile.write(body[: found.sent])
            self.close_connection = found.sent is not None

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    listening.handle_error = lambda *_: None  # type: ignore[method-assign]  # who closes early resets the connection
    limits = SimpleNamespace(connect_timeout=5, read_timeout=5)
    fs = SimpleNamespace(
        sign=lambda path, **_: f"http://127.0.0.1:{listening.server_address[1]}/{path}?signed",
        s3=SimpleNamespace(meta=SimpleNamespace(config=limits)),
    )
    found = Server(S3Ranges(fs, {}))
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    yield found
    listening.shutdown()
    thread.join()
    listening.server_close()


def check_read(server: Server, offset: int) -> None:
    assert server.ranges.read("file", offset, 10) == BODY[offset : offset + 10]


def test_a_connection_is_kept_and_opened_anew_when_the_server_has_closed_it(server: Server) -> None:
    for offset in range(5):
        check_read(server, offset)
    assert len(server.connections) == 1
    server.ranges._kept.connection.sock.shutdown(socket.SHUT_RDWR)
    check_read(server, 7)
    assert len(server.connections) == 2


def test_pieces_leave_a_connection_to_be_used_again_and_do_not_share_it(server: Server) -> None:
    check_read(server, 0)
    assert [bytes(piece) for piece in server.ranges.iter_pieces("file", 3, [4, 5])] == [BODY[3:7], BODY[7:12]]
    check_read(server, 1)
    assert len(server.connections) == 1
    for number, piece in enumerate(server.ranges.iter_pieces("file", 3, [4, 50_000, 100_000])):
        check_read(server, number)
        assert piece[:4] == BODY[[3, 7, 50_007][number] :][:4]
    check_read(server, 2)
    assert len(server.connections) == 2
    pieces = server.ranges.iter_pieces("file", 3, [4, 200_000])
    assert next(pieces) == BODY[3:7]
    pieces.close()  # type: ignore[attr-defined]  # what was not read is in the way of the next answer
    check_read(server, 2)
    assert len(server.connections) == 3


@pytest.mark.parametrize("fault", ["ends", "chunked"])
def test_pieces_of_an_answer_after_which_the_connection_cannot_be_used_again(server: Server, fault: str) -> None:
    setattr(server, fault, True)
    for connections in (1, 2):
        assert [bytes(piece) for piece in server.ranges.iter_pieces("file", 3, [9, 5])] == [BODY[3:12], BODY[12:17]]
        assert len(server.connections) == connections
    assert server.ranges._failures == 0


@pytest.mark.parametrize(("sent", "whole"), [(0, 0), (9, 0), (10, 1), (29, 1), (60, 3), (99, 3)])
def test_pieces_that_came_whole_before_an_answer_was_cut_are_given_out(server: Server, sent: int, whole: int) -> None:
    check_read(server, 0)
    server.sent = sent
    found = [bytes(piece) for piece in server.ranges.iter_pieces("file", 5, [10, 20, 30, 40])]
    assert found == [BODY[5:15], BODY[15:35], BODY[35:65]][:whole]
    server.sent = None
    check_read(server, 3)


def test_threads_and_forked_processes_have_connections_of_their_own(server: Server) -> None:
    check_read(server, 0)
    threads = [threading.Thread(target=check_read, args=(server, 5)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.connections) == 4
    child = multiprocessing.get_context("fork").Process(target=_read_in_child, args=(server,))
    child.start()
    for offset in range(50):
        check_read(server, offset)
    child.join(20)
    assert child.exitcode == 0
    check_read(server, 3)
    assert len(server.connections) == 5  # ours is still the first


def _read_in_child(server: Server) -> None:
    os._exit(0 if all(server.ranges.read("file", at, 20) == BODY[at : at + 20] for at in range(50)) else 1)


@pytest.mark.parametrize("status", [200, 307, 400, 403, 404, 416, 429, 500, 501, 503])
def test_any_other_answer_is_left_to_s3fs(server: Server, status: int) -> None:
    check_read(server, 1)
    server.status = status
    assert server.ranges.read("file", 5, 10) is None
    assert list(server.ranges.iter_pieces("file", 5, [4, 6])) == []
    server.status = 206
    check_read(server, 5)


@pytest.mark.parametrize("said", ["bytes 6-15/300000", "bytes 5-15/300000", "bytes 5-14/12", "bytes */300000", "x"])
def test_an_answer_of_other_bytes_than_asked_for_is_not_taken(server: Server, said: str) -> None:
    check_read(server, 1)
    server.content_range = said
    assert server.ranges.read("file", 5, 10) is None
    assert list(server.ranges.iter_pieces("file", 5, [4, 6])) == []
    server.content_range = ""
    check_read(server, 5)


def test_a_store_that_fails_again_and_again_is_spared_for_a_while(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("maskmill.pipeline.storage.backends.s3_ranges.time.monotonic", lambda: now[0])
    check_read(server, 0)
    server.status = 404
    for _ in range(20):
        assert server.ranges.read("file", 5, 10) is None
    server.status = 503
    for _ in range(8):
        assert server.ranges.read("file", 5, 10) is None
    server.status = 206
    assert server.ranges.read("file", 5, 10) is None
    now[0] += 31
    check_read(server, 5)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file", "http://no-such-host.invalid/file", "http://[::1]/file"])
def test_a_store_that_cannot_be_reached_this_way_is_not_tried_again(server: Server, url: str) -> None:
    good, tried = server.ranges._fs.sign, []

    def sign(path: str, **_: Any) -> str:
        tried.append(path)
        return url

    server.ranges._fs.sign = sign
    assert server.ranges.read("file", 5, 10) is None
    assert server.ranges.read("other", 5, 10) is None
    assert tried == ["file"]
    server.ranges._fs.sign = good
    assert server.ranges.read("file", 5, 10) is None
