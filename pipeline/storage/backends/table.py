"""The backend of each URL protocol."""

from __future__ import annotations

from maskmill.pipeline.storage.backends.backend import Backend
from maskmill.pipeline.storage.backends.fsspec_driver import FsspecBackend
from maskmill.pipeline.storage.backends.local import LocalBackend
from maskmill.pipeline.storage.backends.memory import MemoryBackend
from maskmill.pipeline.storage.backends.s3 import S3Backend
from maskmill.pipeline.storage.paths import split_url

BACKENDS: dict[str | None, type[Backend]] = {
    None: LocalBackend,
    "file": LocalBackend,
    "local": LocalBackend,
    "memory": MemoryBackend,
    "s3": S3Backend,
    "s3a": S3Backend,
}
"""By the protocol of a URL; a path has none."""


def find_backend(url: str) -> type[Backend]:
    """The backend of a URL: fsspec's driver if maskmill has none of its own.

    Raises:
        ConfigError: It is not the URL of a single file system.
    """
    return BACKENDS.get(split_url(url)[0], FsspecBackend)
