"""One driver for an output: a second is refused, and follows when the first has died."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskmill.pipeline.storage.backends.claims import CLAIMS, MISSED_BEATS
from maskmill.pipeline.storage.backends.holder import MAX_HOLDER_BYTES
from maskmill.pipeline.storage.backends.lock_file import LOCK
from maskmill.pipeline.storage.leases import hold_output
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError, StaleArtifactError
from tests.servers.processes import start_python, stop_process

BEAT = 0.3


class Driver:
    """A real process that holds an output."""

    def __init__(self, url: str, hold_seconds: float) -> None:
        arguments = ("-m", "tests.storage.drive", url, str(BEAT), str(hold_seconds))
        self.process = start_python(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.is_ready = False

    def wait_until_ready(self) -> None:
        if not self.is_ready:
            assert self.read() == "ready"
            self.is_ready = True

    def go(self) -> None:
        self.wait_until_ready()
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().partition(" ")[2].strip()

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(params=["local", "moto"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "local" else str(request.getfixturevalue("moto_url"))


@pytest.fixture
def start(url: str) -> Iterator[object]:
    started: list[Driver] = []

    def begin(hold_seconds: float = 60.0) -> Driver:
        started.append(Driver(url, hold_seconds))
        return started[-1]

    yield begin
    for driver in started:
        stop_process(driver.process)


def test_a_second_driver_is_refused_by_name_and_the_next_after_the_end_is_not(url: str, start) -> None:
    first = start(3.0)
    first.go()
    assert first.read() == "held"
    store = open_store(url)
    began = time.monotonic()
    with pytest.raises(ConfigError, match="another driver") as refused, hold_output(store, beat_seconds=BEAT):
        pass
    assert time.monotonic() - began < 2.0  # it is seen to live, not waited for
    assert f"process {first.process.pid} on {socket.gethostname()}" in str(refused.value)
    assert first.read() == "ending"
    first.process.wait()
    assert store.list() == []
    with hold_output(store, beat_seconds=BEAT) as lease:
        lease.check()
        assert len(store.list()) == 1
    assert store.list() == []
    if store.capabilities.local_paths:
        assert os.listdir(store.root) == []


def test_a_killed_driver_is_followed_at_once_where_its_lock_ends_with_it_and_else_when_its_beats_stop(
    url: str, start, caplog: pytest.LogCaptureFixture
) -> None:
    first = start()
    first.go()
    assert first.read() == "held"
    first.kill()
    store = open_store(url)
    assert len(store.list()) == 1
    waits = 0.0 if store.capabilities.local_paths else MISSED_BEATS * BEAT
    began = time.monotonic()
    with hold_output(store, beat_seconds=BEAT):
        assert waits <= time.monotonic() - began < waits + 1.5
    assert store.list() == []
    said = f"process {first.process.pid} on {socket.gethostname()} held this output; waiting up to"
    assert (said in caplog.text) == (waits > 0)


@pytest.mark.parametrize("leftover", [False, True], ids=["empty", "after a killed one"])
def test_of_drivers_started_at_once_one_holds(url: str, start, leftover: bool) -> None:
    if leftover:
        dead = start()
        dead.go()
        assert dead.read() == "held"
        dead.kill()
    drivers = [start(1.0) for _ in range(3)]
    for driver in drivers:
        driver.wait_until_ready()
    for driver in drivers:
        driver.go()
    said = [driver.read() for driver in drivers]
    assert said.count("held") == 1
    assert sum(text.startswith("refused") for text in said) == 2
    assert drivers[said.index("held")].read() == "ending"


def test_the_output_is_free_after_an_error_too(url: str) -> None:
    store = open_store(url)
    with pytest.raises(KeyboardInterrupt), hold_output(store):
        raise KeyboardInterrupt
    assert store.list() == []


def test_in_memory_one_holds_at_a_time() -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}")
    with hold_output(store):
        with pytest.raises(ConfigError, match="another driver"), hold_output(open_store(store.url)):
            pass
        with hold_output(open_store(f"memory://{uuid.uuid4().hex}")):
            pass
    with hold_output(store) as lease:
        lease.check()


def test_a_lock_file_unlinked_while_waiting_is_not_taken_for_the_lock(tmp_path: Path) -> None:
    """Ten threads take and give back the lock as fast as they can; never two hold it, and no file remains."""
    store = open_store(str(tmp_path))
    holding: list[int] = []
    most: list[int] = []
    turns: list[int] = []

    def drive(number: int) -> None:
        end = time.monotonic() + 30.0  # a slow machine takes longer for as many turns
        while len(turns) < 200 and time.monotonic() < end:
            try:
                with hold_output(store):
                    holding.append(number)
                    most.append(len(holding))
                    holding.remove(number)
                    turns.append(number)
            except ConfigError:
                continue

    threads = [threading.Thread(target=drive, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(turns) >= 200
    assert os.listdir(tmp_path) == []


def test_a_lock_on_a_file_that_its_holder_has_just_unlinked_is_not_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    real_flock, calls = fcntl.flock, []

    def flock(descriptor: int, how: int) -> None:
        if not calls:
            os.unlink(store.full(LOCK))  # the last holder ends between our opening and our locking
        calls.append(descriptor)
        real_flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold_output(store):
        assert store.exists(LOCK)
        with pytest.raises(ConfigError, match="another driver"), hold_output(open_store(str(tmp_path))):
            pass
    assert len(calls) == 3


def test_a_lock_that_another_file_has_replaced_is_left_alone(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    with hold_output(store):
        store.delete_tree("work")
        store.write_bytes(LOCK, b"a newcomer's")
    assert store.read_bytes(LOCK) == b"a newcomer's"


def claim_elsewhere(store: Store, number: int, beat: int = 0) -> None:
    elsewhere = {"driver": "d", "host": "elsewhere", "pid": 1}
    store.write_bytes(f"{CLAIMS}/{number:06d}.json", json.dumps({**elsewhere, "beat": beat}).encode())


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "device"])
def test_a_lock_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    victim, lock = tmp_path / "victim", tmp_path / "out" / LOCK
    lock.parent.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.symlink_to("/dev/zero" if kind == "device" else victim)
    if kind == "link":
        victim.write_bytes(b"of somebody else")
    said = r"work/driver\.lock: the lock file of this output is not a regular file"
    with pytest.raises(ConfigError, match=said), hold_output(open_store(str(tmp_path / "out"))):
        pass
    assert victim.exists() == (kind == "link")
    if kind == "link":
        assert victim.read_bytes() == b"of somebody else"
    assert os.path.lexists(lock)


def test_a_driver_on_another_machine_is_refused_to_while_it_beats_and_followed_when_it_stops(moto_url: str) -> None:
    store = open_store(moto_url)
    claim_elsewhere(store, 1)
    stop = threading.Event()

    def beat() -> None:
        count = 0
        while not stop.wait(BEAT):
            count += 1
            claim_elsewhere(store, 1, count)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(ConfigError, match="process 1 on elsewhere"), hold_output(store, beat_seconds=BEAT):
            pass
    finally:
        stop.set()
        beating.join()
    began = time.monotonic()
    with hold_output(store, beat_seconds=BEAT):
        assert MISSED_BEATS * BEAT <= time.monotonic() - began < 3.0
        assert store.list(CLAIMS)[-1] == f"{CLAIMS}/000002.json"
        claim = json.loads(store.read_bytes(f"{CLAIMS}/000002.json"))
        time.sleep(3 * BEAT)
        assert json.loads(store.read_bytes(f"{CLAIMS}/000002.json"))["beat"] > claim["beat"]
    assert store.list() == []


def test_what_lies_beside_the_claims_is_none(moto_url: str) -> None:
    store = open_store(moto_url)
    beside = [f"{CLAIMS}/{name}" for name in ("notes.txt", "x.json", "0000001.json", "9" * 100 + ".json")]
    for path in beside:
        store.write_bytes(path, b"[" * 100_000)
    with hold_output(store, beat_seconds=BEAT) as lease:
        assert store.exists(f"{CLAIMS}/000001.json")
        lease.check()
    assert store.list(CLAIMS) == sorted(beside)


def test_a_claim_that_cannot_be_read_is_followed(moto_url: str) -> None:
    store = open_store(moto_url)
    store.write_bytes(f"{CLAIMS}/000001.json", b"[" * MAX_HOLDER_BYTES)
    with hold_output(store, beat_seconds=0.01):
        assert store.exists(f"{CLAIMS}/000002.json")


def test_the_last_number_is_refused_by_name(moto_url: str) -> None:
    store = open_store(moto_url)
    store.write_bytes(f"{CLAIMS}/999999.json", b"{}")
    with (
        pytest.raises(ConfigError, match=r"999999\.json: no claim number is left"),
        hold_output(store, beat_seconds=0.01),
    ):
        pass


def test_a_driver_that_was_overtaken_learns_it(moto_url: str) -> None:
    store = open_store(moto_url)
    with hold_output(store, beat_seconds=BEAT) as lease:
        lease.check()
        claim_elsewhere(store, 2)
        time.sleep(4 * BEAT)
        with pytest.raises(StaleArtifactError, match="taken over"):
            lease.check()
    assert store.list() == [f"{CLAIMS}/000002.json"]


def test_a_newcomers_claim_under_the_same_number_is_left_alone(moto_url: str) -> None:
    store = open_store(moto_url)
    with hold_output(store, beat_seconds=BEAT) as lease:
        claim_elsewhere(store, 1)
        time.sleep(4 * BEAT)
        with pytest.raises(StaleArtifactError, match="taken over"):
            lease.check()
    assert json.loads(store.read_bytes(f"{CLAIMS}/000001.json"))["host"] == "elsewhere"


def test_a_driver_that_deletes_its_own_work_keeps_the_output(moto_url: str) -> None:
    store = open_store(moto_url)
    with hold_output(store, beat_seconds=BEAT) as lease:
        store.delete_tree("work")
        time.sleep(4 * BEAT)
        lease.check()
        assert len(store.list(CLAIMS)) == 1
    assert store.list() == []
