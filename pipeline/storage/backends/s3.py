"""S3 buckets: options for s3fs, exclusive creation, ranges over plain HTTP, deletion of many keys."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from maskmill.pipeline.storage.backends.backend import Attempt, Capabilities
from maskmill.pipeline.storage.backends.fsspec_driver import FsspecBackend
from maskmill.pipeline.storage.credentials import refuse_credentials
from maskmill.pipeline.storage.paths import split_url
from maskmill.schemas.errors import ConfigError

_OPTIONS: dict[str, Any] = {
    # A cached listing hides what another worker has written since.
    "use_listings_cache": False,
    "default_cache_type": "none",
}
_CLIENT: dict[str, Any] = {
    # s3fs and `retry_transient` retry already; a third layer would multiply the wait for a store that is down.
    "retries": {"mode": "standard", "total_max_attempts": 1},
    "signature_version": "s3v4",  # of signed URLs too, which newer buckets of AWS and other stores want
}
DELETE_AT_ONCE = 1000
"""S3's limit for one request."""


class S3Backend(FsspecBackend):
    """A folder in a bucket."""

    capabilities = Capabilities(buckets=True)
    missing_target = "the bucket does not exist"

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.check_url(url)
        for name in ("config_kwargs", "client_kwargs"):
            if not isinstance(options.get(name) or {}, Mapping):
                raise ConfigError(
                    f"{name} in storage_options is not a dictionary",
                    path=f"storage_options.{name}",
                    expected="a dictionary",
                    found=f"a {type(options[name]).__name__}",
                    action="leave it out, or give what s3fs documents",
                )
        from maskmill.pipeline.storage.backends.s3_ranges import S3Ranges  # with ssl: 25 ms that other runs do without

        client = {**_CLIENT, **(options.get("config_kwargs") or {})}
        super().__init__(url, {**_OPTIONS, **options, "config_kwargs": client})
        self._ranges = S3Ranges(self.fs, options)

    @classmethod
    def check_url(cls, url: str) -> None:
        """Refuse credentials before the bucket's name.

        Raises:
            ConfigError: There are some.
        """
        protocol, path = split_url(url)
        refuse_credentials(str(protocol), path)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """A part of an object, over plain HTTP where possible."""
        found = self._ranges.read(self.full(path), offset, length) if length else None
        return super().read_range(path, offset, length) if found is None else found

    def iter_pieces(self, path: str, offset: int, sizes: Sequence[int]) -> Iterator[memoryview]:
        """Pieces of a range by one request."""
        return self._ranges.iter_pieces(self.full(path), offset, sizes)

    def create(self, path: str, data: bytes, writer: str) -> bool:
        """Create an object exclusively; if the response to this very write was lost, it still counts as created."""
        key = self.full(path)

        def is_ours() -> bool:
            # After a lost response some layer retries the PUT (aiohttp does by itself) and finds its own object.
            try:
                return bool(self.fs.metadata(key, refresh=True).get("writer") == writer)
            except FileNotFoundError:  # another's, deleted since
                return False

        try:
            # A single PUT with `If-None-Match: *`: Ceph ignores the condition on multipart uploads.
            self.fs.pipe_file(key, data, mode="create", Metadata={"writer": writer})
        except FileExistsError:
            return is_ours()
        except OSError as error:
            if error.errno == errno.EINVAL and self.find_size(path) is not None:  # how s3fs reports Ceph's 412
                return is_ours()
            raise
        return True

    def delete_tree(self, path: str, attempt: Attempt) -> None:
        """Delete many objects at a time."""
        found: list[str] = []
        attempt(lambda: found.extend(self.list_files(path)))
        for start in range(0, len(found), DELETE_AT_ONCE):
            group = found[start : start + DELETE_AT_ONCE]
            attempt(partial(self._delete_group, group))

    def _delete_group(self, paths: Sequence[str]) -> None:
        # s3fs's own bulk delete ignores the list of keys that the server refused to delete.
        bucket = self.root.partition("/")[0]
        keys = [{"Key": self.full(path).removeprefix(f"{bucket}/")} for path in paths]
        answer = self.fs.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        for kept in answer.get("Errors", []):
            raise ConfigError(
                "the store refused to delete this",
                path=f"{self.url.partition('://')[0]}://{bucket}/{kept.get('Key')}",
                found=f"{kept.get('Code')}: {kept.get('Message')}",
                action="check the permission to delete",
            )
