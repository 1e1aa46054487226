"""Read local files: only regular ones, so that a read never blocks on a pipe.

Whoever publishes a dataset or a tokenizer may put a named pipe where a file should be, which waits for its writer, or a
link to a device without an end. So each local read goes through here: links are followed, and their target is checked
before it is opened, and again afterwards.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

import pyarrow as pa

from maskmill.schemas.errors import ConfigError, MaskmillError

MAX_TEXT_BYTES = 64 << 20
"""Limit of a JSON or vocabulary file, which is parsed as a whole; the largest known `tokenizer.json` has half of it."""
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_descriptor(path: str, error: type[MaskmillError] = ConfigError) -> int:
    """Open a regular file for reading.

    Args:
        path: Of the file, or of a link to it.
        error: What is raised where it is none: `ShardCorruptError` for a file of a dataset.

    Raises:
        OSError: It is missing, a folder, or may not be read.
        MaskmillError: It is a pipe, a socket or a device.
    """
    _check_kind(path, os.stat(path).st_mode, error)  # opening a device can be enough to trigger it
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _check_kind(path, os.fstat(descriptor).st_mode, error)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_regular(path: str) -> BinaryIO:
    """Open a regular file as a stream. Raises as `open_descriptor` does."""
    return os.fdopen(open_descriptor(path), "rb")


def read_regular(path: str, most: int | None = None) -> bytes:
    """The whole of a regular file, as long as it was when it was opened. Raises as `open_descriptor` does.

    Args:
        path: Of the file.
        most: Bytes; a longer file is not read.

    Raises:
        ConfigError: It is longer.
    """
    with open_regular(path) as file:
        num_bytes = os.fstat(file.fileno()).st_size
        check_length(path, num_bytes, most)
        return file.read(num_bytes)


def read_regular_range(path: str, offset: int, length: int) -> bytes:
    """`length` bytes from `offset`; fewer if the file ends before. Raises as `open_descriptor` does."""
    with open_regular(path) as file:
        file.seek(offset)
        return file.read(max(0, min(length, os.fstat(file.fileno()).st_size - offset)))


def open_native(path: str) -> pa.NativeFile:
    """A regular file for Arrow to read from at any place. Raises as `open_descriptor` does."""
    descriptor = open_descriptor(path)
    try:
        return pa.OSFile(f"/dev/fd/{descriptor}")  # the very file that was checked; Arrow takes names only
    finally:
        os.close(descriptor)


def map_regular(path: str) -> pa.Buffer:
    """A regular file in memory, mapped. Raises as `open_descriptor` does."""
    descriptor = open_descriptor(path)
    try:
        # The very file that was checked, as above.
        with pa.memory_map(f"/dev/fd/{descriptor}") as file:
            return file.read_buffer()
    finally:
        os.close(descriptor)


def check_length(path: str, num_bytes: int, most: int | None) -> None:
    """Refuse a file that is longer than any of its kind.

    Raises:
        ConfigError: It is.
    """
    if most is not None and num_bytes > most:
        raise ConfigError(
            "the file is too large for its kind",
            path=path,
            expected=f"at most {most:,} bytes",
            found=f"{num_bytes:,} bytes",
            action="check that it is the right file",
        )


def _check_kind(path: str, mode: int, error: type[MaskmillError]) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise error(
        "this is not a regular file",
        path=path,
        expected="a file on a disk, which can be read again and has an end",
        found=_KINDS.get(stat.S_IFMT(mode), "something else"),
        action="write its output to a file, and give the path of that file"
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
        else "put the file back in its place",
    )
