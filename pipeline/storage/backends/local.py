"""Files of this machine: durable writes, reads of regular files only, a lock of the kernel."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from maskmill.pipeline.storage import local_files
from maskmill.pipeline.storage.backends.backend import Attempt, Backend, Capabilities, Write
from maskmill.pipeline.storage.backends.claims import Files
from maskmill.pipeline.storage.backends.lock_file import hold_by_lock
from maskmill.pipeline.storage.regular_files import read_regular, read_regular_range


class LocalBackend(Backend):
    """A folder on a disk."""

    capabilities = Capabilities(local_paths=True, parallel_reads=False)

    def read(self, path: str, most: int | None) -> bytes:
        """The whole of a regular file."""
        return read_regular(self.full(path), most)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """A part of a regular file."""
        return read_regular_range(self.full(path), offset, length)

    def find_size(self, path: str) -> int | None:
        """Length of a file, or of anything else except a folder: reading it will say what is wrong."""
        try:
            status = os.stat(self.full(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if stat.S_ISDIR(status.st_mode) else status.st_size

    def list_files(self, folder: str) -> list[str]:
        """All finished files below a folder."""
        return [posixpath.join(folder, name) for name in local_files.list_files(self.full(folder))]

    def list_names(self) -> list[str]:
        """Names in the folder."""
        return os.listdir(self.root)

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file, flushed to the device."""
        with local_files.open_durable(self.full(path)) as file:
            file.write(data)

    def create(self, path: str, data: bytes, writer: str) -> bool:  # noqa: ARG002
        """Link a finished file into place: of several writers one succeeds."""
        return local_files.create_exclusively(self.full(path), data)

    @contextlib.contextmanager
    def open_output(self, path: str, put: Callable[[bytes], None]) -> Iterator[Write]:  # noqa: ARG002
        """Stream into a partial file beside the final one."""
        with local_files.open_durable(self.full(path)) as file:
            yield file.write

    def delete(self, path: str) -> None:
        """Delete a file."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.full(path))

    def delete_tree(self, path: str, attempt: Attempt) -> None:
        """Delete a folder and its contents."""
        attempt(lambda: local_files.delete_tree(self.full(path)))

    def delete_partials(self, is_ours: Callable[[str], bool]) -> None:
        """Delete partial files of killed writers."""
        local_files.delete_partials(self.root, is_ours)

    def hold(self, files: Files, lose: Callable[[], None], beat_seconds: float) -> AbstractContextManager[None]:  # noqa: ARG002
        """Hold a kernel lock, which ends with its holder."""
        return hold_by_lock(self.root, self.display_url)
