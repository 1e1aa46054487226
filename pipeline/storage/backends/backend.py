"""The interface of a store's backends."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

from maskmill.pipeline.storage.backends.claims import Files, hold_by_claim
from maskmill.pipeline.storage.backends.holder import refuse_store
from maskmill.pipeline.storage.paths import join_path, resolve_url
from maskmill.pipeline.storage.remote_files import RemoteOutput
from maskmill.schemas.redaction import redact

Write: TypeAlias = Callable[[Any], object]
Attempt: TypeAlias = Callable[[Callable[[], object]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a store can do. The defaults are those of an object store.

    Attributes:
        shared: Other processes see what is written.
        local_paths: Files have paths on this machine, by which they can be opened and mapped.
        ranged_reads: A part of a file is read without the rest.
        conditional_create: Files can be created exclusively: of several writers exactly one succeeds. Claims verify
            it before a run relies on it.
        parallel_reads: Parallel reads are faster than sequential ones, since each waits for a server.
        buckets: Paths begin with a bucket, which a write never creates.
    """

    shared: bool = True
    local_paths: bool = False
    ranged_reads: bool = True
    conditional_create: bool = True
    parallel_reads: bool = True
    buckets: bool = False


class Backend(ABC):
    """The files below one folder. Paths are relative, with `/`; errors are those of the driver.

    Only five operations are required. The others are built from these, or raise `NotImplementedError`.

    Args:
        url: The folder.
        options: Keyword arguments for the driver.
    """

    capabilities: ClassVar[Capabilities] = Capabilities()
    missing_target: ClassVar[str] = "the folder was deleted"
    """Why a file cannot be written to its place."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:  # noqa: ARG002  # of drivers
        self.url = resolve_url(url)
        self.display_url = redact(self.url)
        self.root = self.url

    @classmethod  # noqa: B027  # most drivers take any URL
    def check_url(cls, url: str) -> None:
        """Reject a URL that must not be given to a driver.

        Raises:
            ConfigError: The URL must not be used.
        """

    def full(self, path: str) -> str:
        """The path of a file as the driver knows it."""
        return join_path(self.root, path)

    def locate(self, path: str) -> str:
        """The URL of a file for messages, credentials removed."""
        return join_path(self.display_url, path)

    @abstractmethod
    def read(self, path: str, most: int | None) -> bytes:
        """The whole of a file, refused with `ConfigError` if it is longer than `most`."""

    @abstractmethod
    def find_size(self, path: str) -> int | None:
        """Length of a file in bytes; `None` if there is no file, or a folder."""

    @abstractmethod
    def list_files(self, folder: str) -> list[str]:
        """Paths of all finished files below a folder, in any order; none if there is no such folder."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Write a whole file, replacing what is there; it is visible only when complete."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete a file; nothing happens if there is none."""

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer if the file ends before."""
        return self.read(path, None)[offset : offset + length]

    def iter_pieces(self, path: str, offset: int, sizes: Sequence[int]) -> Iterator[memoryview]:  # noqa: ARG002
        """Pieces of a range by one request, each valid until the next; it may end early, with the first or before."""
        return iter(())

    def list_names(self) -> list[str]:
        """Names of the files and folders directly in this one; `FileNotFoundError` if there is no such folder."""
        found = self.list_files("")
        if not found:
            raise FileNotFoundError(self.display_url)
        return [path.partition("/")[0] for path in found]

    def create(self, path: str, data: bytes, writer: str) -> bool:
        """Write a small file only if there is none; returns whether this writer wrote it.

        Args:
            path: Of the file.
            data: What it holds.
            writer: Identifies this call and its retries: after a lost response it tells whether the existing file is
                ours.
        """
        raise NotImplementedError("exclusive creation of a file")

    @contextlib.contextmanager
    def open_output(self, path: str, put: Callable[[bytes], None]) -> Iterator[Write]:
        """Stream a file, which appears if the block ends without an error.

        Args:
            path: Of the file.
            put: Writes all of it at once, with retries.
        """
        output = RemoteOutput(put, self._part_opener(path))
        try:
            yield output.write
            output.commit()
        except BaseException:
            output.discard()
            raise

    def _part_opener(self, path: str) -> Callable[[], Any] | None:  # noqa: ARG002
        """A function that opens a large file to write in parts; `None` if files are held in memory until complete."""
        return None

    def delete_tree(self, path: str, attempt: Attempt) -> None:
        """Delete everything below a folder.

        Args:
            path: Of the folder.
            attempt: Calls a step, with retries.
        """
        found: list[str] = []
        attempt(lambda: found.extend(self.list_files(path)))
        for one in found:
            attempt(partial(self.delete, one))

    def delete_partials(self, is_ours: Callable[[str], bool]) -> None:  # noqa: B027
        """Delete partial files that killed writers left in our folders; object stores have none."""

    def hold(self, files: Files, lose: Callable[[], None], beat_seconds: float) -> AbstractContextManager[None]:
        """Keep every other driver from this output until the block ends.

        Args:
            files: The same folder, with retries.
            lose: Called if another driver has taken over.
            beat_seconds: How often to show that this driver is alive, where others cannot see it.

        Raises:
            ConfigError: Another driver holds it, or the store cannot tell drivers apart.
        """
        if not self.capabilities.conditional_create:
            raise refuse_store(self.display_url)
        return hold_by_claim(files, lose, beat_seconds)
