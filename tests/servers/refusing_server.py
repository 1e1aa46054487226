"""A web server that refuses: 401, 403, redirects without end, bad headers; it echoes what it was asked."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator

LONG = 20_000  # more than clients take in a header


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        kind = self.path.strip("/").partition("/")[0].partition("?")[0]
        REFUSALS.get(kind, _refuse(404))(self)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815  # as the library names them

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body)), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Tests say what they want to say."""


def _refuse(status: int) -> Callable[[_Handler], None]:
    def refuse(handler: _Handler) -> None:
        echo = f"<Error><Code>AccessDenied</Code><Message>{handler.path} {handler.headers}</Message></Error>"
        handler.answer(status, {"X-Echo": handler.path}, echo.encode())

    return refuse


def _write_raw(head: Callable[[_Handler], str]) -> Callable[[_Handler], None]:
    def write(handler: _Handler) -> None:
        handler.wfile.write(head(handler).encode())
        handler.close_connection = True

    return write


REFUSALS: dict[str, Callable[[_Handler], None]] = {
    "401": _refuse(401),
    "403": _refuse(403),
    "404": _refuse(404),
    "400": _refuse(400),
    "429": _refuse(429),
    "500": _refuse(500),
    "loop": lambda handler: handler.answer(302, {"Location": handler.path}, b""),
    "elsewhere": lambda handler: handler.answer(302, {"Location": f"ftp://user:hunter2hunter2@h{handler.path}"}, b""),
    "long": lambda handler: handler.answer(200, {"X-Long": handler.path + "x" * LONG}, b""),
    "status": _write_raw(lambda handler: f"HTTP/1.1 {handler.path} OK\r\n\r\n"),
    "header": _write_raw(lambda handler: f"HTTP/1.1 200 OK\r\n{handler.path}\x01\r\n\r\n"),
    "length": _write_raw(lambda handler: f"HTTP/1.1 200 OK\r\nContent-Length: {handler.path}\r\n\r\n"),
    "cut": _write_raw(lambda _: "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort"),
    "chunk": _write_raw(lambda handler: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{handler.path}\r\n"),
    "silent": _write_raw(lambda _: ""),
}


@contextlib.contextmanager
def run_refusing_server() -> Iterator[int]:
    """Serve on loopback; yields the port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
