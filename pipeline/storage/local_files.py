"""Durable writes on a local file system.

A file becomes visible whole or not at all: written under a unique `.partial` name, flushed to the device, renamed
over the final name, and the folder flushed so that the rename survives a power failure.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from typing import BinaryIO

PARTIAL_SUFFIX = ".partial"
_PARTIAL_NAME = re.compile(r"\.[0-9a-f]{32}\.partial$")  # matches what `partial_name` makes, and no file of the user's


def partial_name(path: str) -> str:
    """A name next to `path` that no other writer uses."""
    return f"{path}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}"


@contextlib.contextmanager
def open_durable(path: str) -> Iterator[BinaryIO]:
    """Open `path` for writing; it appears, complete and flushed, only if the block ends without an error."""
    make_folder(os.path.dirname(path))
    partial = partial_name(path)
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise
    flush_folder(os.path.dirname(path))


def create_exclusively(path: str, data: bytes) -> bool:
    """Write `path` only if it does not exist; of many racing writers exactly one wins.

    It links the finished partial file, because `O_EXCL` on the final name would show it while it is still empty.

    Returns:
        Whether this call created the file. Either way it then exists, complete and durable.
    """
    make_folder(os.path.dirname(path))
    partial = partial_name(path)
    try:
        with open(partial, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, path)
            created = True
        except FileExistsError:
            # Over NFS the response to a successful link can be lost; the client's retry then finds the link.
            created = os.stat(partial).st_nlink > 1
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)
    flush_folder(os.path.dirname(path))
    return created


def make_folder(path: str) -> None:
    """Create a folder and those above it, each flushed into the one that holds it."""
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        try:
            os.mkdir(folder)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from None
        flush_folder(os.path.dirname(folder))


def flush_folder(path: str) -> None:
    """Flush a folder's entries to the device, on file systems that support it."""
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network and FUSE file systems
            raise
    finally:
        os.close(descriptor)


def list_files(folder: str) -> list[str]:
    """Paths of all finished files below `folder`, relative to it; empty if there is no such folder.

    Raises:
        OSError: A folder cannot be read. (Skipping it, as fsspec does, would lose its files silently.)
    """
    if not os.path.isdir(folder):
        return []
    found = []
    for root, _, names in os.walk(folder, onerror=_raise_unless_missing):
        inside = os.path.relpath(root, folder)
        found += [os.path.normpath(os.path.join(inside, name)) for name in names if not is_partial(name)]
    return found


def delete_tree(path: str) -> None:
    """Delete a folder and everything below it, or a file; files that others delete meanwhile are no error."""
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, onerror=lambda _call, _path, failure: _raise_unless_missing(failure[1]))
        else:
            os.unlink(path)
    except FileNotFoundError:
        return


def delete_partials(folder: str, is_ours: Callable[[str], bool] = lambda _: True) -> None:
    """Delete partial files of killed writers in `folder` and, at any depth, in those of its folders that are ours.

    Only when no writer is at work there.
    """
    for root, folders, names in os.walk(folder, onerror=_raise_unless_missing):
        if root == folder:
            folders[:] = filter(is_ours, folders)
        for name in names:
            if is_partial(name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(root, name))


def is_partial(name: str) -> bool:
    """Whether this is the name of a partial file: one being written, or left by a writer that died."""
    return _PARTIAL_NAME.search(name) is not None


def _raise_unless_missing(error: BaseException) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
