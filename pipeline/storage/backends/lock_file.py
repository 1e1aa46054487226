"""Hold a local output by `flock` on `work/driver.lock`; the kernel releases it however its holder ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator

from maskmill.pipeline.storage import local_files
from maskmill.pipeline.storage.backends.holder import MAX_HOLDER_BYTES, describe_process, parse_holder, refuse_driver
from maskmill.pipeline.storage.failures import explained_failures
from maskmill.pipeline.storage.paths import join_path
from maskmill.schemas.errors import ConfigError

LOCK = "work/driver.lock"
_AS_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Do not follow a link: its target would be overwritten."""


@contextlib.contextmanager
def hold_by_lock(folder: str, display_url: str) -> Iterator[None]:
    """Hold a folder until the block ends.

    Args:
        folder: Its path.
        display_url: The same for messages.

    Raises:
        ConfigError: Another driver holds it, or the lock is not a regular file.
    """
    path = join_path(folder, LOCK)
    with explained_failures(join_path(display_url, LOCK)):
        descriptor = _lock_file(path, display_url)
    try:
        yield
    finally:
        # Deleted while still locked: who waits for this file finds afterwards that it is no longer the one at `path`.
        if _stands_at(descriptor, path):
            with contextlib.suppress(OSError):
                os.unlink(path)
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(path))  # if nothing else is in it


def _lock_file(path: str, display_url: str) -> int:
    """An open descriptor that holds the lock of the file at `path`."""
    while True:
        local_files.make_folder(os.path.dirname(path))
        try:
            descriptor = os.open(path, _AS_LOCK, 0o644)
        except FileNotFoundError:
            continue  # the last holder has just removed the folder
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _refuse_lock(display_url) from None
            raise
        try:
            _check_lock(descriptor, display_url)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not _stands_at(descriptor, path):
                    os.close(descriptor)
                    continue
                raise refuse_driver(display_url, parse_holder(os.pread(descriptor, MAX_HOLDER_BYTES, 0))) from None
            if _stands_at(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(describe_process()).encode(), 0)
                return descriptor
            os.close(descriptor)  # its holder unlinked it between our opening and our locking
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise


def _check_lock(descriptor: int, display_url: str) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise _refuse_lock(display_url)


def _refuse_lock(display_url: str) -> ConfigError:
    return ConfigError(
        "the lock file of this output is not a regular file",
        path=join_path(display_url, LOCK),
        expected="a regular file, or none",
        found="a link, a pipe or a device",
        action="delete it, and check who can write to this folder",
    )


def _stands_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False
