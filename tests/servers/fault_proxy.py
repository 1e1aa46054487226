"""A TCP proxy between a client and its store that cuts, refuses or delays, as a test tells it to."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

CHUNK_BYTES = 1 << 14
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
        num_connections: Counts them.
        num_resets: Counts them.
    """

    refuse: bool = False
    swallow_answers: int = 0
    reset_after_bytes: int | None = None
    resets_left: int = 1 << 30
    cut_upload_after_bytes: int | None = None
    num_connections: int = 0
    num_resets: int = 0
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
            threading.Thread(target=_pump, args=(source, target, is_cut), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, is_cut: Callable[[int], bool]) -> None:
    passed = 0
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK_BYTES):
            # "100 Continue" is no answer yet: the body that it asks for has still to be sent.
            if not data.startswith(b"HTTP/1.1 100 ") and is_cut(passed):
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
