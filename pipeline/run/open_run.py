"""Open a run: its record, the lease of its only driver, and the engine that does the work."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fsspec.registry import known_implementations
from pydantic import BaseModel, ValidationError

from maskmill.pipeline.corpus.filters.check_filters import check_filters
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.input_files import InputFiles
from maskmill.pipeline.corpus.list_inputs import InputTable, list_tables
from maskmill.pipeline.corpus.plan import plan_shard_bytes
from maskmill.pipeline.corpus.read_evaluation import EvaluationFiles, list_evaluation
from maskmill.pipeline.engine.ray_job import refuse_lost_output
from maskmill.pipeline.engine.receipts import Receipts
from maskmill.pipeline.engine.stage import Context, Engine, Stage, Watch, run_stage
from maskmill.pipeline.engine.units import Unit, UnitSequence
from maskmill.pipeline.packing.words.segmenters import load_segmenter
from maskmill.pipeline.run.claim_output import claim_output
from maskmill.pipeline.run.describe_run import describe_run
from maskmill.pipeline.run.parts import Names, Part, is_of_run
from maskmill.pipeline.run.rare_weights import weigh_by_tokenizer
from maskmill.pipeline.run.stages import name_stage
from maskmill.pipeline.run.start_engine import start_engine
from maskmill.pipeline.storage.datasets import MANIFEST
from maskmill.pipeline.storage.leases import Lease, hold_output
from maskmill.pipeline.storage.paths import split_url
from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.wordpiece.counting.count_stage import normalisation_of
from maskmill.pipeline.wordpiece.files.brought_files import read_brought_files
from maskmill.schemas.bounded_json import parse_json
from maskmill.schemas.errors import ConfigError, ShardCorruptError, StaleArtifactError
from maskmill.schemas.events import Noted, RunEvent, RunFinished, RunListener, StageDone, StageStarted, UnitDone, Warned
from maskmill.schemas.layout import RECEIPTS, TIMINGS, DataSplit, tokenizer_folder
from maskmill.schemas.manifest import AnyManifest
from maskmill.schemas.masking import Masking
from maskmill.schemas.receipt import AnyDetails
from maskmill.schemas.redaction import redact
from maskmill.schemas.run_file import RunFile

Counts = TypeVar("Counts", bound=BaseModel)


@dataclass
class Run:
    """A run that this process drives.

    Attributes:
        settings: The run file.
        output: Where everything is written.
        inputs: The files it reads, in the order of their relative paths.
        fingerprints: Of the settings that decide each part.
        brought: Files of the tokenizer that the user brought; empty where one is trained.
        listen: Callback that receives every event.
        lease: Shows that this driver still holds the output.
        evaluation: The evaluation files that documents are compared with.
        has_changed_masking: Whether this driver has changed the default masking of loaders.
    """

    settings: RunFile
    output: Store
    inputs: InputFiles
    fingerprints: dict[Part, str]
    brought: dict[str, bytes]
    listen: RunListener
    lease: Lease
    evaluation: EvaluationFiles
    has_changed_masking: bool = False
    _engine: Engine | None = None
    _stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def names(self) -> Names:
        """The names of its tokenizer and its packing."""
        return {Part.TOKENIZER: self.settings.tokenizer.name, Part.PACK: self.settings.pack.name}

    @property
    def tokenizer_folder(self) -> str:
        """Where its tokenizer is."""
        return tokenizer_folder(self.settings.tokenizer.name)

    def name_stage(self, stage: Stage[Any, Any, Any]) -> str:
        """The name of a stage of this run in receipts, events and timings."""
        return name_stage(stage, self.names)

    @functools.cached_property
    def masking(self) -> Masking:
        """The masking of its rows, which the tokenizer may decide: only once that is made."""
        return weigh_by_tokenizer(self.settings.mask.masking(), self.output.below(self.tokenizer_folder))

    @property
    def shard_bytes(self) -> int:
        """Target size of a document shard, in bytes of text, before the text was counted."""
        return plan_shard_bytes(self.inputs.assumed_text_bytes, self.settings.documents.shard_mb)

    def engine(self) -> Engine:
        """The engine, started at its first use: a finished run starts none."""
        if self._engine is None:
            urls = [file.url for file in self.inputs[:1]]
            self._engine = start_engine(self.settings.engine, self.output, urls)
        return self._engine

    def report(self, event: RunEvent) -> None:
        """Pass an event on, and keep what `timings.json` records of it.

        Raises:
            StaleArtifactError: Another driver has taken over the output.
        """
        self.lease.check()
        if isinstance(event, StageStarted):  # a stage of several rounds starts once for each
            nothing = {"units": 0, "reused": 0, "text_bytes": 0, "ran": 0, "seconds": 0.0, "retries": 0}
            stage = self._stages.setdefault(event.stage, nothing)
            stage |= {"units": stage["units"] + event.units, "reused": stage["reused"] + event.reused}
        elif isinstance(event, UnitDone):
            self._stages[event.stage]["text_bytes"] += event.counts.get("text_bytes", 0)
        elif isinstance(event, StageDone):
            stage = self._stages[event.stage]
            stage |= {
                "ran": stage["ran"] + event.ran,
                "seconds": round(stage["seconds"] + event.seconds, 4),
                "retries": stage["retries"] + event.retries,
            }
            stage["mb_per_second"] = round(stage["text_bytes"] / 1e6 / max(stage["seconds"], 1e-6), 2)
        self.listen(event)

    def warn(self, message: str) -> None:
        """Warn the user of something that most likely needs a change."""
        self.report(Warned(message=message))

    def note(self, message: str) -> None:
        """Tell the user something."""
        self.report(Noted(message=message))

    def run_stage(
        self,
        part: Part,
        stage: Stage[Context, Unit, AnyDetails],
        context: Context,
        units: Sequence[Unit],
        watch: Watch[Unit, AnyDetails] | None = None,
    ) -> Receipts[Unit, AnyDetails]:
        """Run the units of a stage that have no receipt of this run yet.

        Args:
            part: The part of the stage: receipts of a run that differs in this part do not count.
            stage: The stage to run.
            context: Passed to every unit.
            units: All of them.
            watch: Follows the stage and may stop it.

        Returns:
            The receipts of all units.
        """
        return run_stage(self.engine(), stage, context, self.output, self._own(part, stage, units), self.report, watch)

    def finished(
        self, part: Part, stage: Stage[Any, Unit, AnyDetails], units: Sequence[Unit]
    ) -> Receipts[Unit, AnyDetails]:
        """The receipts of the units that have already run."""
        return Receipts(self.output, self._own(part, stage, units), stage.details).finished()

    def _own(self, part: Part, stage: Stage[Any, Unit, AnyDetails], units: Sequence[Unit]) -> UnitSequence[Unit]:
        own = {"stage": self.name_stage(stage), "run": self.fingerprints[part]}
        return UnitSequence(range(len(units)), lambda place: units[place].model_copy(update=own))

    @property
    def splits(self) -> list[DataSplit]:
        """The splits of the documents."""
        return list(DataSplit) if self.settings.documents.held_out else [DataSplit.TRAIN]

    def is_whole(self, *folders: str) -> bool:
        """Whether all of these datasets are finished: each has its manifest."""
        return all(self.output.exists(f"{folder}/{MANIFEST}") for folder in folders)

    def add_up(self, model: type[Counts], counts: Mapping[str, Any], stage: Stage[Any, Any, Any]) -> Counts:
        """Turn the counts of a stage's receipts into those of its manifest.

        Raises:
            ShardCorruptError: The sums do not add up.
        """
        try:
            return model.model_validate({name: counts[name] for name in model.model_fields})
        except ValidationError as error:
            raise ShardCorruptError(
                "what the units counted does not add up",
                path=self.output.locate(f"{RECEIPTS}/{self.name_stage(stage)}"),
                found=error.errors()[0]["msg"].removeprefix("Value error, "),
                action="delete this folder and run the same command again: its units run again",
            ) from error

    def check_own(self, part: Part, manifest: AnyManifest, path: str, documents: str = "") -> AnyManifest:
        """Check that an existing manifest belongs to this run.

        Args:
            part: Which one.
            manifest: The manifest.
            path: Its path.
            documents: The fingerprint of the documents that it must be made from.

        Raises:
            StaleArtifactError: Another run wrote it, or it was made from other documents.
        """
        made_from = getattr(manifest, "documents_fingerprint", "")
        if documents and made_from and made_from != documents:
            raise StaleArtifactError(
                "this part was made from documents other than these",
                path=self.output.locate(path),
                expected=f"documents {documents}",
                found=made_from,
                action="restore the documents, or delete this part and run the same command again",
            )
        if manifest.run_fingerprint != self.fingerprints[part]:
            raise StaleArtifactError(
                "this part was written by another run",
                path=self.output.locate(path),
                expected=f"run fingerprint {self.fingerprints[part]}",
                found=manifest.run_fingerprint,
                action="give another output.url, or delete this output",
            )
        return manifest

    def drop_work(self, *stages: Stage[Any, Any, Any], folders: Sequence[str] = ()) -> None:
        """Delete what a part no longer needs once its manifest is written."""
        for stage in stages:
            self.output.delete_tree(f"{RECEIPTS}/{self.name_stage(stage)}")
        for folder in folders:
            self.output.delete_tree(folder)

    def close(self) -> None:
        """End the engine, if one was started."""
        if self._engine is not None:
            self._engine.close()

    @property
    def ran(self) -> frozenset[str]:
        """The stages of which this driver ran units."""
        return frozenset(name for name, stage in self._stages.items() if stage.get("ran"))

    def finish(self) -> dict[str, dict[str, Any]]:
        """Write the timings of this driver, and keep those of stages that it did not run; returns all of them."""
        timings = {name: self._stages[name] for name in self.ran}
        with contextlib.suppress(FileNotFoundError, ValueError):
            before = parse_json(self.output.read_bytes(TIMINGS, MAX_TEXT_BYTES), MAX_TEXT_BYTES)
            timings = before | timings if isinstance(before, dict) else timings
        if timings:
            self.output.write_bytes(TIMINGS, (json.dumps(timings, indent=2, sort_keys=True) + "\n").encode())
        return timings


@contextlib.contextmanager
def open_run(
    settings: RunFile, listen: RunListener, up_to: Part = Part.PACK, *, replace: bool = False
) -> Iterator[Run]:
    """Open a run as its only driver.

    Args:
        settings: The run file.
        listen: Callback that receives every event.
        up_to: The last part to make; the settings of later ones are not compared.
        replace: Delete a tokenizer or rows that were made with other settings.

    Raises:
        ConfigError: Another run's or another driver's output, or an input or tokenizer is missing.
        StaleArtifactError: The inputs have changed since the run began, and a part of it is finished.
    """
    refuse_lost_output(settings.output.url, "output.url")
    output = open_store(settings.output.url)
    if output.capabilities.local_paths and output.root == os.sep:
        raise ConfigError("a run does not write into the root of a disk", path="output.url", action="name a folder")
    warnings: list[str] = []
    tables = [InputTable(table.paths, table.name, table.format) for table in settings.input]
    inputs = list_tables(tables, warnings.append)
    wanted = settings.tokenizer
    brought = read_brought_files(wanted.from_, normalisation_of(wanted)) if wanted.from_ else {}
    refuse_inputs_in_output(inputs, output)
    for filters in settings.all_filters:
        check_filters(filters)
    evaluation = list_evaluation(settings.filters)
    refuse_inputs_in_output(evaluation.files, output)
    if up_to is Part.PACK:
        load_segmenter(settings.pack.word_boundaries)  # or refuse before any work is done
    record = describe_run(settings, inputs, brought, evaluation.digest)
    with hold_output(output) as lease:
        claim_output(output, record, up_to, replace=replace, warn=warnings.append)
        output.delete_partials(is_of_run)
        fingerprints = {part: entry.fingerprint for (part, _), entry in record.entries.items()}
        run = Run(settings, output, inputs, fingerprints, brought, listen, lease, evaluation)
        started = time.perf_counter()
        try:
            for message in warnings:
                run.warn(message)
            yield run
            output.delete_partials(is_of_run)  # left by a worker that was killed while its driver lived on
            listen(RunFinished(seconds=round(time.perf_counter() - started, 3)))
        finally:
            run.close()


def refuse_inputs_in_output(inputs: Sequence[InputFile], output: Store) -> None:
    """Make sure that no input lies where the run writes.

    Raises:
        ConfigError: One does.
    """
    folder = f"{place_of(output.url)}/"
    for file in inputs:
        if place_of(file.url).startswith(folder):
            raise ConfigError(
                "an input lies in the output",
                path=redact(file.url),
                expected=f"inputs outside {output.display_url}",
                found="what a run writes would become its input when it continues",
                action="give an output.url outside the folders of input.paths, or a narrower pattern",
            )


def place_of(url: str) -> str:
    """A URL with links resolved and one name for its store: `s3a` is `s3`, and `gs` is `gcs`."""
    if url.startswith("/"):
        return os.path.realpath(url)
    protocol, path = split_url(url)
    driver = known_implementations.get(protocol, {}).get("class")
    names = [name for name, known in known_implementations.items() if known["class"] == driver]
    return f"{min(names, default=protocol)}://{path.lstrip('/')}".rstrip("/")
