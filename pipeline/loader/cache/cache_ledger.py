"""How many bytes a cache folder holds, over all processes of a node, and evicting to stay below its bound.

The file `ledger` holds an upper bound of the bytes in the folder: a process adds what it will write before it writes.
At the limit one process, holding the ledger's lock, lists the folder, deletes the least recently used files that no
process has pinned, and writes the true number to the ledger. So a process that is killed between counting and writing
costs an early listing and nothing else. Whoever opens its pins after a process died cleans up after it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings

from maskmill.pipeline.loader.cache.cache_locks import claim_numbers, lock_file
from maskmill.pipeline.loader.cache.evict_blocks import choose_victims, delete_cached, list_cached, sweep_partials
from maskmill.pipeline.loader.cache.own_files import OWN_FOLDER_MODE
from maskmill.pipeline.loader.cache.pinned_blocks import Pins, read_pins, sweep_earlier
from maskmill.schemas.printable import make_printable

LEDGER = "ledger"
CLAIMS = "claims"
PINS = "pins"
_EARLIER_PINS = "boards"  # of versions before 0.3.0
_WORD_BYTES = 8
_OPEN_WAIT_SECONDS = 5.0  # when a cache is opened
_SHORT_WAIT_SECONDS = 1.0  # of a request, whose blocks a reader may wait for; a listing takes half of it
_LOW_WATER = 0.9  # an eviction frees down to this share, so that the next one is far off
_REST_SECONDS = 1.0  # after an eviction that could not free enough
_LOCK_REST_SECONDS = 5.0  # after another process held the ledger all the time
_DISK_REST_SECONDS = 60.0  # after a disk that failed
_COUNT_SECONDS = 5.0

_WARNED_OF: set[str] = set()


class CacheLedger:
    """The size of a cache folder as one process keeps to it. Safe to call from several threads.

    Args:
        folder: Absolute path; created when first written to.
        max_bytes: The most it may hold.
    """

    def __init__(self, folder: str, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._pins: Pins | None = None
        self._pins_lock = threading.Lock()
        self._closed = False
        self._full_until = self._no_disk_until = self._counted_at = 0.0
        self._num_readers = 1

    def reserve(self, num_bytes: int) -> bool:
        """Reserve bytes that will be written, evicting files where needed; `settle` them afterwards.

        Returns:
            Whether they fit now. They do not where everything is pinned, nor on a disk that failed.
        """
        now = time.monotonic()
        if self._closed or now < max(self._full_until, self._no_disk_until):
            return False
        if self._pins is None:  # the folder or its ledger was not available when the cache was opened
            self.open_pins(_SHORT_WAIT_SECONDS)
        fits = False
        try:
            with self._hold_ledger(_SHORT_WAIT_SECONDS) as ledger:
                if ledger is not None:
                    used = _read_count(ledger)
                    if used is None or used + num_bytes > self.max_bytes:
                        used = self._evict(num_bytes)
                    fits = used + num_bytes <= self.max_bytes and self._count_reserved(num_bytes)
                    _write_count(ledger, used + num_bytes if fits else used)
        except OSError as error:
            self.rest(error)
            return False
        if not fits:
            rest_seconds = _LOCK_REST_SECONDS if ledger is None else _REST_SECONDS
            self._full_until = max(self._full_until, time.monotonic() + rest_seconds)
        return fits

    def settle(self, num_bytes: int, written_bytes: int) -> None:
        """End a reservation: so much of it was written.

        If another process holds the ledger, the rest stays counted until the folder is listed.
        """
        ledger = None
        with contextlib.ExitStack() as held:
            if written_bytes < num_bytes:
                # Held for both changes: a process that lists the folder in between would subtract the bytes twice.
                with contextlib.suppress(OSError):
                    ledger = held.enter_context(self._hold_ledger(_SHORT_WAIT_SECONDS))
            self._count_reserved(-num_bytes)
            if ledger is not None:
                with contextlib.suppress(OSError):
                    used = _read_count(ledger)
                    if used is not None:
                        _write_count(ledger, max(0, used - num_bytes + written_bytes))

    def pin(self, number: int) -> None:
        """Keep a block or a shard from being evicted by any process."""
        with self._pins_lock:
            if self._pins is not None:
                self._pins.pin(number)

    def unpin(self, number: int) -> None:
        """Take back one `pin`."""
        with self._pins_lock:
            if self._pins is not None:
                self._pins.unpin(number)

    def open_pins(self, wait_seconds: float = _OPEN_WAIT_SECONDS) -> None:
        """Begin to pin, and clean up after dead processes. Before that nothing is written to the cache.

        Where it fails, `reserve` tries again after a while.
        """
        try:
            with self._hold_ledger(wait_seconds) as ledger:
                if ledger is None:
                    self._full_until = time.monotonic() + _LOCK_REST_SECONDS
                    self._warn("another process holds its ledger", "if this lasts, end the process that does")
                    return
                self._sweep(ledger)
                sweep_earlier(self._path(_EARLIER_PINS))
                with self._pins_lock:
                    if self._pins is None and not self._closed:
                        self._pins = Pins(self._path(PINS))
        except OSError as error:
            self.rest(error)

    def count_readers(self) -> int:
        """How many processes share the folder, counted every few seconds."""
        now = time.monotonic()
        if now > self._counted_at + _COUNT_SECONDS:
            self._counted_at = now
            with contextlib.suppress(OSError), self._hold_ledger(wait_seconds=0.0) as ledger:
                if ledger is not None:
                    self._num_readers = max(1, self._sweep(ledger))
        return self._num_readers

    def close(self) -> None:
        """Delete this process's pins once nothing is being written any more; what is in the folder stays.

        Should the process end before, the next one finds the pins of a dead process and cleans up.
        """
        with self._pins_lock:
            self._closed = True
            self._close_pins()

    @property
    def takes_blocks(self) -> bool:
        """Whether the last write succeeded, or it is time to try again."""
        return not self._closed and time.monotonic() >= self._no_disk_until

    def rest(self, error: OSError) -> None:
        """Write nothing for a while after the disk failed, and warn once for each folder."""
        self._no_disk_until = time.monotonic() + _DISK_REST_SECONDS
        self._warn(str(error.strerror), "free space there")

    def _warn(self, why: str, action: str) -> None:
        if self.folder not in _WARNED_OF:
            _WARNED_OF.add(self.folder)
            warnings.warn(
                make_printable(
                    f"{self.folder}: the cache cannot write blocks ({why}); they are read without it; "
                    f"{action} or give another cache folder"
                ),
                RuntimeWarning,
                stacklevel=3,
            )

    def _sweep(self, ledger: int) -> int:
        """Clean up after dead processes, if there are any; returns the number of live ones."""
        pins = read_pins(self._path(PINS))
        if pins.num_dead:
            _write_count(ledger, self._evict(0))
        return pins.num_processes

    def _evict(self, num_bytes: int) -> int:
        """Evict files under the ledger's lock; returns the bytes then in use, reserved ones included."""
        # Pins first: what is written between the two reads is then counted twice, never missed.
        pins = read_pins(self._path(PINS))
        files = sweep_partials(list_cached(self.folder), self._is_claimed)
        # Unfinished files are covered by their writers' reservations.
        used = pins.reserved_bytes + sum(file.size_bytes for file in files if not file.partial)
        if used + num_bytes > self.max_bytes:
            excess = used - min(int(self.max_bytes * _LOW_WATER), self.max_bytes - num_bytes)
            for file in choose_victims((file for file in files if not file.partial), pins.numbers, excess):
                delete_cached(file.path)
                used -= file.size_bytes
        return used

    def _is_claimed(self, number: int) -> bool:
        claim = claim_numbers(self._path(CLAIMS), [number])
        if claim is not None:
            claim.release()
        return claim is None

    def _count_reserved(self, num_bytes: int) -> bool:
        """Add bytes to the reservation of this process; False if it may reserve no more."""
        with self._pins_lock:
            if self._pins is None or (self._closed and num_bytes > 0):
                return False
            self._pins.add_reserved(num_bytes)
            self._close_pins()
            return True

    def _close_pins(self) -> None:
        if self._pins is not None and self._closed and not self._pins.reserved_bytes:
            self._pins.close()
            self._pins = None

    def _hold_ledger(self, wait_seconds: float) -> contextlib.AbstractContextManager[int | None]:
        os.makedirs(self.folder, OWN_FOLDER_MODE, exist_ok=True)
        return lock_file(self._path(LEDGER), wait_seconds)

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)


def _read_count(ledger: int) -> int | None:
    data = os.pread(ledger, _WORD_BYTES, 0)
    return int.from_bytes(data, "little") if len(data) == _WORD_BYTES else None


def _write_count(ledger: int, used: int) -> None:
    os.pwrite(ledger, used.to_bytes(_WORD_BYTES, "little"), 0)
