"""Opens only folders and files of this user, and no links, on a disk that others may write to.

Another user who can write to the cache's folder could replace one of its files by a link, so that a foreign file is
overwritten, or a subfolder by their own, and change blocks while they are read. So the cache's folder must belong to
this user, or have the sticky bit as `/tmp` has, with which users cannot rename each other's files; a subfolder is used
then. Inside it every folder and file is accessible to this user alone, and opened without following links.
"""

from __future__ import annotations

import errno
import os
import stat

from maskmill.schemas.errors import ConfigError

OWN_FOLDER_MODE = 0o700
OWN_FILE_MODE = 0o600
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0
AS_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""Flags to follow no link and never block."""
_AS_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def find_own_folder(folder: str, dataset: str) -> str:
    """The folder of this user's cache, made if it is missing: the one that is asked for, or a subfolder of it.

    A folder that cannot be made or looked at is returned as it is: what is written into it fails, and is said then.

    Args:
        folder: Absolute path, as the user gives it.
        dataset: Name of a dataset's folder in it.

    Raises:
        ConfigError: It is another user's, or others may rename what is in it, or a link is in the place of a folder.
    """
    try:
        os.makedirs(folder, OWN_FOLDER_MODE, exist_ok=True)
        status = os.stat(folder)
        owners = {status.st_uid, os.lstat(folder).st_uid}  # owners of the folder, and of a link to it
    except OSError:
        return folder
    if others := owners - {os.geteuid(), _ROOT}:
        raise _refuse(
            folder, "the cache folder belongs to another user", f"user {min(others)}", "give a folder of your own"
        )
    if status.st_mode & _OTHERS_WRITE:
        if not status.st_mode & stat.S_ISVTX:
            raise _refuse(
                folder,
                "other users may replace files in the cache folder",
                f"mode {stat.S_IMODE(status.st_mode):o}",
                f"chmod go-w {folder}, or give another cache folder",
            )
        folder = os.path.join(folder, f"maskmill-{os.geteuid()}")
        _make_own(folder)
    if os.path.lexists(os.path.join(folder, dataset)):
        _check_own(os.path.join(folder, dataset))
    return folder


def open_own_file(path: str, flags: int, folder: int | None = None) -> int:
    """Open a file of this user.

    Args:
        path: Of the file, or its name in `folder`.
        flags: As `os.open` takes them.
        folder: An open folder.

    Raises:
        OSError: It is a link, no regular file, another user's, or what else `os.open` raises.
    """
    descriptor = os.open(path, flags | AS_FILE, OWN_FILE_MODE, dir_fd=folder)
    if not is_own_file(os.fstat(descriptor)):
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "not a file of this user", path)
    return descriptor


def is_own_file(status: os.stat_result, user: int | None = None) -> bool:
    """Whether a file is a regular one, of this user; frequent callers pass the user's id."""
    return stat.S_ISREG(status.st_mode) and status.st_uid == (os.geteuid() if user is None else user)


def open_own_folder(path: str) -> int:
    """Open a folder below the cache's; raises `OSError` where it is a link or another user's."""
    descriptor = os.open(path, _AS_FOLDER)
    if os.fstat(descriptor).st_uid != os.geteuid():
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "not a folder of this user", path)
    return descriptor


def make_own_folder(path: str) -> None:
    """Make a folder two levels below the cache's, and the one above it, for this user alone."""
    os.makedirs(os.path.dirname(path), OWN_FOLDER_MODE, exist_ok=True)  # it ignores the mode for parent folders
    os.makedirs(path, OWN_FOLDER_MODE, exist_ok=True)


def _make_own(folder: str) -> None:
    try:
        os.mkdir(folder, OWN_FOLDER_MODE)
    except FileExistsError:
        _check_own(folder)
    except OSError:  # a full or read-only disk, reported at the first write
        return


def _check_own(folder: str) -> None:
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode):
        raise _refuse(folder, "there is a link or a file instead of a folder of the cache", "not a folder", "delete it")
    if status.st_uid != os.geteuid():
        raise _refuse(folder, "a folder of the cache belongs to another user", f"user {status.st_uid}", "delete it")
    if status.st_mode & _OTHERS_WRITE:  # made by an earlier version
        os.chmod(folder, OWN_FOLDER_MODE)


def _refuse(folder: str, what: str, found: str, action: str) -> ConfigError:
    return ConfigError(
        what,
        path=folder,
        expected="a folder that is yours alone, or one with the sticky bit, as /tmp has",
        found=found,
        action=action,
    )
