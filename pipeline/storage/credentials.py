"""Credentials: kept out of S3 URLs, and out of every message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schemas.errors import ConfigError

MIN_QUERY_SECRET = 16
"""Characters of a value in a query that is taken for a credential whatever its name is."""
_SECRET_OPTIONS = ("key", "secret", "token", "password", "passphrase", "credential", "sig", "auth", "sas")


def refuse_credentials(protocol: str, path: str) -> None:
    """Refuse credentials before a bucket's name: s3fs would take them for a part of it.

    Raises:
        ConfigError: There are some.
    """
    # A secret key may hold `/`, so what stands before the first one can be all or a part of the credentials.
    bucket = path.partition("/")[0]
    if "@" in bucket or (":" in bucket and not bucket.startswith("arn:")):
        raise ConfigError(
            "credentials do not belong in a URL",
            path=f"{protocol}://...",
            action="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        )


def find_secrets(url: str, options: dict[str, Any]) -> Iterator[str]:
    """What no message may show: a URL's user-info and query, and the options that are credentials."""
    _, is_url, rest = url.partition("://")
    if is_url:
        bare, _, query = rest.partition("?")
        user_info = rest.rpartition("@")[0] if "@" in bare.partition("/")[0] else bare.rpartition("@")[0]
        yield user_info
        yield user_info.partition(":")[2]
        yield query
        for pair in query.split("&"):
            name, _, value = pair.partition("=")
            if len(value) >= MIN_QUERY_SECRET or any(word in name.lower() for word in _SECRET_OPTIONS):
                yield value
    for name, value in options.items():
        if isinstance(value, dict):
            yield from find_secrets("", value)
        elif isinstance(value, str) and any(word in name.lower() for word in _SECRET_OPTIONS):
            yield value
