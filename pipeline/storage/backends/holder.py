"""The holder of an output, as written into a lock and named in errors."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from maskmill.schemas.errors import ConfigError

MAX_HOLDER_BYTES = 4096


def describe_process() -> dict[str, Any]:
    """Host and process id, so that a person can find this process."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def parse_holder(content: bytes) -> dict[str, Any]:
    """The holder that a lock names; empty if it cannot be read."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def name_holder(holder: dict[str, Any]) -> str:
    """The holder, in words."""
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"


def refuse_driver(display_url: str, holder: dict[str, Any]) -> ConfigError:
    """The error of a second driver."""
    return ConfigError(
        "another driver is at work here",
        path=display_url,
        found=name_holder(holder),
        action="wait until it ends, or end it; then run the same command again",
    )


def refuse_store(display_url: str, found: str | None = None) -> ConfigError:
    """The error for a store that cannot create files exclusively."""
    return ConfigError(
        "this store cannot keep two drivers apart",
        path=display_url,
        expected="exclusive creation: of several writers of one file, exactly one succeeds",
        found=found,
        action="use a local folder or an S3 bucket",
    )
