"""Remove credentials from everything that is shown or kept: messages, logs, events, manifests and reports.

`redact` recognises credentials by their place in a URL, by their name, and by their value: code that opens a store
passes the values to `remember_secrets`, so that messages of libraries cannot show them either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"
MIN_SECRET_CHARACTERS = 6
"""Shorter values are not searched for: they may be a part of any word."""
MAX_SECRETS = 4096

_WORD = re.compile(r"\S+")
_SCHEME = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*://")
_HTTP = re.compile(r"https?://", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/]*@")
_USER_BEFORE_SECRET = re.compile(r"(?<=://)(?!\[)[^/:]*:(?![0-9]*(?:/|\Z))")
_QUERY = re.compile(r"(?<=\w)\?")
_RULES = (
    # In relative URLs and headers: the names that clouds and web servers use for credentials.
    (
        re.compile(
            r"((?:x-(?:amz|goog|ms|oss|cos)-(?:[a-z-]{0,40}-)?(?:signature|credential|token|key|authorization)"
            r"|awsaccesskeyid|googleaccessid|aws_(?:access_key_id|secret_access_key|session_token)"
            r"|set-cookie|cookie|(?:proxy-)?authorization|passw(?:or)?d|passphrase|client_secret"
            r"|(?:secret|private|shared|account)_?(?:access_?)?key"
            r"|(?:access|refresh|id|session|security|sas|bearer)_token)[\"']?\s*(?:=|:|%3D)\s*[\"']?)"
            r"(?:(?:bearer|basic|aws4-hmac-sha256|sharedkey)\s+)?[^\s\"'&,;)}\]]+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    # Names with other meanings, which count only in a query.
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
    """Remove `user:password@`, the queries of URLs and all other credentials from any text."""
    for secret in tuple(_secrets):  # another thread may add one
        if secret in text:
            text = text.replace(secret, HIDDEN)
    if "=" not in text and ":" not in text and "?" not in text and " " not in text:
        return text
    if "://" in text:
        text = _WORD.sub(_clean_url, text)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def _clean_url(found: re.Match[str]) -> str:
    """Remove user-info and query from a word, in linear time: a word may be as long as a message."""
    word = found[0]
    if "://" not in word:
        return word
    # User-info ends at the last `@` before the path; remove it first, since a password may contain a `?`.
    word = _USER_INFO.sub("", word)
    # Secret keys may contain a `/`: if `name:secret` comes before the first one, user-info ends at the last `@`.
    last = word.rfind("@")
    if last >= 0 and (start := _USER_BEFORE_SECRET.search(word, 0, last)) is not None:
        word = word[: start.start()] + word[last + 1 :]
    if (http := _HTTP.search(word)) is not None and "?" in word[http.end() :]:
        word = word[: word.index("?", http.end())]
    if (scheme := _SCHEME.search(word)) is None:
        return word
    # Elsewhere a query contains a `=`; without one, or before a folder such as `day=1`, `?` belongs to a glob.
    place = scheme.end()
    for part in word[place:].split("/"):
        query = _QUERY.search(part)
        if query is not None and "=" in part[query.end() :]:
            return word[: place + query.start()]
        place += len(part) + 1
    return word


def remember_secrets(values: Iterable[str]) -> None:
    """Make `redact` hide these values, in any URL encoding; the oldest of very many are forgotten."""
    for value in values:
        for form in (value, unquote(value), unquote_plus(value), quote(value, safe=""), quote_plus(value)):
            if len(form) >= MIN_SECRET_CHARACTERS:
                _secrets.setdefault(form)
    while len(_secrets) > MAX_SECRETS:
        del _secrets[next(iter(_secrets))]
