"""One contract for every engine: the same results and receipts, retries, deaths of workers and of the driver."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maskmill.pipeline.engine import worker_processes
from maskmill.pipeline.engine.answers import WorkerTraceback
from maskmill.pipeline.engine.local_engine import LocalEngine
from maskmill.pipeline.engine.receipts import Receipts, _seal, receipt_path
from maskmill.pipeline.engine.serve_units import serve_units
from maskmill.pipeline.engine.stage import Engine, run_stage
from maskmill.pipeline.engine.units import Finished
from maskmill.pipeline.storage import failures
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import (
    ConfigError,
    InputDataError,
    ShardCorruptError,
    StaleArtifactError,
    TransientStorageError,
)
from tests.engine import units
from tests.engine.units import Noted, Square, count
from tests.servers.processes import (
    command_line,
    descendants,
    is_running,
    listening_addresses,
    start_python,
    stop_process,
    wait_until,
)

KINDS = ["local-1", "local-2", "ray-2"]


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine in turn; Ray is started once."""
    kind, _, workers = request.param.partition("-")
    if kind == "local":
        yield LocalEngine(int(workers))
        return
    pytest.importorskip("ray")
    from maskmill.pipeline.engine.ray_engine import RayEngine

    ray_engine = RayEngine(int(workers))
    yield ray_engine
    ray_engine.close()


@pytest.fixture
def output(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "out"))


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


def squares(num: int) -> list[Square]:
    return [Square(stage="square", unit=number, number=number) for number in range(num)]


def run(engine: Engine, function: Any, log: str, output: Store, pending: list[Square]) -> list[Any]:
    events: list[Any] = []
    run_stage(engine, units.stage_of(function), log, output, pending, events.append)
    return events


def test_results_and_receipts_are_the_same_on_every_engine(engine: Engine, output: Store, log: str) -> None:
    pending = squares(10)
    events = run(engine, units.square, log, output, pending)
    receipts = list(Receipts(output, pending, Noted))
    assert [receipt.counts for receipt in receipts] == [{"square": number**2} for number in range(10)]
    assert [(receipt.stage, receipt.unit) for receipt in receipts] == [("square", number) for number in range(10)]
    assert [receipt.description for receipt in receipts] == [unit.digest() for unit in pending]
    assert output.list() == [f"work/receipts/square/{number:06d}.json" for number in range(10)]
    assert [event.event for event in events] == ["stage_started", *["unit_done"] * 10, "stage_done"]
    assert sorted(event.unit for event in events[1:-1]) == list(range(10))
    assert (events[0].units, events[0].reused, events[-1].ran, events[-1].retries) == (10, 0, 10, 0)
    pids = {receipt.details.pid for receipt in receipts}
    assert (pids == {os.getpid()}) is engine.shares_memory


def test_an_engine_that_starts_here_listens_on_loopback_alone(engine: Engine, output: Store, log: str) -> None:
    run(engine, units.square, log, output, squares(4))  # so that Ray's workers listen too
    is_ray = not isinstance(engine, LocalEngine)
    ours = {os.getpid(), *descendants(os.getpid())}
    assert listening_addresses(ours) - {"127.0.0.1", "::1"} == set()
    assert not is_ray or listening_addresses(ours)


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.7"])
def test_only_the_ray_that_starts_here_takes_the_loopback_address(
    address: str, recwarn: pytest.WarningsRecorder
) -> None:
    pytest.importorskip("ray")
    from maskmill.pipeline.engine.ray_engine import _started_on_loopback

    constants = SimpleNamespace(ENABLE_RAY_CLUSTER=True)
    ray = SimpleNamespace(
        _private=SimpleNamespace(ray_constants=constants), nodes=lambda: [{"NodeManagerAddress": address}]
    )
    with _started_on_loopback(ray):
        assert not constants.ENABLE_RAY_CLUSTER
    assert constants.ENABLE_RAY_CLUSTER
    assert ["192.0.2.7" in str(warning.message) for warning in recwarn] == [True] * (address != "127.0.0.1")


