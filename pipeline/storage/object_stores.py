"""What object stores do in ways of their own: how s3fs is made, a write that one of many wins, a deletion of many."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from maskmill.pipeline.storage.paths import LOCAL_PROTOCOLS, split_url
from maskmill.schemas.errors import ConfigError

S3_PROTOCOLS = ("s3", "s3a")
_S3_OPTIONS: dict[str, Any] = {
    # A cached listing hides what another worker has written since.
    "use_listings_cache": False,
    "default_cache_type": "none",
}
_S3_CLIENT: dict[str, Any] = {
    # s3fs and `retry_transient` try again already; a third layer multiplies the wait for a store that is down.
    "retries": {"mode": "standard", "total_max_attempts": 1},
    "signature_version": "s3v4",  # of signed URLs too, which newer buckets of AWS and other stores want
}
DELETE_AT_ONCE = 1000
"""S3's limit for one request."""


_NO_CHAIN = "\0\0"
"""Takes the place of `::` in a key while fsspec parses the URL, since fsspec would read a chain of URLs."""


def open_filesystem(url: str, **options: Any) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it, whatever characters the path has.

    Raises:
        ValueError: There is no driver for the protocol.
        ImportError: It is not installed.
    """
    protocol, path = split_url(url)
    if protocol in LOCAL_PROTOCOLS:
        return fsspec.filesystem("file", **options), path
    filesystem, root = url_to_fs(url.replace("::", _NO_CHAIN), **options)
    return filesystem, str(root).replace(_NO_CHAIN, "::")


def connect(url: str, protocol: str, options: dict[str, Any]) -> tuple[Any, str]:
    """The fsspec file system of a store, and the path in it.

    Raises:
        ValueError: There is no driver for the protocol.
        ImportError: It is not installed.
    """
    if protocol in S3_PROTOCOLS:
        client = {**_S3_CLIENT, **(options.get("config_kwargs") or {})}
        options = {**_S3_OPTIONS, **options, "config_kwargs": client}
    return open_filesystem(url, **options)


def put_if_absent(
    fs: Any, path: str, data: bytes, writer: str, *, keeps_metadata: bool, exists: Callable[[], bool]
) -> bool:
    """Write an object unless there is one; returns whether it is this writer's, at the first or a later attempt.

    Args:
        fs: The file system.
        path: As it knows it.
        data: The bytes.
        writer: Stands for the caller and this write alone.
        keeps_metadata: Whether an object can say who wrote it.
        exists: Whether there is an object by now.
    """

    def is_ours() -> bool:
        # After a lost answer some layer puts again (aiohttp does, unasked) and meets its own first success.
        if not keeps_metadata:
            return False
        try:
            return bool(fs.metadata(path, refresh=True).get("writer") == writer)
        except FileNotFoundError:  # another's, deleted since
            return False

    marked = {"Metadata": {"writer": writer}} if keeps_metadata else {}
    try:
        # A single PUT with `If-None-Match: *`: Ceph ignores the condition on multipart uploads.
        fs.pipe_file(path, data, mode="create", **marked)
    except FileExistsError:
        return is_ours()
    except OSError as error:
        if error.errno == errno.EINVAL and exists():  # how s3fs reports Ceph's 412
            return is_ours()
        raise
    return True


def delete_from_bucket(fs: Any, protocol: str, paths: Sequence[str]) -> None:
    """Delete objects of one bucket. s3fs's own bulk delete drops the list of keys that the server would not delete.

    Args:
        fs: The file system.
        protocol: For messages.
        paths: Bucket and key of each, at most `DELETE_AT_ONCE`.

    Raises:
        ConfigError: The server would not delete one.
    """
    bucket = paths[0].partition("/")[0]
    keys = [{"Key": path.removeprefix(f"{bucket}/")} for path in paths]
    answer = fs.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    for kept in answer.get("Errors", []):
        raise ConfigError(
            "the store would not delete",
            path=f"{protocol}://{bucket}/{kept.get('Key')}",
            found=f"{kept.get('Code')}: {kept.get('Message')}",
            action="check the right to delete",
        )
