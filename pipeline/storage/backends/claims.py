"""Hold an output on an object store, by claims `work/drivers/000001.json`, `000002.json`, ...

Each is created exclusively, and the highest one holds the output. Its driver writes a new beat into it every few
seconds. A newcomer takes over by creating the next number, so of many newcomers one wins whatever their clocks say,
after the beat has not changed for `MISSED_BEATS` intervals: it takes 15 seconds to take over from a killed driver, also
on the same machine. A driver that ends in any other way deletes its claim. No clocks of two machines are compared.

Some fsspec drivers and S3 servers ignore the request to create a file exclusively. So each claim is created twice: a
store that accepts the second creation is refused.

A driver that was paused so long that another took over finds a higher claim at its next beat. Until then two drivers
write the same bytes under the same names, which is harmless.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from maskmill.pipeline.storage.backends.holder import (
    MAX_HOLDER_BYTES,
    describe_process,
    name_holder,
    parse_holder,
    refuse_driver,
    refuse_store,
)
from maskmill.schemas.errors import ConfigError, TransientStorageError
from maskmill.schemas.printable import make_printable

_LOG = logging.getLogger("maskmill.storage")

CLAIMS = "work/drivers"
MISSED_BEATS = 3
_CLAIM = re.compile(rf"{CLAIMS}/[0-9]{{6}}\.json")


class Files(Protocol):
    """The files of a store; every operation is retried after a transient failure."""

    @property
    def display_url(self) -> str:
        """The folder for messages."""

    def locate(self, path: str) -> str:
        """A file for messages."""

    def list(self, prefix: str = "") -> list[str]:
        """Paths below a folder, sorted."""

    def read_bytes(self, path: str, most: int | None = None) -> bytes:
        """The whole of a file."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a file only if there is none."""

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a whole file."""

    def delete(self, path: str) -> None:
        """Delete a file."""


@contextlib.contextmanager
def hold_by_claim(files: Files, lose: Callable[[], None], beat_seconds: float) -> Iterator[None]:
    """Hold an output until the block ends.

    Args:
        files: The output.
        lose: Called if another driver has taken over.
        beat_seconds: How often to show that this driver is alive. All drivers of an output must agree on it.

    Raises:
        ConfigError: Another live driver holds it, no number is left for a claim, or the store writes over a file that
            it was asked to create.
    """
    claim = {"driver": uuid.uuid4().hex, "beat": 0, **describe_process()}
    path = _claim_output(files, claim, beat_seconds)
    ended = threading.Event()

    def keep_beating() -> None:
        while not ended.wait(beat_seconds):
            # If the store does not answer, the next beat tries again; the units will fail soon enough.
            with contextlib.suppress(TransientStorageError, ConfigError):
                if _list_claims(files)[-1:] > [path] or not _is_claimed_by(files, path, claim):
                    lose()
                    return
                claim["beat"] += 1
                files.write_bytes(path, json.dumps(claim).encode())

    beating = threading.Thread(target=keep_beating, name="lease", daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        # Older claims first, so that none of them ever becomes the highest.
        for other in _list_claims(files):
            if other < path or (other == path and _is_claimed_by(files, path, claim)):
                files.delete(other)


def _list_claims(files: Files) -> list[str]:
    """The claims in the order of their numbers; other files are ignored."""
    return [path for path in files.list(CLAIMS) if _CLAIM.fullmatch(path)]


def _claim_output(files: Files, claim: dict[str, Any], beat_seconds: float) -> str:
    """Create the claim that holds the output; returns its path."""
    watched: tuple[str, bytes] | None = None
    still_since = 0.0
    while True:
        claims = _list_claims(files)
        number = int(claims[-1].rpartition("/")[2].removesuffix(".json")) if claims else 0
        if claims:
            try:
                content = files.read_bytes(claims[-1], MAX_HOLDER_BYTES)
            except FileNotFoundError:
                continue  # its driver has just ended
            holder = parse_holder(content)
            if watched is None:
                watched, still_since = (claims[-1], content), time.monotonic()
                held = f"{files.display_url}: {name_holder(holder)} held this output"
                wait = f"waiting up to {MISSED_BEATS * beat_seconds:g} s to see whether it still runs"
                _LOG.warning("%s", make_printable(f"{held}; {wait}"))
            if watched != (claims[-1], content):
                raise refuse_driver(files.display_url, holder)
            if time.monotonic() - still_since < MISSED_BEATS * beat_seconds:
                time.sleep(beat_seconds / 4)
                continue
        path = f"{CLAIMS}/{number + 1:06d}.json"
        if not _CLAIM.fullmatch(path):
            raise ConfigError(
                "no claim number is left for this output",
                path=files.locate(claims[-1]),
                expected="a number that earlier drivers reached one by one",
                found=str(number),
                action=f"delete {CLAIMS} while no driver is running, and check who can write to this bucket",
            )
        if _create_claim(files, path, claim) and _list_claims(files)[-1:] == [path]:
            return path


def _create_claim(files: Files, path: str, claim: dict[str, Any]) -> bool:
    """Create a claim, then make sure that the store refuses to create it again; returns whether this driver has it."""
    if not files.create(path, json.dumps(claim).encode()):
        return False
    if files.create(path, json.dumps(claim).encode()):
        files.delete(path)
        raise refuse_store(files.display_url, "it overwrote an existing file")
    return True


def _is_claimed_by(files: Files, path: str, claim: dict[str, Any]) -> bool:
    """Whether a claim is still this driver's; so it is if it was deleted together with `work/`."""
    try:
        return bool(parse_holder(files.read_bytes(path, MAX_HOLDER_BYTES)).get("driver") == claim["driver"])
    except FileNotFoundError:
        return True
