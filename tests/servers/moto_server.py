"""moto as an S3 server whose conditional writes are atomic, as those of S3 are.

moto looks whether a key exists, then writes it, in as many threads as there are requests: of two creators of one key
that ask within the same millisecond both may be told that they created it.

    python moto_server.py PORT
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple


class AtomicConditions:
    """A WSGI application that handles requests with a condition one at a time."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self.application = application
        self.lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "HTTP_IF_NONE_MATCH" not in environ:
            return self.application(environ, start_response)
        with self.lock:
            return self.application(environ, start_response)


if __name__ == "__main__":
    application = AtomicConditions(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True, request_handler=MotoRequestHandler)
