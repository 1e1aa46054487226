"""Who holds an output, as it is written into a lock and named to the next."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from maskmill.schemas.errors import ConfigError

MAX_HOLDER_BYTES = 4096


def describe_process() -> dict[str, Any]:
    """This process, for a person who looks for it."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def parse_holder(content: bytes) -> dict[str, Any]:
    """What a lock says of its holder; nothing if it cannot be read."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def name_holder(holder: dict[str, Any]) -> str:
    """The holder, in words."""
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"


def refuse_driver(display_url: str, holder: dict[str, Any]) -> ConfigError:
    """The error of a driver that came second."""
    return ConfigError(
        "another driver is at work here",
        path=display_url,
        found=name_holder(holder),
        action="wait until it ends, or end it; then run the same command again",
    )


def refuse_store(display_url: str, found: str | None = None) -> ConfigError:
    """The error of a store where of many writers of one file more than one can win."""
    return ConfigError(
        "this store cannot keep two drivers apart",
        path=display_url,
        expected="exclusive creation: of several writers of one file, exactly one succeeds",
        found=found,
        action="use a local folder or an S3 bucket",
    )
