"""Ranges of S3 objects over plain HTTP: s3fs signs a URL, the standard library downloads the bytes.

maskmill checks each block itself, so a simple client is enough. aiohttp, which s3fs uses, takes 2.3 s of a core per
gigabyte and serves all threads of a process from one event loop: 350 MB/s from a server on the same machine. This takes
0.25 s and releases the GIL meanwhile: 1,000 MB/s with one thread, 2,000 with two. (Arrow's own S3 client takes 0.6 s
and reaches 700 to 1,200 MB/s, but it asks for an object's size first, needs credentials in its own format, and does
not survive a fork.)

Everything unusual is left to s3fs, which retries and reports errors: options that add headers, proxies, and every
response other than the requested bytes. If a store never answers this way, it is not tried again for a while.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

_KNOWN_OPTIONS = {
    "anon",
    "cache_regions",
    "client_kwargs",
    "config_kwargs",
    "default_block_size",
    "default_cache_type",
    "endpoint_url",
    "key",
    "profile",
    "secret",
    "skip_instance_cache",
    "token",
    "use_listings_cache",
    "use_ssl",
}
_KNOWN_CLIENT_OPTIONS = {"endpoint_url", "region_name", "use_ssl"}
_KNOWN_CONFIG = {"connect_timeout", "read_timeout", "region_name", "retries", "s3", "signature_version"}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_SIGNED_SECONDS = 3600
_RENEWED_SECONDS = 300  # temporary credentials are renewed some 15 minutes before they end
_MOST_URLS = 4096
_MOST_FAILURES = 8
_REST_SECONDS = 30.0
_LONG_REST_SECONDS = 600.0  # where no connection was ever made
_CONNECT_SECONDS = 5.0  # where only s3fs gets through, nobody should wait long to find out
_EXPLAINED = (HTTPStatus.NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)  # s3fs will say the same


class S3Ranges:
    """Gets ranges from the buckets of one s3fs file system. Safe to call from several threads.

    A forked process opens its own connections; it signs no new URLs, since fsspec refuses to work there.

    Args:
        fs: An `S3FileSystem`.
        options: What it was made with.
    """

    def __init__(self, fs: Any, options: dict[str, Any]) -> None:
        self._fs = fs
        self._rests_until = 0.0 if _is_usual(options) and not getproxies() else float("inf")
        self._failures = 0
        self._has_connected = False
        self._signed: dict[str, tuple[SplitResult, float]] = {}
        self._kept = threading.local()

    def read(self, path: str, offset: int, length: int) -> bytes | None:
        """A range of an object; `None` where s3fs must be asked.

        Args:
            path: Bucket and key.
            offset: Its first byte.
            length: In bytes, above 0; fewer come where the object ends before.
        """
        if time.monotonic() < self._rests_until:
            return None
        try:
            status, data = self._get(self._sign(path), offset, length)
        except Exception:  # noqa: BLE001  # whatever it is, s3fs meets it too, tries again and is explained
            status, data = None, None
        self._note(path, status, came=data is not None)
        return data

    def iter_pieces(self, path: str, offset: int, sizes: Sequence[int]) -> Iterator[memoryview]:
        """A range piece by piece, of one request; it ends early where s3fs must be asked for the rest.

        Args:
            path: Bucket and key.
            offset: Its first byte.
            sizes: Bytes of each piece, above 0.

        Yields:
            Each piece, valid until the next: all use the same memory, which stays in the processor's caches.
        """
        if time.monotonic() < self._rests_until:
            return
        status, is_read, is_wanted = None, False, True
        taken: tuple[Any, http.client.HTTPConnection] | None = None
        memory = memoryview(bytearray(max(sizes)))
        length = sum(sizes)
        try:
            answer = self._ask(self._sign(path), _range_of(offset, length))
            status = answer.status
            # Taken, so that other reads of this thread in the meantime use their own connection.
            taken, self._kept.key = (self._kept.key, self._kept.connection), None
            if status == HTTPStatus.PARTIAL_CONTENT and _is_all(answer, offset, length):
                for size in sizes:
                    if not _fill(answer, memory[:size]):
                        return
                    yield memory[:size]
                is_read = True
        except GeneratorExit:  # not the store's fault
            is_wanted = False
            raise
        except Exception:  # noqa: BLE001, S110  # as above
            pass
        finally:
            if taken is None:
                self._drop()
            elif answer.isclosed() and not answer.will_close and getattr(self._kept, "key", None) is None:
                self._kept.key, self._kept.connection = taken
            else:
                taken[1].close()
            if is_wanted:
                self._note(path, status, came=is_read)

    def _note(self, path: str, status: int | None, *, came: bool) -> None:
        """Record how a request ended: after repeated failures the store gets no more requests for a while."""
        if came:
            self._failures = 0
        elif status not in _EXPLAINED:
            self._signed.pop(path, None)
            self._failures += 1
            if not self._has_connected:
                self._rests_until = time.monotonic() + _LONG_REST_SECONDS
            elif self._failures >= _MOST_FAILURES:
                self._failures, self._rests_until = 0, time.monotonic() + _REST_SECONDS

    def _sign(self, path: str) -> SplitResult:
        found = self._signed.get(path)
        if found is None or found[1] < time.monotonic():
            if len(self._signed) >= _MOST_URLS:
                self._signed.clear()
            url = urlsplit(self._fs.sign(path, expiration=_SIGNED_SECONDS))
            found = self._signed[path] = (url, time.monotonic() + _RENEWED_SECONDS)
        return found[0]

    def _get(self, url: SplitResult, offset: int, length: int) -> tuple[int, bytes | None]:
        """The status of the answer and, where it is that part of the object, its bytes."""
        try:
            answer = self._ask(url, _range_of(offset, length))
            data = answer.read() if answer.status == HTTPStatus.PARTIAL_CONTENT else None
        except BaseException:
            self._drop()
            raise
        if data is None or answer.will_close:
            self._drop()
        if data is not None and not _is_part(answer.getheader("Content-Range", ""), offset, length, len(data)):
            data = None
        return answer.status, data

    def _ask(self, url: SplitResult, headers: dict[str, str]) -> http.client.HTTPResponse:
        target = f"{url.path}?{url.query}" if url.query else url.path
        connection, is_new = self._connect(url)
        try:
            connection.request("GET", target, headers=headers)
            return connection.getresponse()
        except (ConnectionError, http.client.BadStatusLine):
            if is_new:
                raise
        # The connection was kept open, and the server has closed it meanwhile.
        self._drop()
        connection, _ = self._connect(url)
        connection.request("GET", target, headers=headers)
        return connection.getresponse()

    def _connect(self, url: SplitResult) -> tuple[http.client.HTTPConnection, bool]:
        """This thread's connection to a server, and whether it is a new one."""
        key = (os.getpid(), url.scheme, url.netloc)
        if getattr(self._kept, "key", None) == key:
            return self._kept.connection, False
        self._drop()
        limits = self._fs.s3.meta.config
        host = url.hostname or ""
        if url.scheme == "https":
            trusted = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, url.port or http.client.HTTPS_PORT, context=trusted
            )
        else:
            connection = http.client.HTTPConnection(host, url.port or http.client.HTTP_PORT)
        connection.timeout = min(limits.connect_timeout, _CONNECT_SECONDS)
        connection.connect()
        self._has_connected = True
        connection.sock.settimeout(limits.read_timeout)
        self._kept.key, self._kept.connection = key, connection
        return connection, True

    def _drop(self) -> None:
        """Close this thread's connection. One that the parent process opened is only dropped: the parent uses it."""
        key, self._kept.key = getattr(self._kept, "key", None), None
        if key is not None and key[0] == os.getpid():
            self._kept.connection.close()


