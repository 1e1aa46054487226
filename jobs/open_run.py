"""Opening a run: the record that says what it is, the lease that says who drives it, the engine that does the work."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, TypeVar

import xxhash

from pipeline.corpus.list_inputs import InputFile, digest_inputs, list_inputs
from pipeline.engine.local_engine import LocalEngine
from pipeline.engine.stage import RECEIPTS, Engine, Finished, Listener, UnitDescription, UnitFunction, run_stage
from pipeline.storage.datasets import MANIFEST
from pipeline.storage.leases import Lease, hold_output
from pipeline.storage.store import Store, open_store
from pipeline.wordpiece.train_stage import read_brought_files
from schemas.errors import ConfigError, ShardCorruptError, StaleArtifactError
from schemas.manifest import AnyManifest
from schemas.redaction import without_user_info
from schemas.run_file import RunFile
from schemas.version import SCHEMA_VERSION, check_schema_version

Unit = TypeVar("Unit", bound=UnitDescription)

RUN_RECORD = "run.json"
TIMINGS = "timings.json"
DECISIVE_LIBRARIES = ("maskmill", "pyarrow", "numpy", "tokenizers", "nanotoken", "xxhash")


@dataclass
class Run:
    """One run being driven.

    Attributes:
        settings: The run file.
        output: Where everything is written.
        inputs: The files it reads, in the order of their relative paths.
        fingerprint: Of all that decides bytes.
        brought: Files of the tokenizer that the user brought; empty where one is trained.
        listen: Hears every event.
        lease: What says that this driver still holds the output.
    """

    settings: RunFile
    output: Store
    inputs: tuple[InputFile, ...]
    fingerprint: str
    brought: dict[str, bytes]
    listen: Listener
    lease: Lease
    _engine: Engine | None = None
    _stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def shard_bytes(self) -> int:
        """Text wanted in a document shard, in bytes."""
        return int(self.settings.documents.shard_mb * (1 << 20))

    def engine(self) -> Engine:
        """The engine, started when it is first wanted: a finished run starts none."""
        if self._engine is None:
            settings = self.settings.engine
            if settings.kind == "ray":
                from pipeline.engine.ray_engine import RayEngine

                ray_engine = RayEngine(settings.workers, settings.address)
                self._engine = ray_engine
                ray_engine.probe(self.output, [file.url for file in self.inputs[:1]])
            else:
                self._engine = LocalEngine(settings.workers)
        return self._engine

    def hear(self, event: dict[str, Any]) -> None:
        """Pass an event on, and keep of it what `timings.json` says.

        Raises:
            StaleArtifactError: Another driver has taken over the output.
        """
        self.lease.check()
        if event["event"] == "stage_started":
            self._stages[event["stage"]] = {"units": event["units"], "reused": event["reused"], "text_bytes": 0}
        elif event["event"] == "unit_done":
            self._stages[event["stage"]]["text_bytes"] += event["counts"].get("text_bytes", 0)
        elif event["event"] == "stage_done":
            stage = self._stages[event["stage"]]
            stage |= {key: event[key] for key in ("ran", "seconds", "retries")}
            stage["mb_per_second"] = round(stage["text_bytes"] / 1e6 / max(event["seconds"], 1e-6), 2)
        self.listen(event)

    def run_stage(
        self,
        function: UnitFunction,
        context: Any,
        units: Sequence[Unit],
        on_finished: Callable[[Finished], None] | None = None,
    ) -> None:
        """Run the units of a stage that have no receipt of this run yet."""
        run_stage(self.engine(), function, context, self.output, units, self.hear, on_finished)

    def sign(self, units: Sequence[Unit]) -> list[Unit]:
        """The units of a stage as units of this run: no receipt of another run is taken for theirs."""
        return [unit.model_copy(update={"run": self.fingerprint}) for unit in units]

    def check_own(self, manifest: AnyManifest, path: str) -> AnyManifest:
        """A manifest that stands already, which must be this run's.

        Raises:
            StaleArtifactError: Another run wrote it.
        """
        if manifest.run_fingerprint != self.fingerprint:
            raise StaleArtifactError(
                "this part was written by another run",
                path=self.output.locate(path),
                expected=f"run fingerprint {self.fingerprint}",
                found=manifest.run_fingerprint,
                action="give another output.url, or delete this output",
            )
        return manifest

    def drop_work(self, *stages: str, folders: Sequence[str] = ()) -> None:
        """Delete what a finished part no longer needs; its manifest stands."""
        for stage in stages:
            self.output.delete_tree(f"{RECEIPTS}/{stage}")
        for folder in folders:
            self.output.delete_tree(folder)

    def close(self) -> None:
        """End the engine, if one was started."""
        if self._engine is not None:
            self._engine.close()

    def finish(self) -> dict[str, dict[str, Any]]:
        """Write the timings of this driver beside those of stages that it did not run; returns all of them."""
        timings = {name: stage for name, stage in self._stages.items() if stage.get("ran")}
        with contextlib.suppress(FileNotFoundError, ValueError):
            timings = json.loads(self.output.read_bytes(TIMINGS)) | timings
        if timings:
            self.output.write_bytes(TIMINGS, (json.dumps(timings, indent=2, sort_keys=True) + "\n").encode())
        return timings


@contextlib.contextmanager
def open_run(settings: RunFile, listen: Listener) -> Iterator[Run]:
    """Open a run as its only driver.

    Raises:
        ConfigError: Another run's or another driver's output, or an input or tokenizer is missing.
        StaleArtifactError: The inputs have changed since the run began.
    """
    output = open_store(settings.output.url)
    inputs = tuple(list_inputs(settings.input.paths))
    brought = read_brought_files(settings.tokenizer.from_) if settings.tokenizer.from_ else {}
    _refuse_inputs_in_output(inputs, output)
    record = describe_run(settings, inputs, brought)
    with hold_output(output) as lease:
        if not output.create(RUN_RECORD, (json.dumps(record, indent=2) + "\n").encode()):
            check_same_run(record, _read_record(output), output)
        output.delete_partials()
        run = Run(settings, output, inputs, record["fingerprint"], brought, listen, lease)
        started = time.perf_counter()
        try:
            yield run
            output.delete_partials()  # a worker that was killed left one, and its driver lived on
            listen({"event": "finished", "seconds": round(time.perf_counter() - started, 3)})
        finally:
            run.close()


def _refuse_inputs_in_output(inputs: Sequence[InputFile], output: Store) -> None:
    for file in inputs:
        if file.url.removeprefix("file://").startswith(f"{output.url}/"):
            raise ConfigError(
                "an input lies in the output",
                path=without_user_info(file.url),
                expected=f"inputs outside {output.display_url}",
                found="what a run writes would become its input when it goes on",
                action="give an output.url outside the folders of input.paths, or a narrower pattern",
            )


def _read_record(output: Store) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(output.read_bytes(RUN_RECORD))
        check_schema_version(record["schema_version"], output.locate(RUN_RECORD))
        missing = {"fingerprint", "decisive", "versions"} - record.keys()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        missing = {f"{type(error).__name__}: {error}"}
    if missing:
        raise ShardCorruptError(
            "the record of the run is damaged",
            path=output.locate(RUN_RECORD),
            expected="the run's settings as JSON",
            found=f"without {', '.join(sorted(missing))}",
            action="restore it, or give another output.url",
        )
    return record


def describe_run(settings: RunFile, inputs: Sequence[InputFile], brought: Mapping[str, bytes]) -> dict[str, Any]:
    """What `run.json` says.

    The fingerprint holds neither where the corpus nor where the output lies, so that a run elsewhere over the same
    files gives the same bytes.
    """
    run = settings.fingerprinted()
    decisive = json.loads(json.dumps(run))
    decisive["input"].pop("paths")
    decisive["input"]["files"] = digest_inputs(inputs)
    brought_digest = xxhash.xxh3_128_hexdigest(b"".join(brought.values())) if brought else None
    decisive["tokenizer"]["from"] = brought_digest
    return {
        "schema_version": SCHEMA_VERSION,
        "fingerprint": xxhash.xxh3_128_hexdigest(json.dumps(decisive, sort_keys=True).encode()),
        "decisive": decisive,
        "input_paths": run["input"]["paths"],
        "input_files": len(inputs),
        "input_bytes": sum(file.size_bytes for file in inputs),
        "versions": {name: _version(name) for name in (*DECISIVE_LIBRARIES, "ray")},
    }


def check_same_run(ours: Mapping[str, Any], theirs: Mapping[str, Any], output: Store) -> None:
    """Refuse an output that holds another run, naming the keys that differ.

    Raises:
        ConfigError: The settings differ.
        StaleArtifactError: Only the inputs differ, or what is left to do would be done by other libraries.
    """
    path = output.locate(RUN_RECORD)
    if ours["fingerprint"] == theirs["fingerprint"]:
        _check_unfinished(ours, theirs, output)
        return
    differing = [
        (f"{section}.{key}", value, theirs["decisive"].get(section, {}).get(key))
        for section, values in ours["decisive"].items()
        for key, value in values.items()
        if theirs["decisive"].get(section, {}).get(key) != value
    ]
    if [key for key, _, _ in differing] == ["input.files"]:
        raise StaleArtifactError(
            "the input files have changed since this run began",
            path=path,
            expected=f"{theirs['input_files']} files of {theirs['input_bytes']} bytes",
            found=f"{ours['input_files']} files of {ours['input_bytes']} bytes",
            action="restore the inputs, or give another output.url",
        )
    raise ConfigError(
        f"the output holds another run; {', '.join(key for key, _, _ in differing)} differ",
        path=path,
        expected=", ".join(f"{key} = {value!r}" for key, _, value in differing),
        found=", ".join(f"{key} = {value!r}" for key, value, _ in differing),
        action="give another output.url, or delete this output",
    )


def _check_unfinished(ours: Mapping[str, Any], theirs: Mapping[str, Any], output: Store) -> None:
    """What is left to do must be done by the libraries that began it; once all is done they may change."""
    path = output.locate(RUN_RECORD)
    if not output.exists(f"packed/{MANIFEST}"):
        theirs_of = {name: theirs["versions"].get(name) for name in DECISIVE_LIBRARIES}
        differing = [name for name in DECISIVE_LIBRARIES if ours["versions"][name] != theirs_of[name]]
        if differing:
            raise StaleArtifactError(
                f"this run was begun with another {', '.join(differing)}",
                path=path,
                expected=", ".join(f"{name} {theirs_of[name]}" for name in differing),
                found=", ".join(f"{name} {ours['versions'][name]}" for name in differing),
                action="finish it with the libraries that began it, or give another output.url",
            )


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"
