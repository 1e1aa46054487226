"""Taking credentials out of what is shown or kept: logs, messages, manifests and reports."""

from __future__ import annotations

import re


def without_user_info(url: str) -> str:
    """A URL without `user:password@` and without its query, fit for logs, manifests and reports.

    User-info ends at the last `@` before the path. Secret keys may hold a `/`, so where `name:secret` stands before
    the first one, it ends at the last `@` of all; `host:port` alone is no user-info.
    """
    cleaned = re.sub(r"(?<=://)[^/\s]*@", "", url)  # first: a password may have a `?`
    cleaned = re.sub(r"(?<=://)(?!\[)[^/:\s]*:(?![0-9]*(?:/|$))\S*@", "", cleaned)
    cleaned = re.sub(r"(https?://[^\s?]*)\?\S*", r"\1", cleaned)
    # Elsewhere a query holds a `=`; without one, `?` is a glob's sign. So it is where a folder such as `day=1` follows.
    return re.sub(r"(?<=\w)\?[^/]*=.*$", "", cleaned) if "://" in cleaned else cleaned
