"""Credentials: kept out of S3 URLs, and out of every message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from maskmill.schemas.errors import ConfigError

_SECRET_NAMES = ("key", "secret", "token", "password", "passphrase", "credential", "sig", "auth", "policy")
_USER_INFO = re.compile(r"[^/\s]*@|(?!\[)[^/:\s]*:(?![0-9]*(?:/|$))\S*@")
"""As `redact` takes it out."""


def refuse_credentials(protocol: str, path: str) -> None:
    """Refuse credentials before a bucket's name: s3fs would take them for a part of it.

    Raises:
        ConfigError: There are some.
    """
    # A secret key may hold `/`, so what precedes the first one can be all or a part of the credentials.
    bucket = path.partition("/")[0]
    if "@" in bucket or (":" in bucket and not bucket.startswith("arn:")):
        raise ConfigError(
            "credentials do not belong in a URL",
            path=f"{protocol}://...",
            action="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )


def find_secrets(url: str, options: dict[str, Any]) -> Iterator[str]:
    """Texts that no message may show: a URL's user-info, and credentials in its query and in the options."""
    rest = url.partition("://")[2]
    if found := _USER_INFO.match(rest):
        yield found[0][:-1]
        yield found[0][:-1].partition(":")[2]
        rest = rest[found.end() :]
    for pair in rest.partition("?")[2].split("&"):
        name, _, value = pair.partition("=")
        if _is_secret(name):
            yield value
    for name, value in options.items():
        if isinstance(value, dict):
            yield from find_secrets("", value)
        elif isinstance(value, str) and _is_secret(str(name)):  # names inside a value may be anything
            yield value


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_NAMES)
