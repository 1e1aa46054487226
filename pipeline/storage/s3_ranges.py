"""Ranges of S3 objects over plain HTTP: the store's own client signs a URL, the standard library gets the bytes.

A block of rows is checked by us and needs nothing else of a client. aiohttp, beneath s3fs, takes 2.3 s of a core for a
gigabyte and serves all threads of a process by one event loop, 350 MB/s from a server on the same machine; this takes
0.25 s and lets Python's lock go meanwhile: 1,000 MB/s with one thread, 2,000 with two. (Arrow's own S3 client takes
0.6 s and gives 700 to 1,200 MB/s, but it asks for an object's size first, wants credentials told in words of its own,
and does not bear a fork.)

Whatever is unusual is left to s3fs, which also knows how to explain it: options that add headers, proxies, an answer
that is neither the bytes nor "try again".
"""

from __future__ import annotations

import http.client
import os
import ssl
import threading
import time
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
_SIGNED_SECONDS = 3600
_RENEWED_SECONDS = 300  # temporary credentials are renewed some 15 minutes before they end
_MOST_URLS = 4096
_MOST_REFUSALS = 8


class S3Ranges:
    """Gets ranges from the buckets of one s3fs file system. Safe to call from several threads, and after a fork.

    Args:
        fs: An `S3FileSystem`.
        options: What it was made with.
    """

    def __init__(self, fs: Any, options: dict[str, Any]) -> None:
        self._fs = fs
        self._refusals = 0 if _is_usual(options) and not getproxies() else _MOST_REFUSALS
        self._signed: dict[str, tuple[SplitResult, float]] = {}
        self._kept = threading.local()

    def read(self, path: str, offset: int, length: int) -> bytes | None:
        """A range of an object; `None` where s3fs must be asked.

        Args:
            path: Bucket and key.
            offset: Its first byte.
            length: In bytes, above 0; fewer come where the object ends before.

        Raises:
            HTTPException: The server failed, or asks to be spared for a while.
            OSError: The connection failed, or did not answer in time.
        """
        if self._refusals >= _MOST_REFUSALS:
            return None
        try:
            url = self._sign(path)
        except Exception:  # noqa: BLE001  # s3fs meets it again, and it is explained there
            return None
        try:
            data = self._get(url, {"Range": f"bytes={offset}-{offset + length - 1}"})
        except ssl.SSLError:  # other certificates are trusted there
            data = None
        if data is None:
            self._signed.pop(path, None)
            self._refusals += 1
        else:
            self._refusals = 0
        return data

    def _sign(self, path: str) -> SplitResult:
        found = self._signed.get(path)
        if found is None or found[1] < time.monotonic():
            if len(self._signed) >= _MOST_URLS:
                self._signed.clear()
            url = urlsplit(self._fs.sign(path, expiration=_SIGNED_SECONDS))
            found = self._signed[path] = (url, time.monotonic() + _RENEWED_SECONDS)
        return found[0]

    def _get(self, url: SplitResult, headers: dict[str, str]) -> bytes | None:
        """The body of an answer with a part of the object; `None` for an answer that s3fs is to explain."""
        try:
            answer = self._ask(url, headers)
            body = answer.read() if answer.status == HTTPStatus.PARTIAL_CONTENT else None
        except BaseException:
            self._drop()
            raise
        if body is None or answer.will_close:
            self._drop()
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise http.client.HTTPException(f"{answer.status} {answer.reason}")
        return body

    def _ask(self, url: SplitResult, headers: dict[str, str]) -> http.client.HTTPResponse:
        target = f"{url.path}?{url.query}" if url.query else url.path
        connection, is_new = self._connect(url)
        try:
            connection.request("GET", target, headers=headers)
            return connection.getresponse()
        except (ConnectionError, http.client.BadStatusLine):
            if is_new:
                raise
        # One that was kept open, and that the server has closed meanwhile.
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
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, url.port, context=trusted)
        else:
            connection = http.client.HTTPConnection(host, url.port)
        connection.timeout = limits.connect_timeout
        connection.connect()
        connection.sock.settimeout(limits.read_timeout)
        self._kept.key, self._kept.connection = key, connection
        return connection, True

    def _drop(self) -> None:
        """Close this thread's connection. One that a parent process opened is only forgotten: the parent uses it."""
        key, self._kept.key = getattr(self._kept, "key", None), None
        if key is not None and key[0] == os.getpid():
            self._kept.connection.close()


def _is_usual(options: dict[str, Any]) -> bool:
    return (
        options.keys() <= _KNOWN_OPTIONS
        and options.get("client_kwargs", {}).keys() <= _KNOWN_CLIENT_OPTIONS
        and options.get("config_kwargs", {}).keys() <= _KNOWN_CONFIG
    )
