"""Credentials: kept out of S3 URLs, and out of every message."""

from __future__ import annotations

from typing import Any

from schemas.errors import ConfigError

_SECRET_OPTIONS = ("key", "secret", "token", "password", "passphrase", "credential")


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


def find_secrets(url: str, options: dict[str, Any]) -> tuple[str, ...]:
    """What no message may show: a URL's user-info and the options that are credentials."""
    found = [url.partition("://")[2].rpartition("@")[0]]
    for name, value in options.items():
        if isinstance(value, dict):
            found += find_secrets("", value)
        elif isinstance(value, str) and any(word in name.lower() for word in _SECRET_OPTIONS):
            found.append(value)
    return tuple(secret for secret in found if secret)
