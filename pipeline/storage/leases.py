"""Lock an output: one driver at a time; after its end or death the next may follow.

Each backend has its own way to lock an output: on local disks the kernel releases a lock when its holder ends; on
object stores claims must be renewed (see `backends.claims`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import StaleArtifactError

BEAT_SECONDS = 5.0


class Lease:
    """The holder's side of a locked output."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lost = threading.Event()

    def lose(self) -> None:
        """Note that another driver has taken over."""
        self._lost.set()

    def check(self) -> None:
        """Go on only while this driver still holds the output.

        Raises:
            StaleArtifactError: Another driver has taken over because this one was paused for too long.
        """
        if self._lost.is_set():
            raise StaleArtifactError(
                "another driver has taken over this output",
                path=self._store.display_url,
                found="this driver did not renew its claim for too long",
                action="let the other driver finish",
            )


@contextlib.contextmanager
def hold_output(store: Store, *, beat_seconds: float = BEAT_SECONDS) -> Iterator[Lease]:
    """Hold an output as its only driver until the block ends.

    Args:
        store: The output.
        beat_seconds: On object stores: how often to renew the claim. All drivers of an output must agree on it.

    Raises:
        ConfigError: Another live driver holds this output; it is named.
    """
    lease = Lease(store)
    with store.hold(lease.lose, beat_seconds):
        yield lease
