"""The Ray engine: units as Ray tasks, on a cluster or on one started here. The only module that imports Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import uuid
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

from maskmill.pipeline.engine.answers import Failed, answer_unit, take_answer
from maskmill.pipeline.engine.keep_freed_memory import keep_freed_memory
from maskmill.pipeline.engine.stage import OnProgress, ignore_progress
from maskmill.pipeline.engine.units import Finished, UnitDescription, UnitFunction
from maskmill.pipeline.standard_error import guard_worker
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.printable import make_printable

UNITS_IN_FLIGHT_PER_CORE = 2
MAX_DEATHS = 3
PROBE_SECONDS = 120.0
END_SECONDS = 1.0
PROBE_END_SECONDS = 10.0
CANCEL_SECONDS = 10.0
RECOUNT_SECONDS = 1.0
_LOOPBACK = ("127.0.0.1", "::1")

# Ray reads these when it is imported, and what it starts inherits them: nothing is sent anywhere, nothing listens
# for it, and a task that memory killed is not tried for ever, which is Ray's default.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_DISABLE_DOCKER_CPU_WARNING": "1",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_task_oom_retries": str(MAX_DEATHS - 1),
}


class RayEngine:
    """Runs units on Ray. If this process has already joined a cluster, that one is used and left running.

    Args:
        workers: Cores to use where Ray is started here, 0 for every core; on a cluster that is joined or was joined
            before, the most units at a time, 0 for two for every core.
        address: A running cluster's address; empty, and no `RAY_ADDRESS`, starts one on this machine.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers at the address.
    """

    def __init__(self, workers: int = 0, address: str = "") -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError as error:
            raise ConfigError(
                "Ray is not installed",
                path="engine.kind",
                action='pip install "maskmill[prepare]", or set engine.kind = "local"',
            ) from error
        self._ray = ray
        self._max_in_flight = 0
        self._is_ours = not ray.is_initialized()
        if not self._is_ours:
            self._max_in_flight = workers
            return
        address = address or os.environ.get("RAY_ADDRESS", "")
        try:
            if address:
                self._max_in_flight = workers
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            else:
                # "local" because without an address Ray would join whatever cluster it finds on this machine.
                with _started_on_loopback(ray):
                    ray.init(
                        address="local",
                        num_cpus=workers or len(os.sched_getaffinity(0)),
                        include_dashboard=False,
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                    )
        except Exception as error:  # a plain one where a node takes more than 30 s to start
            raise ConfigError(
                "no Ray cluster answers" if address else "Ray does not start here",
                path="engine.address",
                found=f"{address}: {error}" if address else str(error),
                action="check the address"
                if address
                else 'run again when this machine has less to do, or set engine.kind = "local"',
            ) from error

    @property
    def shares_memory(self) -> bool:
        """Ray's workers are other processes."""
        return False

    def run(
        self,
        function: UnitFunction,
        context: Any,
        output: Store,
        units: Iterable[UnitDescription],
        on_progress: OnProgress = ignore_progress,  # noqa: ARG002  # a task reports nothing before its end
    ) -> Generator[Finished, None, None]:
        """Run the units; see `Engine.run`.

        Raises:
            ConfigError: A unit's worker or node died three times, or Ray cannot run it.
        """
        ray = self._ray
        shared = ray.put((function, context, output))
        waiting = iter(units)
        in_flight: dict[Any, UnitDescription] = {}
        task = ray.remote(max_retries=MAX_DEATHS - 1, scheduling_strategy="SPREAD")(_answer_shared)
        limit, counted = self._count_in_flight(), time.monotonic()
        try:
            while True:
                if time.monotonic() - counted > RECOUNT_SECONDS:  # nodes come and go
                    limit, counted = self._count_in_flight(), time.monotonic()
                while len(in_flight) < limit and (unit := next(waiting, None)) is not None:
                    name = f"{unit.stage}-{unit.unit}"  # as Ray's dashboard and state API show it
                    in_flight[task.options(name=name).remote(shared, unit)] = unit
                if not in_flight:
                    return
                (ready,), _ = ray.wait(list(in_flight), num_returns=1)
                yield self._take(ready, in_flight.pop(ready))
        finally:
            self._end(list(in_flight), END_SECONDS)

    def _count_in_flight(self) -> int:
        cores = int(self._ray.cluster_resources().get("CPU", 0))
        limit = max(1, cores) * UNITS_IN_FLIGHT_PER_CORE
        return min(limit, self._max_in_flight) if self._max_in_flight else limit

    def _take(self, reference: Any, unit: UnitDescription) -> Finished:
        exceptions = self._ray.exceptions
        try:
            answer: Finished | Failed = self._ray.get(reference)
        except (exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError) as error:
            ran_out = isinstance(error, exceptions.OutOfMemoryError)
            raise ConfigError(
                f"the worker of unit {unit.unit} of stage {unit.stage} died {MAX_DEATHS} times",
                path="engine.kind",
                found=str(error).partition("\n")[0],
                action="its node ran out of memory: lower documents.shard_mb, or let fewer units run on a node"
                if ran_out
                else "the logs of Ray's workers on their nodes say why; where nothing does, the system may have killed "
                "them for memory: lower documents.shard_mb",
            ) from error
        except exceptions.RayError as error:
            raise ConfigError(
                f"Ray cannot run unit {unit.unit} of stage {unit.stage}",
                path="engine.kind",
                found=_last_line(error),
                action="check that every node has the same code and packages",
            ) from error
        return take_answer(answer)

    def _end(self, references: list[Any], patience_seconds: float) -> None:
        """Wait for tasks, then cancel those that go on: until they have ended they may still write.

        Cancelling one in the instant in which its answer arrives makes Ray abort the driver, message and all (its
        CancelTask races with the callback of PushNormalTask, up to 2.60 at least); so none that is about to end.
        """
        if not references:
            return
        _, running = self._ray.wait(references, num_returns=len(references), timeout=patience_seconds)
        for reference in running:
            self._ray.cancel(reference, force=True)
        if running:
            self._ray.wait(running, num_returns=len(running), timeout=CANCEL_SECONDS)

    def probe(self, output: Store, input_urls: Sequence[str]) -> None:
        """On several nodes: write and read at the output, and read an input, from each of them.

        Raises:
            ConfigError: A node sees another file system, or nothing; it is named.
        """
        ray = self._ray
        nodes = [node for node in ray.nodes() if node["Alive"]]
        if len(nodes) < 2:  # this one alone
            return
        folder = f"work/probe-{uuid.uuid4().hex}"
        output.write_bytes(f"{folder}/driver", folder.encode())
        task = ray.remote(max_retries=0, num_cpus=0)(_probe_node)
        answers: list[tuple[dict[str, Any], str, Any]] = []
        try:
            for node in nodes:
                if node["Resources"].get("CPU"):
                    only_there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                        node["NodeID"], soft=False
                    )
                    mark = f"{folder}/{node['NodeID']}"
                    reference = task.options(name="probe", scheduling_strategy=only_there).remote(
                        output, folder, mark, list(input_urls[:1])
                    )
                    answers.append((node, mark, reference))
            for node, mark, reference in answers:
                self._check_probe(node, output, mark, reference)
        finally:
            self._end([reference for _, _, reference in answers], PROBE_END_SECONDS)
            output.delete_tree(folder)

    def _check_probe(self, node: dict[str, Any], output: Store, mark: str, reference: Any) -> None:
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"
        try:
            problem: tuple[str, str] | None = self._ray.get(reference, timeout=PROBE_SECONDS)
        except self._ray.exceptions.RayError as error:
            problem = (output.display_url, _last_line(error))
        if problem is None and not output.exists(mark):
            problem = (output.display_url, "the driver does not see what this node writes")
        if problem is not None:
            raise ConfigError(
                f"node {name} cannot do its work",
                path=problem[0],
                expected="inputs and output that every node sees",
                found=problem[1],
                action="use an object store or a mount that all nodes share, with the same access on each",
            )

    def close(self) -> None:
        """Leave the cluster; one that was started here is shut down."""
        if self._is_ours:
            self._ray.shutdown()


