"""Who drives an output: one driver at a time, and at once the next when it has died.

- Local files: `flock` on `work/driver.lock`. The kernel lets go of it when its holder ends, however it ends.
- `memory://`: a lock in this process, which is all that sees the files.
- Object stores: claims `work/drivers/000001.json`, `000002.json`, ... Each is created exclusively, and the highest one
  holds the output. Its driver writes a new beat into it every few seconds. A newcomer takes over by creating the next
  number, so of many newcomers one wins whatever their clocks say: at once if the holder was a process of this machine
  that has ended, else after the beat has stood still for `MISSED_BEATS` intervals. No clock but one's own is read.

A driver that was paused so long that another took over finds a higher claim at its next beat; `Lease.check` then
raises. Until then two drivers write the same bytes under the same names, which harms nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from maskmill.pipeline.storage import local_files
from maskmill.pipeline.storage.failures import explained_failures
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ConfigError, StaleArtifactError, TransientStorageError

LOCK = "work/driver.lock"
CLAIMS = "work/drivers"
MAX_CLAIM_BYTES = 4096
_CLAIM = re.compile(rf"{CLAIMS}/[0-9]{{6}}\.json")
_AS_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Not through a link: what it leads to would be overwritten."""
BEAT_SECONDS = 5.0
MISSED_BEATS = 3

_HELD_IN_MEMORY: set[str] = set()
_MEMORY_LOCK = threading.Lock()


