"""`maskmill train`: a train file in, a trained and exported model out."""

from __future__ import annotations

from rich.console import Console

from maskmill.jobs.console import open_console
from maskmill.jobs.progress import JsonLines
from maskmill.jobs.tables import table_of_pairs
from maskmill.pipeline.settings import find_origins, read_toml
from maskmill.pipeline.standard_error import say
from maskmill.pipeline.training.run_training import TrainResult
from maskmill.pipeline.training.stop_signals import TrainingInterruptedError
from maskmill.pipeline.training.train import train_as
from maskmill.schemas.events import HeldOutScored, Noted, TrainEvent, TrainStarted, TrainStep
from maskmill.schemas.train_file import TrainFile
from maskmill.schemas.wording import say_gap

WORTH_SAYING = 0.01  # share of the time
STATUS_OF_SIGNAL = 128  # added to the number of the signal


class TrainLines:
    """Prints a line for every report of a training run."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._total_steps = 0
        self._reported_at = 0.0

    def expect(self, steps: int) -> None:
        """Set the maximum number of steps, for the remaining time."""
        self._total_steps = steps

    def __call__(self, event: TrainEvent) -> None:
        """Show an event."""
        if isinstance(event, TrainStarted):
            self._started_at = event.step
            resumed = f", continuing from step {event.resumed_from}" if event.resumed_from is not None else ""
            size = f"{event.num_parameters / 1e6:.1f} M parameters"
            self._print(f"training {size} on {event.device} in {event.precision}{resumed}")
            self._print("masking: " + ", ".join(f"{name} {value}" for name, value in event.masking.show().items()))
            if event.step > self._total_steps:
                self._print(
                    f"run.steps = {self._total_steps} is below step {event.step} of the checkpoint: no step is taken"
                )
        elif isinstance(event, Noted):
            self._print(event.message)
        elif isinstance(event, TrainStep):
            pace = (event.step - self._started_at) / max(event.seconds, 1e-6)
            left = max(0, self._total_steps - event.step) / max(pace, 1e-6)
            since, self._reported_at = event.seconds - self._reported_at, event.seconds
            waited = event.waited_seconds / max(since, 1e-6)
            late = f"  {waited:.0%} of it waiting for storage" if waited > WORTH_SAYING else ""
            self._print(
                f"step {event.step:>6}/{self._total_steps}  loss {event.loss:.3f}  "
                f"{pace:.1f} steps/s{late}  {left / 60:.0f} min left at most"
            )
        elif isinstance(event, HeldOutScored):
            self._print(f"held out  loss {event.loss:.3f}, {say_gap(event.gap)} of {event.unigram_entropy:.3f}")

    def _print(self, text: str) -> None:
        self._console.print(text)


def train(path: str, overrides: list[str], as_json: bool, recipe: str | None = None) -> int:
    """Train as the train file says; returns the exit status: 130 after SIGINT, 143 after SIGTERM, as in shells."""
    config = read_toml(TrainFile, path, overrides, recipe)
    console = open_console()
    lines = TrainLines(console)
    lines.expect(config.run.steps)
    try:
        result = train_as(config, JsonLines() if as_json else lines, find_origins(config, recipe))
    except TrainingInterruptedError as interrupted:
        say(str(interrupted))
        return STATUS_OF_SIGNAL + interrupted.number
    if not as_json:
        console.print(table_of_pairs("", train_pairs(result)))
    return 0


def train_pairs(result: TrainResult) -> list[tuple[str, str]]:
    """The results of a training run, one per line."""
    pairs = [("steps", f"{result.step:,} in {result.train_seconds:.0f} s, ended by {result.stopped_by}")]
    if result.first_loss is not None and result.last_loss is not None:
        pairs.append(("training loss", f"first {result.first_loss:.3f}, last {result.last_loss:.3f} nats"))
    if result.held_out is not None:
        score = result.held_out
        pairs += [
            ("unigram entropy", f"{score.unigram_entropy:.3f} nats, of the held-out tokens predicted"),
            ("held-out loss", f"{score.loss:.3f} nats, {say_gap(score.gap)}"),
        ]
    pairs.append(("model", result.model_url))
    return pairs
