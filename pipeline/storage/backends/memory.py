"""`memory://`: files that only this process sees, for tests and notebooks."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from maskmill.pipeline.storage.backends.backend import Capabilities
from maskmill.pipeline.storage.backends.claims import Files
from maskmill.pipeline.storage.backends.fsspec_driver import FsspecBackend
from maskmill.pipeline.storage.backends.holder import describe_process, refuse_driver

_HELD: set[str] = set()
_LOCK = threading.Lock()


class MemoryBackend(FsspecBackend):
    """A folder in this process's memory."""

    capabilities = Capabilities(shared=False, parallel_reads=False)

    def create(self, path: str, data: bytes, writer: str) -> bool:  # noqa: ARG002
        """Write a file if there is none, one thread at a time."""
        with _LOCK:
            if self.find_size(path) is not None:
                return False
            self.write(path, data)
            return True

    def _part_opener(self, path: str) -> Callable[[], Any] | None:  # noqa: ARG002
        return None  # fsspec's file would be visible from its first byte on

    def hold(self, files: Files, lose: Callable[[], None], beat_seconds: float) -> AbstractContextManager[None]:  # noqa: ARG002
        """Hold a lock of this process: no other process sees the files."""
        return self._hold()

    @contextlib.contextmanager
    def _hold(self) -> Iterator[None]:
        with _LOCK:
            if self.root in _HELD:
                raise refuse_driver(self.display_url, describe_process())
            _HELD.add(self.root)
        try:
            yield
        finally:
            with _LOCK:
                _HELD.discard(self.root)
