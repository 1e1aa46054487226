"""A TCP proxy between a client and its store that cuts, refuses, delays or throttles, as a test tells it to."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

CHUNK_BYTES = 1 << 14
_RANGE = re.compile(rb"GET (\S+) HTTP.*\r\nrange: bytes=(\d+)-(\d+)\r\n", re.IGNORECASE | re.DOTALL)
_BODY = b"<Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>"
_CONTINUE = b"HTTP/1.1 100 "
_END_OF_HEAD = b"\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing sends RST


@dataclass
class Faults:
    """What happens to connections; change it at any time.

    Attributes:
        refuse: Reset connections at once.
        swallow_answers: Reset where the first byte of an answer should come, so many times.
        reset_after_bytes: Reset once so many bytes of answers have passed on one connection; `None`: never.
        resets_left: How many of those resets there are to be.
        cut_upload_after_bytes: Reset once so many bytes have been sent on one connection; `None`: never.
        silent: Let no answer through until it is false again.
        latency_seconds: How long each request takes longer.
        throttled: Answer so many GETs with 503 in the server's stead.
        num_connections: Counts them.
        num_resets: Counts them.
        ranges: (path, first byte, last byte) of each ranged GET that was passed on, in order.
    """

    refuse: bool = False
    swallow_answers: int = 0
    reset_after_bytes: int | None = None
    resets_left: int = 1 << 30
    cut_upload_after_bytes: int | None = None
    silent: bool = False
    latency_seconds: float = 0.0
    throttled: int = 0
    num_connections: int = 0
    num_resets: int = 0
    ranges: list[tuple[str, int, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def cut_answer(self, passed: int) -> bool:
        """Whether an answer is cut before its next bytes, `passed` of them already sent."""
        with self.lock:
            if self.swallow_answers > 0:
                self.swallow_answers -= 1
                self.num_resets += 1
                return True
            if self.reset_after_bytes is not None and passed >= self.reset_after_bytes and self.resets_left > 0:
                self.resets_left -= 1
                self.num_resets += 1
                return True
        return False

    def take_request(self, data: bytes) -> bool:
        """Note a request; whether it is throttled."""
        with self.lock:
            if data.startswith(b"GET ") and self.throttled > 0:
                self.throttled -= 1
                return True
            asked = _RANGE.match(data)
            if asked:
                self.ranges.append((asked[1].decode().partition("?")[0], int(asked[2]), int(asked[3])))
        return False

    def cut_upload(self, passed: int) -> bool:
        """Whether an upload is cut before its next bytes."""
        with self.lock:
            cut = self.cut_upload_after_bytes is not None and passed >= self.cut_upload_after_bytes
            self.num_resets += cut
        return cut


@contextlib.contextmanager
def run_fault_proxy(upstream_port: int) -> Iterator[tuple[int, Faults]]:
    """A proxy in front of a loopback port; yields its own port and its faults."""
    faults = Faults()
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listener, upstream_port, faults), daemon=True).start()
    try:
        yield listener.getsockname()[1], faults
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _accept(listener: socket.socket, upstream_port: int, faults: Faults) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        faults.num_connections += 1
        if faults.refuse:
            _reset(client)
            continue
        server = socket.create_connection(("127.0.0.1", upstream_port))
        for source, target, is_cut in ((client, server, faults.cut_upload), (server, client, faults.cut_answer)):
            arguments = (source, target, is_cut, faults, source is client)
            threading.Thread(target=_pump, args=arguments, daemon=True).start()


def _pump(
    source: socket.socket, target: socket.socket, is_cut: Callable[[int], bool], faults: Faults, asks: bool
) -> None:
    passed = 0
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK_BYTES):
            if asks and faults.latency_seconds:
                time.sleep(faults.latency_seconds)
            if asks and faults.take_request(data):
                source.sendall(_BUSY)
                continue
            while faults.silent and not asks:
                time.sleep(0.01)
            if data.startswith(_CONTINUE):
                # No answer yet: the body that it asks for has still to be sent. Only the answer may come with it.
                end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
                target.sendall(data[:end])
                data = data[end:]
            if data and is_cut(passed):
                _reset(source)
                _reset(target)
                return
            target.sendall(data)
            passed += len(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    # Closing alone sends nothing while the other thread still reads from it.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RD)
    connection.close()