def _range_of(offset: int, length: int) -> dict[str, str]:
    return {"Range": f"bytes={offset}-{offset + length - 1}"}


def _is_all(answer: http.client.HTTPResponse, offset: int, length: int) -> bool:
    """Whether an answer will bring every byte that was asked for."""
    said = answer.getheader("Content-Range", "")
    return answer.length in (None, length) and _is_part(said, offset, length, length)  # None: it comes in chunks


def _fill(answer: http.client.HTTPResponse, memory: memoryview) -> bool:
    """Read as many bytes as the memory takes; False where the answer ends before."""
    while memory:
        num_bytes = answer.readinto(memory)
        if not num_bytes:
            return False
        memory = memory[num_bytes:]
    return True


def _is_part(content_range: str, offset: int, length: int, num_bytes: int) -> bool:
    """Whether an answer's `Content-Range` and the bytes that came are what was asked for, or all up to the end."""
    found = _CONTENT_RANGE.fullmatch(content_range)
    if found is None:
        return False
    first, last, size = map(int, found.groups())
    return first == offset and last == min(offset + length, size) - 1 and num_bytes == last - first + 1


def _is_usual(options: dict[str, Any]) -> bool:
    return (
        options.keys() <= _KNOWN_OPTIONS
        and (options.get("client_kwargs") or {}).keys() <= _KNOWN_CLIENT_OPTIONS
        and (options.get("config_kwargs") or {}).keys() <= _KNOWN_CONFIG
    )
