"""Taking credentials out of what is shown or kept: messages, logs, events, manifests and reports.

`redact` is the one function for it. It knows credentials by their place in a URL, by their name, and by their value:
whoever opens a store tells it the values (`remember_secrets`), so that a library cannot show them in words of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
MIN_SECRET_CHARACTERS = 6
"""Shorter values are not looked for: they may be a part of any word."""
MAX_SECRETS = 4096

_SCHEME = r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*"
_RULES = (
    # User-info ends at the last `@` before the path; this comes first, since a password may have a `?`.
    (re.compile(r"(?<=://)[^/\s]*@"), ""),
    # Secret keys may hold a `/`, so where `name:secret` stands before the first one, user-info ends at the last `@`.
    (re.compile(r"(?<=://)(?!\[)[^/:\s]*:(?![0-9]*(?:/|$))\S*@"), ""),
    (re.compile(r"(https?://[^\s?]*)\?\S*", re.IGNORECASE), r"\1"),
    # Elsewhere a query holds a `=`; without one, `?` is a glob's sign. So it is where a folder such as `day=1` follows.
    (re.compile(rf"({_SCHEME}://[^\s?]*(?:\?[^\s?=]*)*?\w)\?[^/\s]*=\S*"), r"\1"),
    # Relative URLs and headers, by the names that clouds and web servers give to credentials.
    (
        re.compile(
            r"((?:x-(?:amz|goog|ms|oss|cos)-(?:[a-z-]*-)?(?:signature|credential|token|key|authorization)"
            r"|awsaccesskeyid|googleaccessid|aws_(?:access_key_id|secret_access_key|session_token)"
            r"|set-cookie|cookie|(?:proxy-)?authorization|passw(?:or)?d|passphrase|client_secret"
            r"|(?:secret|private|shared|account)_?(?:access_?)?key"
            r"|(?:access|refresh|id|session|security|sas|bearer)_token)[\"']?\s*(?:=|:|%3D)\s*[\"']?)"
            r"(?:(?:bearer|basic|aws4-hmac-sha256|sharedkey)\s+)?[^\s\"'&,;)}\]]+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    # Names that mean something else too, where a query has them.
    (
        re.compile(
            r"((?:[?&]|&amp;|%26)(?:sig|signature|token|key|api_?key|auth|code|credential|secret)(?:=|%3D))[^\s\"'&#]+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b((?:signature|credential)=)[^\s\"',;&)]{16,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9+/._~-]{16,}={0,2}", re.IGNORECASE), rf"\1 {HIDDEN}"),
)
_secrets: dict[str, None] = {}


def redact(text: str) -> str:
    """A URL or any text without `user:password@`, the queries of URLs, and whatever else is a credential."""
    for secret in tuple(_secrets):  # another thread may add one
        if secret in text:
            text = text.replace(secret, HIDDEN)
    if "=" not in text and ":" not in text and "?" not in text and " " not in text:
        return text
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def remember_secrets(values: Iterable[str]) -> None:
    """Let `redact` hide these values, however a URL encodes them; of very many the oldest are forgotten."""
    for value in values:
        for form in (value, unquote(value), unquote_plus(value), quote(value, safe=""), quote_plus(value)):
            if len(form) >= MIN_SECRET_CHARACTERS:
                _secrets.setdefault(form)
    while len(_secrets) > MAX_SECRETS:
        del _secrets[next(iter(_secrets))]
