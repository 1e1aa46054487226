"""What a person may say about the cache of remote datasets."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

from maskmill.schemas.errors import ConfigError

FetchMode = Literal["auto", "block", "shard"]

DEFAULT_MAX_BYTES = 32 << 30
DEFAULT_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True)
class Cache:
    """Where blocks of remote datasets are kept, and how they get there. Local datasets are never copied.

    One folder serves every rank, worker and dataset of a node: what one of them downloads all of them read.

    Attributes:
        folder: On a local disk; empty is `$XDG_CACHE_HOME/maskmill/datasets`, or that below `~/.cache`.
        max_bytes: The most that the folder may hold, everything in it together.
        fetch: `block` asks for the blocks that will be read, neighbours in one request; `shard` asks for all of a
            shard once a block of it will be read; `auto` does so where all open shards have room.
        timeout_seconds: How long a batch waits for a block before it fails. Shorter outages are sat out.

    Raises:
        ConfigError: A number is not positive or too large, or there is no such way to fetch.
    """

    folder: str = ""
    max_bytes: int = DEFAULT_MAX_BYTES
    fetch: FetchMode = "auto"
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS

    def __post_init__(self) -> None:
        folder = os.fspath(self.folder) if isinstance(self.folder, (str, os.PathLike)) else None
        if not isinstance(folder, str) or "://" in folder or "\0" in folder:
            raise ConfigError(
                "no such folder",
                path="cache.folder",
                expected="the path of a folder on a local disk",
                found=repr(self.folder),
                action="give one, or leave it out for the user's own cache",
            )
        if self.folder:  # wherever the process goes afterwards
            object.__setattr__(self, "folder", os.path.abspath(os.path.expanduser(self.folder)))
        for name, most in (("max_bytes", sys.maxsize), ("timeout_seconds", threading.TIMEOUT_MAX)):
            value = getattr(self, name)
            if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) <= most:
                raise ConfigError(
                    "no such limit",
                    path=f"cache.{name}",
                    expected=f"above 0, at most {most:g}",
                    found=repr(value),
                    action="give another number",
                )
        if self.fetch not in get_args(FetchMode):
            raise ConfigError(
                "no such way to fetch",
                path="cache.fetch",
                expected=f"one of {', '.join(get_args(FetchMode))}",
                found=repr(self.fetch),
                action="give one of these",
            )

    def locate(self) -> str:
        """The absolute path of the folder."""
        if self.folder:
            return self.folder
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        return os.path.join(os.path.abspath(base), "maskmill", "datasets")