class Lease:
    """What the holder of an output has in hand."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lost = threading.Event()

    def lose(self) -> None:
        """Note that another driver has taken over."""
        self._lost.set()

    def check(self) -> None:
        """Go on only while this driver still holds the output.

        Raises:
            StaleArtifactError: Another driver has taken over after this one stood still for too long.
        """
        if self._lost.is_set():
            raise StaleArtifactError(
                "another driver has taken over this output",
                path=self._store.display_url,
                found="this one gave no sign of life for too long",
                action="let the other one finish",
            )


@contextlib.contextmanager
def hold_output(store: Store, *, beat_seconds: float = BEAT_SECONDS) -> Iterator[Lease]:
    """Drive an output alone until the block ends.

    Args:
        store: The output.
        beat_seconds: On object stores: how often to give a sign of life. All drivers of an output must agree on it.

    Raises:
        ConfigError: Another live driver holds this output; it is named.
    """
    lease = Lease(store)
    if store.is_local:
        holding = _hold_locally(store)
    elif store.is_in_process:
        holding = _hold_in_memory(store)
    else:
        holding = _hold_by_claim(store, lease, beat_seconds)
    with holding:
        yield lease


def _refuse(store: Store, holder: dict[str, Any]) -> ConfigError:
    return ConfigError(
        "another driver is at work here",
        path=store.display_url,
        found=f"process {holder.get('pid', '?')} on {holder.get('host', '?')}",
        action="wait until it ends, or end it; then give the same command again",
    )


@contextlib.contextmanager
def _hold_locally(store: Store) -> Iterator[None]:
    path = store.full(LOCK)
    with explained_failures(store.locate(LOCK)):
        descriptor = _lock_file(store, path)
    try:
        yield
    finally:
        # Deleted while still locked: who waits for this file finds afterwards that it is no longer the one at `path`.
        if _stands_at(descriptor, path):
            with contextlib.suppress(OSError):
                os.unlink(path)
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(path))  # if nothing else is in it


def _lock_file(store: Store, path: str) -> int:
    """An open descriptor that holds the lock of the file that stands at `path`."""
    while True:
        local_files.make_folder(os.path.dirname(path))
        try:
            descriptor = os.open(path, _AS_LOCK, 0o644)
        except FileNotFoundError:
            continue  # the last holder has just removed the folder
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _refuse_lock(store) from None
            raise
        try:
            _check_lock(store, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not _stands_at(descriptor, path):
                    os.close(descriptor)
                    continue
                raise _refuse(store, _parse(os.pread(descriptor, MAX_CLAIM_BYTES, 0))) from None
            if _stands_at(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(_describe_process()).encode(), 0)
                return descriptor
            os.close(descriptor)  # its holder unlinked it between our opening and our locking
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise


def _check_lock(store: Store, descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise _refuse_lock(store)


def _refuse_lock(store: Store) -> ConfigError:
    return ConfigError(
        "the lock of this output is not a file of ours",
        path=store.locate(LOCK),
        expected="a regular file, or none",
        found="a link, a pipe or a device",
        action="delete it, and see who may write into this folder",
    )


def _stands_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _hold_in_memory(store: Store) -> Iterator[None]:
    with _MEMORY_LOCK:
        if store.root in _HELD_IN_MEMORY:
            raise _refuse(store, _describe_process())
        _HELD_IN_MEMORY.add(store.root)
    try:
        yield
    finally:
        with _MEMORY_LOCK:
            _HELD_IN_MEMORY.discard(store.root)


@contextlib.contextmanager
def _hold_by_claim(store: Store, lease: Lease, beat_seconds: float) -> Iterator[None]:
    claim = {"driver": uuid.uuid4().hex, "beat": 0, **_describe_process()}
    path = _claim_output(store, claim, beat_seconds)
    ended = threading.Event()
    beating = threading.Thread(
        target=_beat, args=(store, path, claim, lease, ended, beat_seconds), name="lease", daemon=True
    )
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        # Older claims first, so that at no moment one of them is the highest.
        for other in _list_claims(store):
            if other < path or (other == path and _is_claimed_by(store, path, claim)):
                store.delete(other)


def _list_claims(store: Store) -> list[str]:
    """The claims in the order of their numbers; what else lies beside them is none."""
    return [path for path in store.list(CLAIMS) if _CLAIM.fullmatch(path)]


def _claim_output(store: Store, claim: dict[str, Any], beat_seconds: float) -> str:
    """Create the claim that holds the output; returns its path."""
    watched: tuple[str, bytes] | None = None
    still_since = 0.0
    while True:
        claims = _list_claims(store)
        number = int(claims[-1].rpartition("/")[2].removesuffix(".json")) if claims else 0
        if claims:
            try:
                content = store.read_bytes(claims[-1], MAX_CLAIM_BYTES)
            except FileNotFoundError:
                continue  # it has just ended
            holder = _parse(content)
            alive = _is_alive_here(holder)
            if alive or (watched is not None and watched != (claims[-1], content)):
                raise _refuse(store, holder)
            if alive is None:
                if watched is None:
                    watched, still_since = (claims[-1], content), time.monotonic()
                if time.monotonic() - still_since < MISSED_BEATS * beat_seconds:
                    time.sleep(beat_seconds / 4)
                    continue
        path = f"{CLAIMS}/{number + 1:06d}.json"
        if not _CLAIM.fullmatch(path):
            raise ConfigError(
                "no number is left for another claim to this output",
                path=store.locate(claims[-1]),
                expected="a number that drivers have counted up to",
                found=str(number),
                action=f"delete {CLAIMS} while no driver is at work, and see who may write into this bucket",
            )
        if store.create(path, json.dumps(claim).encode()) and _list_claims(store)[-1:] == [path]:
            return path


def _beat(
    store: Store, path: str, claim: dict[str, Any], lease: Lease, ended: threading.Event, beat_seconds: float
) -> None:
    beat = 0
    while not ended.wait(beat_seconds):
        beat += 1
        # A store that does not answer is tried again at the next beat; it fails the units themselves soon enough.
        with contextlib.suppress(TransientStorageError, ConfigError):
            if _list_claims(store)[-1:] > [path] or not _is_claimed_by(store, path, claim):
                lease.lose()
                return
            store.write_bytes(path, json.dumps({**claim, "beat": beat}).encode())


def _is_claimed_by(store: Store, path: str, claim: dict[str, Any]) -> bool:
    """Whether a claim is a driver's; one that was deleted with all of `work/` is nobody else's."""
    try:
        return bool(_parse(store.read_bytes(path, MAX_CLAIM_BYTES)).get("driver") == claim["driver"])
    except FileNotFoundError:
        return True


def _describe_process() -> dict[str, Any]:
    """This process, so that another one on the same machine can tell whether it lives."""
    return {
        "host": socket.gethostname(),
        "boot": _read_text("/proc/sys/kernel/random/boot_id"),
        # Containers share the kernel's boot, and maybe a host name, but each numbers its own processes.
        "pid_namespace": _read_link("/proc/self/ns/pid"),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def _is_alive_here(holder: dict[str, Any]) -> bool | None:
    """Whether the holder lives; `None` where this machine cannot know."""
    here = _describe_process()
    if any(not here[name] or holder.get(name) != here[name] for name in ("host", "boot", "pid_namespace")):
        return None
    pid = holder.get("pid")
    # A number given to a new process is told from the old one by its start.
    return isinstance(pid, int) and _started(pid) is not None and _started(pid) == holder.get("started")


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; `None` if there is none, or only its zombie."""
    stat = _read_text(f"/proc/{pid}/stat")
    if stat is None:
        return None
    fields = stat.rpartition(")")[2].split()  # from field 3 on; the program's name before it may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


def _read_text(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None


def _read_link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _parse(content: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
