"""Classify storage failures: who must act, and whether a retry can help."""

from __future__ import annotations

import contextlib
import errno
import logging
import random
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, TypeVar

from maskmill.schemas.errors import ConfigError, MaskmillError, TransientStorageError
from maskmill.schemas.redaction import redact

Result = TypeVar("Result")
_LOG = logging.getLogger("maskmill.storage")

ATTEMPTS = 6
FIRST_DELAY_SECONDS = 0.2

_OPERATOR = {
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EFBIG: "the file is too large for this file system",
    errno.ENAMETOOLONG: "the path is too long",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.EISDIR: "a folder is where a file should be",
    errno.ELOOP: "symbolic links that form a cycle",
    errno.EMFILE: "too many open files: raise `ulimit -n`",
    errno.ENOLCK: "the file system does not support locks",
}
_TRANSIENT = {
    errno.EIO,
    errno.EREMOTEIO,  # s3fs's word for the server's internal error
    errno.EAGAIN,
    errno.EBUSY,  # s3fs's word for throttling
    errno.ETIMEDOUT,
    errno.ECONNRESET,
    errno.ECONNREFUSED,
    errno.ECONNABORTED,
    errno.EPIPE,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ESTALE,
}
_CLIENT_LIBRARIES = ("aiohttp", "aiobotocore", "botocore", "urllib3", "http", "httpx", "httpx2")
_NO_ACCESS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
    "SSOTokenLoadError",
)
# The request cannot be sent at all; a retry would not change that.
_NEVER_SENT = (
    "ParamValidationError",
    "InvalidRegionError",
    "NoRegionError",
    "InvalidConfigError",
    "UnsupportedSignatureVersionError",
)
# S3 codes with a status below 500 that are transient nevertheless: throttling, a truncated or damaged body, a conflict.
_PASSING_CODES = (
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "RequestTimeout",
    "IncompleteBody",
    "BadDigest",
    "XAmzContentSHA256Mismatch",
    "OperationAborted",
    "ConditionalRequestConflict",
)


@contextlib.contextmanager
def explained_failures(url: str, *, of_driver: bool = False) -> Iterator[None]:
    """Turn the failures of a storage call into maskmill's errors; a missing file stays `FileNotFoundError`.

    Args:
        url: What the call was about.
        of_driver: Whether nothing but a file system's driver runs in the block: then whatever it raises, such as the
            `TypeError` of a URL that lacks a part, is a failure of storage.
    """
    try:
        yield
    except (MaskmillError, FileNotFoundError, MemoryError):
        raise
    except Exception as error:
        explained = explain_failure(error, url)
        if explained is None and of_driver:
            explained = _explain_driver(error, url)
        if explained is None:
            raise
        # A chained error would show in a traceback what the message hides.
        raise explained from (None if _shows_secret(error) else error)


def open_driver(url: str, connect: Callable[[], Result]) -> Result:
    """Open a URL's file system; whatever its driver raises becomes an error about the URL.

    Raises:
        ConfigError: There is no driver, it is not installed, or it cannot use the URL.
        TransientStorageError: It connects at once, and the server did not answer.
    """
    try:
        with explained_failures(url, of_driver=True):
            return connect()
    except FileNotFoundError as error:
        raise _explain_driver(error, url) from None


def _explain_driver(error: Exception, url: str) -> ConfigError:
    what, action = "the file system of this URL cannot do this", "check the URL, or use another store"
    if isinstance(error, ImportError) or "protocol" in str(error).lower():
        what, action = "no file system for this URL", "check its protocol, or install its fsspec driver"
    elif isinstance(error, NotImplementedError):
        action = "use a store that can, such as a local folder or an S3 bucket"
    return ConfigError(what, path=url, found=f"{type(error).__name__}: {error}", action=action)


def _shows_secret(error: BaseException) -> bool:
    """Whether the message of an error, or of one of its causes, contains a credential."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            text = f"{one}\n{one.args!r}"
            if redact(text) != text:
                return True
            waiting += [one.__cause__, one.__context__]
    return False


def explain_failure(error: Exception, url: str) -> MaskmillError | None:
    """The maskmill error for a storage failure; `None` if it is not a storage failure."""
    path = redact(url)
    text = str(error)
    kind = type(error)
    if kind.__name__ in _NO_ACCESS:
        return ConfigError("no credentials for the store", path=path, found=text, action="set AWS_* or a profile")
    if kind.__name__ in _NEVER_SENT:
        return ConfigError(
            "the request cannot be sent to the store",
            path=path,
            found=text,
            action="check the URL and the settings of the store",
        )
    passes = _server_says_it_passes(error)
    if passes is None and isinstance(error, OSError) and error.errno in _OPERATOR:
        return ConfigError(
            _OPERATOR[error.errno],
            path=path,
            found=text,
            action="fix it, then run the same command again",
        )
    if passes is None:
        passes = (
            isinstance(error, (TimeoutError, ConnectionError))
            or (isinstance(error, OSError) and error.errno in _TRANSIENT)
            or kind.__module__.partition(".")[0] in _CLIENT_LIBRARIES
        )
    if passes:
        return TransientStorageError(
            "the store did not answer as expected", path=path, found=f"{kind.__name__}: {text}"
        )
    if isinstance(error, PermissionError):
        return ConfigError("no permission", path=path, found=text, action="check the credentials and their rights")
    if isinstance(error, OSError) or kind.__module__.partition(".")[0] in _CLIENT_LIBRARIES:
        return ConfigError(
            "the store refused",
            path=path,
            found=f"{kind.__name__}: {text}",
            action="check its message, then run the same command again",
        )
    return None


def _server_says_it_passes(error: Exception) -> bool | None:
    """Whether an S3 server's response permits a retry; `None` if no server answered."""
    for candidate in (error, error.__cause__):
        response: Any = getattr(candidate, "response", None)
        if not isinstance(response, dict):
            answered = getattr(candidate, "status", None)  # aiohttp's; it says 400 of answers that it cannot read
            if answered is None:
                answered = getattr(response, "status_code", None)  # httpx's, and so the Hugging Face Hub's
            if (
                isinstance(answered, int)
                and answered > HTTPStatus.BAD_REQUEST
                and answered != HTTPStatus.REQUEST_TIMEOUT
            ):
                return _passes(answered)
            continue
        if response.get("Error", {}).get("Code") in _PASSING_CODES:
            return True
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if isinstance(status, int):
            return _passes(status)
    return None


def _passes(status: int) -> bool:
    is_of_server = status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED
    return status == HTTPStatus.TOO_MANY_REQUESTS or is_of_server


def retry_transient(call: Callable[[], Result], *, attempts: int = ATTEMPTS) -> Result:
    """Call again after a `TransientStorageError`, with exponential backoff and jitter over its upper half.

    With a store that hangs this takes minutes, so failures from the second on are logged to `maskmill.storage`.

    Raises:
        TransientStorageError: The last of `attempts` calls failed too.
    """
    for attempt in range(1, attempts):
        try:
            return call()
        except TransientStorageError as error:
            if attempt > 1:
                _LOG.warning("attempt %d of %d failed: %s", attempt, attempts, error)
            # Jitter keeps many workers from retrying at the same moment; it does not affect any byte written.
            time.sleep(FIRST_DELAY_SECONDS * 2 ** (attempt - 1) * (0.5 + random.random() / 2))  # noqa: S311
    return call()
