"""The settings of the cache of remote datasets."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Literal

from maskmill.pipeline.loader.check_arguments import check_settings

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
        fetch: `block` requests only blocks that are known to be read soon, neighbours together; `shard` requests whole
            extents of a shard, up to 8 MiB each, since all of a shard will be read; `auto` does the latter where the
            open shards of all processes fit into half the cache.
        timeout_seconds: How long a batch waits for a block before it fails. Shorter outages only delay it.

    Raises:
        ConfigError: A number is not positive or too large, or there is no such way to fetch.
    """

    folder: str = ""
    max_bytes: int = DEFAULT_MAX_BYTES
    fetch: FetchMode = "auto"
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS

    def __post_init__(self) -> None:
        check_settings(self, {field.name: f"cache.{field.name}" for field in fields(self)})

    def locate(self) -> str:
        """The absolute path of the folder."""
        if self.folder:
            return self.folder
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        return os.path.join(os.path.abspath(base), "maskmill", "datasets")