@pytest.mark.parametrize("kind", [Exception, RuntimeError, ConnectionError])
def test_a_ray_that_does_not_start_is_an_error_of_ours(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whichever kind Ray raises: where a node takes more than 30 s, on a machine that is busy, it is a plain one."""
    ray = pytest.importorskip("ray")
    from maskmill.pipeline.engine.ray_engine import RayEngine

    def fail(**_: Any) -> None:
        raise kind("The current node timed out during startup.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ConfigError, match="Ray does not start here") as caught:
        RayEngine(1)
    assert "timed out during startup" in str(caught.value.found)
    assert "local" in str(caught.value.action)


def test_a_restart_runs_only_what_has_no_receipt(engine: Engine, output: Store, log: str) -> None:
    pending = squares(6)
    run(engine, units.square, log, output, pending)
    output.delete(receipt_path("square", 1))
    output.delete(receipt_path("square", 4))
    output.write_bytes("work/receipts/square/notes.txt", b"not a receipt")
    events = run(engine, units.square, log, output, pending)
    assert [count(log, f"unit-{number}") for number in range(6)] == [1, 2, 1, 1, 2, 1]
    assert (events[0].reused, events[-1].ran) == (4, 2)
    events = run(engine, units.square, log, output, pending)
    assert [event.event for event in events] == ["stage_started", "stage_done"]
    assert len(list(Receipts(output, pending, Noted))) == 6


def test_a_passing_failure_is_tried_again_within_its_unit(engine: Engine, output: Store, log: str) -> None:
    events = run(engine, units.stumble_twice, log, output, squares(4))
    assert [count(log, f"unit-{number}") for number in range(4)] == [1, 1, 3, 1]
    assert events[-1].retries == 2
    with pytest.raises(TransientStorageError, match="not now"):
        run(engine, units.stumble_always, log, open_store(f"{output.url}-2"), squares(1))
    assert count(log, "unit-0") == 1 + 3


def test_a_panic_of_a_library_is_reported_as_what_it_is(engine: Engine, output: Store, log: str) -> None:
    with pytest.raises(ConfigError, match=r"unit 0 of stage square.*panic: chunk size must be non-zero") as caught:
        run(engine, units.panic, log, output, squares(1))
    assert caught.value.path == output.display_url
    assert count(log, "unit-0") == 1  # it is not tried again
    assert output.list() == []


def test_any_other_error_ends_the_stage_with_its_class_and_fields(engine: Engine, output: Store, log: str) -> None:
    with pytest.raises(InputDataError) as caught:
        run(engine, units.fail, log, output, squares(100))
    error = caught.value
    fields = (error.what, error.path, error.place, error.expected, error.found, error.action)
    assert fields == ("bad text", "a.jsonl", "line 7", "JSON", "{", "fix")
    if not engine.shares_memory:
        assert isinstance(error.__cause__, WorkerTraceback)
        assert "in fail" in str(error.__cause__)
    started = [number for number in range(100) if count(log, f"unit-{number}")]
    assert len(started) < 20
    time.sleep(0.5)
    assert [number for number in range(100) if count(log, f"unit-{number}")] == started  # none starts later
    assert count(log, "unit-2") == 1


@pytest.mark.long
def test_a_long_unit_reports_its_progress_about_once_a_second(engine: Engine, output: Store, log: str) -> None:
    events = run(engine, units.report_its_progress, log, output, squares(2))
    reported = [(event.unit, event.share) for event in events if event.event == "unit_progress"]
    if isinstance(engine, LocalEngine):
        assert {unit for unit, _ in reported} == {0, 1}
        assert all(share in [step / 8 for step in range(1, 8)] for _, share in reported)
        assert reported.count((0, 1.0)) == 0
        assert 2 <= len(reported) <= 6
    events = [event for event in events if event.event != "unit_progress"]
    assert [event.event for event in events] == ["stage_started", "unit_done", "unit_done", "stage_done"]


def test_an_error_that_cannot_travel_is_told_all_the_same(engine: Engine, output: Store, log: str) -> None:
    expected = (units.UnportableError, RuntimeError)
    with pytest.raises(expected, match="about text"):
        run(engine, units.fail_unportably, log, output, squares(1))
    assert count(log, "unit-0") == 1
    with pytest.raises((ValueError, RuntimeError), match="valid integer"):
        run(engine, units.fail_validation, log, output, squares(1))


def test_a_listener_that_stops_the_stage_ends_the_units_at_work(engine: Engine, output: Store, log: str) -> None:
    def stop(_: Finished) -> None:
        raise InputDataError("too much is bad")

    pending = [unit for unit in squares(60) if unit.number != 2]
    with pytest.raises(InputDataError) as held:  # held on to, as a caller does that prints it
        run_stage(engine, units.stage_of(units.fail), log, output, pending, lambda _: None, lambda _: stop)
    started = sum(bool(count(log, f"unit-{number}")) for number in range(60))
    assert started < 20
    time.sleep(0.5)
    assert sum(bool(count(log, f"unit-{number}")) for number in range(60)) == started
    assert str(held.value) == "too much is bad"


def test_units_are_taken_from_a_generator_a_bounded_number_ahead(engine: Engine, output: Store, log: str) -> None:
    taken = 0

    def generate() -> Iterator[Square]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield Square(stage="square", unit=number, number=number)

    with contextlib.closing(engine.run(units.square, log, output, generate())) as running:  # type: ignore[type-var]
        for finished, _ in enumerate(itertools.islice(running, 50), start=1):
            assert taken - finished <= 6
    time.sleep(0.3)
    started = sum(bool(count(log, f"unit-{number}")) for number in range(100))
    assert 50 <= started <= 56


def test_memory_is_refused_where_units_run_in_other_processes(engine: Engine, log: str) -> None:
    output = open_store(f"memory://{uuid.uuid4().hex}")
    if engine.shares_memory:
        run(engine, units.square, log, output, squares(2))
        assert len(list(Receipts(output, squares(2), Noted))) == 2
        return
    with pytest.raises(ConfigError, match="memory://"):
        run(engine, units.square, log, output, squares(2))
    assert count(log, "unit-0") == 0


def test_no_units_is_nothing_to_do(engine: Engine, output: Store, log: str) -> None:
    assert run(engine, units.square, log, output, []) == []
    assert list(engine.run(units.square, log, output, [])) == []


def test_a_killed_worker_costs_only_its_own_unit_another_run(engine: Engine, output: Store, log: str) -> None:
    if engine.shares_memory:
        pytest.skip("its worker is the driver")
    pending = squares(6)
    run(engine, units.die_once, log, output, pending)
    assert [count(log, f"unit-{number}") for number in range(6)] == [1, 1, 2, 1, 1, 1]
    assert [receipt.counts["square"] for receipt in Receipts(output, pending, Noted)] == [0, 1, 4, 9, 16, 25]


def test_a_unit_that_kills_its_worker_every_time_is_named(engine: Engine, output: Store, log: str) -> None:
    if engine.shares_memory:
        pytest.skip("its worker is the driver")
    with pytest.raises(ConfigError, match="unit 2 of stage square died 3 times"):
        run(engine, units.die_always, log, output, squares(4))
    assert count(log, "unit-2") == 3


@pytest.mark.long
@pytest.mark.parametrize(
    ("function", "found", "advice"),
    [
        ("die_always", "SIGKILL", "most likely memory ran out"),
        ("crash_always", "SIGSEGV ended it (Segmentation fault)", "compiled code crashed"),
        ("abort_always", "SIGABRT", "compiled code crashed"),
        ("terminate_always", "SIGTERM", "outside maskmill"),
        ("leave_always", "exit status 7", "standard error"),
    ],
)
def test_how_a_worker_ended_is_said_and_only_sigkill_suggests_memory(
    output: Store, log: str, function: str, found: str, advice: str
) -> None:
    with contextlib.closing(LocalEngine(2)) as engine, pytest.raises(ConfigError, match="died 3 times") as caught:
        run(engine, getattr(units, function), log, output, squares(3))
    assert found in str(caught.value.found)
    assert advice in str(caught.value.action)
    assert ("memory" in str(caught.value)) == (function == "die_always")


def test_receipts_that_are_gone_broken_or_anothers_are_refused(output: Store, log: str, tmp_path: Path) -> None:
    pending = squares(2)
    run(LocalEngine(1), units.square, log, output, pending)
    other = [pending[0], Square(stage="square", unit=1, number=7)]
    with pytest.raises(StaleArtifactError, match="another description"):
        list(Receipts(output, other, Noted))
    output.write_bytes(receipt_path("square", 1), b"{")
    with pytest.raises(ShardCorruptError, match="000001"):
        list(Receipts(output, pending, Noted))
    output.write_bytes(receipt_path("square", 1), _seal(b'{"stage":"square","unit":-1,"description":"x"}'))
    with pytest.raises(ShardCorruptError, match=r"000001.*found unit: Input should be greater") as caught:
        list(Receipts(output, pending, Noted))
    assert "pydantic" not in str(caught.value)
    with open(f"{output.root}/{receipt_path('square', 1)}", "wb") as file:
        file.truncate(1 << 40)  # no bytes on the disk
    with pytest.raises(ConfigError, match=r"000001.*too large"):
        list(Receipts(output, pending, Noted))
    output.delete(receipt_path("square", 1))
    with pytest.raises(StaleArtifactError, match="gone"):
        list(Receipts(output, pending, Noted))


@pytest.mark.long
def test_receipts_on_s3_come_in_order_and_a_bounded_number_ahead(moto_url: str, log: str) -> None:
    output = open_store(moto_url)
    pending = squares(70)
    run(LocalEngine(1), units.square, log, output, pending)
    assert [receipt.unit for receipt in Receipts(output, pending, Noted)] == list(range(70))
    output.delete(receipt_path("square", 40))
    reading = iter(Receipts(output, pending, Noted))
    assert [receipt.unit for receipt in itertools.islice(reading, 40)] == list(range(40))
    with pytest.raises(StaleArtifactError, match="000040"):
        next(reading)


# On its driver's SIGKILL the kernel kills what Ray started; two agents of its raylet, which write nothing of ours,
# first try for a minute to report that to the dead cluster.
RAY_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("2", signal.SIGKILL),
        ("2", signal.SIGINT),
        ("2", signal.SIGTERM),
        ("ahead-2", signal.SIGKILL),
        ("ahead-2", signal.SIGINT),
        pytest.param("ray", signal.SIGKILL, marks=pytest.mark.long),
        pytest.param("ray", signal.SIGINT, marks=pytest.mark.long),
    ],
)
def test_workers_end_with_their_driver(kind: str, how: signal.Signals, output: Store, log: str) -> None:
    driver = start_python(
        "-m", "tests.engine.drive", kind, output.url, log, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    below: list[int] = []
    try:
        wait_until(lambda: count(log, "alive-0") and count(log, "alive-1"), "units at work", 60)
        below = descendants(driver.pid)
        matter = [pid for pid in below if command_line(pid).split(" ")[0] not in RAY_AGENTS]
        assert len(matter) >= (4 if kind == "ray" else 2)
        os.kill(driver.pid, how)
        began = time.monotonic()
        driver.wait(timeout=20)
        wait_until(lambda: not any(is_running(pid) for pid in matter), f"{matter} end", 20)
        assert time.monotonic() - began < (3.0 if kind != "ray" or how == signal.SIGKILL else 15.0)
        at_work = [count(log, f"alive-{number}") for number in range(4)]
        time.sleep(0.4)
        assert [count(log, f"alive-{number}") for number in range(4)] == at_work
        assert driver.returncode != 0
    finally:
        stop_process(driver)
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["1", "2", pytest.param("ray", marks=pytest.mark.long)])
def test_a_plain_program_runs_units_quietly_offline_and_leaves_nothing(kind: str, output: Store, log: str) -> None:
    driver = start_python(
        "-m", "tests.engine.drive", kind, output.url, log, "square", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    began = time.monotonic()
    printed, noise = driver.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert (driver.returncode, printed, noise) == (0, b"done\n", b"")
    assert len(list(Receipts(output, squares(4), Noted))) == 4


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "FIRST_DELAY_SECONDS", 0.01)


def test_the_place_of_a_dead_worker_that_was_forked_ahead_is_taken(output: Store, log: str) -> None:
    driver = start_python("-m", "tests.engine.drive", "ahead-2", output.url, log, "die_once", stdout=subprocess.PIPE)
    said, _ = driver.communicate(timeout=60)
    assert said == b"done\n"
    assert [count(log, f"unit-{number}") for number in range(4)] == [1, 1, 2, 1]


def test_a_process_with_threads_is_not_forked() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        worker_processes.fork_ahead(serve_units, 2)
        assert worker_processes.take_ahead() == []
    finally:
        stop.set()
        thread.join()


def test_new_workers_import_nothing_from_the_working_folder(
    output: Store, log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("importlib", "json", "multiprocessing", "types"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    engine = LocalEngine(2)
    try:
        run(engine, units.square, log, output, squares(4))
    finally:
        engine.close()
    assert len(list(Receipts(output, squares(4), Noted))) == 4


def test_workers_forked_ahead_end_with_their_driver_while_one_of_them_is_stopped(output: Store, log: str) -> None:
    driver = start_python("-m", "tests.engine.drive", "ahead-2", output.url, log)
    below: list[int] = []
    try:
        wait_until(lambda: count(log, "alive-0") and count(log, "alive-1"), "units at work", 60)
        first, last = sorted(descendants(driver.pid))
        below = [first, last]
        os.kill(last, signal.SIGSTOP)  # forked later, so it holds what the first one was given by the driver
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait(timeout=20)
        wait_until(lambda: not is_running(first), "the end of the first worker", 10)
    finally:
        stop_process(driver)
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