@contextlib.contextmanager
def _started_on_loopback(ray: Any) -> Iterator[None]:
    """Let the Ray that starts in this block listen on loopback alone, and warn where it does not.

    Ray takes a node's address from the machine's route to the internet, and resolves "127.0.0.1" to that address too.
    Only where clusters are off, as on macOS and Windows, is the address the loopback one, and every server of Ray then
    listens there. Ray reads `RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER` for this once, when it is imported, and a program that
    joins a cluster later must have another address; so it is changed here, where Ray is started, and put back.
    """
    constants = ray._private.ray_constants  # noqa: SLF001  # it has no public name
    joins_clusters = getattr(constants, "ENABLE_RAY_CLUSTER", None)
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = joins_clusters
    address = ray.nodes()[0]["NodeManagerAddress"]
    if address not in _LOOPBACK:
        what = (
            f"this version of Ray cannot be bound to loopback: it listens on {address} and maybe on every interface; "
        )
        action = 'close its ports to other machines, or set engine.kind = "local"'
        warnings.warn(make_printable(what + action), stacklevel=2)


def _answer_shared(shared: tuple[UnitFunction, Any, Store], unit: UnitDescription) -> Finished | Failed:
    guard_worker()
    keep_freed_memory()
    function, context, output = shared
    return answer_unit(function, context, output, unit)


def _probe_node(output: Store, folder: str, mark: str, input_urls: list[str]) -> tuple[str, str] | None:
    """The problem on this node: (URL, why); `None` if there is none."""
    guard_worker()
    url = output.display_url
    try:
        if output.read_bytes(f"{folder}/driver") != folder.encode():
            return url, "another file where the driver's is"
        output.write_bytes(mark, b"")
        for input_url in input_urls:
            parent, _, name = input_url.rpartition("/")
            source = Store(parent or "/")
            url = source.locate(name)
            source.read_range(name, 0, 1)
    except FileNotFoundError:
        return url, "the driver's file is not there" if url == output.display_url else "the file does not exist"
    except Exception as error:  # noqa: BLE001  # the driver names the node with it
        return url, str(error)
    return None


def _last_line(error: Exception) -> str:
    """The message of a remote error without the worker's traceback, which Ray puts before it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
