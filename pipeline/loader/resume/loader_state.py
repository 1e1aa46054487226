"""The state of a loader: its position, and all settings that decide which batches follow."""

from __future__ import annotations

import functools
import marshal
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from maskmill.pipeline.loader.check_arguments import MAX_STEPS
from maskmill.pipeline.loader.order.epoch_order import LastBatch
from maskmill.schemas.errors import ConfigError, StaleArtifactError
from maskmill.schemas.explain_values import explain_values
from maskmill.schemas.masking import Masking
from maskmill.schemas.token_weights import digest_weights


class Position(NamedTuple):
    """The place of the next batch.

    Attributes:
        epoch: From 0.
        step: Global batch in the epoch, from 0.
        rows_served: Rows of this rank's share of that global batch that were served already, in micro-batches.
    """

    epoch: int = 0
    step: int = 0
    rows_served: int = 0


_Number = Annotated[int, Field(ge=0, lt=2**64)]
_Digest = Annotated[str, Field(max_length=64)]
_MAX_SHOWN = 500


class LoaderState(BaseModel):
    """The state of a loader, in JSON's types.

    World size, rank and workers are not part of it: a run may continue with others. Only inside a global batch,
    between two micro-batches, must the rank's share of it be the same.

    Attributes:
        version: Of this format.
        dataset: Fingerprints of the packed datasets, one for each.
        seed: Of the order.
        first_steps: Of each phase.
        global_batch_rows: G of each phase.
        weights: Of each phase, by number of dataset, in millionths.
        partitions: P of each dataset.
        max_epochs: Of each dataset, how often it may be read.
        shuffle_blocks: Consecutive blocks whose rows are permuted among themselves.
        last_batch: What happens to the rows of an epoch that fill no global batch.
        rows_dropped: Of each dataset, rows that an epoch leaves out.
        rows_repeated: Of each dataset, rows that an epoch serves a second time.
        masking: The settings in force, without token weights; `None` for stored masks.
        phase_maskings: Of each phase, its own settings or `None`; empty, and not written, where no phase has any.
        token_weights: Digests of the token weights of `masking` and of each of `phase_maskings`, which are as long as
            the vocabulary; empty, and not written, where there are none.
        epoch: Of the next batch.
        step: Of the next batch in its epoch; with several datasets or phases, since the start.
        rows_served: Rows of this rank's share of that global batch that were served already, in micro-batches.
        share_rows: Rows of that share; matters only where some of them were served.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = 2
    dataset: tuple[str, ...]
    seed: _Number
    first_steps: tuple[_Number, ...]
    global_batch_rows: tuple[_Number, ...]
    weights: tuple[dict[_Number, _Number], ...]
    partitions: tuple[_Number, ...]
    max_epochs: tuple[_Number | None, ...]
    shuffle_blocks: _Number
    last_batch: LastBatch
    rows_dropped: tuple[_Number, ...]
    rows_repeated: tuple[_Number, ...]
    masking: Masking | None
    phase_maskings: Annotated[tuple[Masking | None, ...], Field(default=(), exclude_if=lambda own: not own)]
    token_weights: Annotated[tuple[_Digest | None, ...], Field(exclude_if=lambda digests: not digests)] = ()
    epoch: int = Field(default=0, ge=0, le=MAX_STEPS, strict=True)
    step: int = Field(default=0, ge=0, le=MAX_STEPS, strict=True)
    rows_served: int = Field(default=0, ge=0, le=MAX_STEPS, strict=True)
    share_rows: int = Field(default=0, ge=0, le=MAX_STEPS, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _shorten(cls, values: Any) -> Any:
        return shorten_state(values) if isinstance(values, dict) else values

    def describe(self, position: Position, share_rows: int) -> dict[str, Any]:
        """This loader's state at a position, in JSON's types: a new dictionary, cheap enough for every batch."""
        state: dict[str, Any] = marshal.loads(self._described)  # noqa: S302  # our own bytes; the quickest deep copy
        state["epoch"], state["step"], state["rows_served"] = position
        state["share_rows"] = share_rows
        return state

    @functools.cached_property
    def _described(self) -> bytes:
        return marshal.dumps(self.model_dump(mode="json"), 2)  # later versions note references: 3.1 instead of 2.3 us

    def read(self, found: dict[str, Any]) -> LoaderState:
        """Parse a saved state and check that everything but its position equals this one.

        Raises:
            ConfigError: It is no state of a loader.
            StaleArtifactError: Something that decides the order or the masks differs; it is named.
        """
        of_the_place = {*Position._fields, "share_rows"}
        # With a default instead, the loader would silently begin again at the start.
        missing = sorted({"version", *of_the_place} - found.keys()) if isinstance(found, dict) else ["all"]
        if missing:
            raise _not_a_state(f"without {', '.join(missing)}")
        try:
            other = LoaderState.model_validate(found)
        except ValidationError as error:
            raise _explain_state(error) from None
        ours, theirs = (state.model_dump(mode="json", exclude=of_the_place) for state in (self, other))
        differing = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
        if differing:
            raise StaleArtifactError(
                f"the state belongs to a loader with another {', '.join(differing)}",
                path="loader state",
                expected=", ".join(f"{name} = {ours.get(name)}" for name in differing)[:_MAX_SHOWN],
                found=", ".join(f"{name} = {theirs.get(name)}"[:_MAX_SHOWN] for name in differing),
                action="resume with the settings and the dataset of the run that saved it",
            )
        return other


def shorten_state(state: dict[str, Any]) -> dict[str, Any]:
    """A state with digests of token weights in place of these; earlier versions kept all of them, in JSON's types."""
    phases = state.get("phase_maskings")
    maskings = [state.get("masking"), *(phases if isinstance(phases, list | tuple) else ())]
    weights = [_find_weights(masking) for masking in maskings]
    if not any(weights):
        return state
    first, *others = [_without_weights(masking) for masking in maskings]
    digests = [None if one is None else digest_weights(one) for one in weights]
    return {**state, "masking": first, "token_weights": digests} | ({"phase_maskings": others} if others else {})


def _find_weights(masking: Any) -> str | None:
    found = masking.get("token_weights") if isinstance(masking, dict) else getattr(masking, "token_weights", None)
    return found if isinstance(found, str) and found else None


def _without_weights(masking: Any) -> Any:
    if isinstance(masking, Masking):
        return masking.model_copy(update={"token_weights": None})
    if isinstance(masking, dict):
        return {name: value for name, value in masking.items() if name != "token_weights"}
    return masking


def copy_state(state: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of JSON's types, several times as fast as `copy.deepcopy`: it is made for every batch."""
    return {name: value if type(value) not in (list, dict) else _copy_value(value) for name, value in state.items()}


def _copy_value(value: Any) -> Any:
    if type(value) is dict:
        return copy_state(value)
    return [_copy_value(item) if type(item) in (list, dict) else item for item in value]


def count_steps(state: LoaderState, steps_per_epoch: int | None) -> int:
    """How many global batches come before the place of a state.

    Args:
        state: As `LoaderState.read` gave it.
        steps_per_epoch: Global batches in an epoch; None where steps are counted from the start.

    Raises:
        ConfigError: There is no such place.
    """
    if steps_per_epoch is None and state.epoch > 0:
        raise _not_a_state(f"epoch {state.epoch}, where several datasets or phases are counted in steps alone")
    if steps_per_epoch is not None and state.step >= steps_per_epoch:
        raise _not_a_state(f"step {state.step} of an epoch of {steps_per_epoch}")
    count = state.epoch * (steps_per_epoch or 0) + state.step
    if count > MAX_STEPS:
        raise _not_a_state(f"{count} steps, where there are at most {MAX_STEPS}")
    return count


def check_place(state: LoaderState, share_rows: int, micro_batch_rows: int) -> Position:
    """The position of a state, if a loader with this share and these micro-batches can continue from there.

    Args:
        state: Of which `count_steps` has counted the steps.
        share_rows: Rows of this rank in the global batch of that step.
        micro_batch_rows: Rows in a micro-batch.

    Raises:
        ConfigError: There is no such place.
        StaleArtifactError: It lies inside a global batch that was cut otherwise.
    """
    if state.rows_served and state.rows_served >= state.share_rows:
        raise _not_a_state(f"{state.rows_served} rows served of a share of {state.share_rows}")
    if state.rows_served and (state.share_rows != share_rows or state.rows_served % micro_batch_rows):
        raise StaleArtifactError(
            "the state lies inside a global batch and does not fit this share of it",
            path="loader state",
            expected=f"a share of {share_rows} rows, a multiple of {micro_batch_rows} of them served",
            found=f"a share of {state.share_rows} rows, {state.rows_served} of them served",
            action="resume with the same world size and micro_batch_rows, or from a state between global batches",
        )
    return Position(state.epoch, state.step, state.rows_served)


def _not_a_state(found: str) -> ConfigError:
    return ConfigError(
        "not a state of this loader",
        path="loader state",
        expected="what state_dict or a batch's state gave",
        found=found,
        action="load a state of this loader, or go to a place with at(step, epoch)",
    )


def _explain_state(error: ValidationError) -> ConfigError:
    explained = explain_values(LoaderState, error, "loader state")
    expected = "" if explained.expected is None else f", where {explained.expected} was expected"
    found = "" if explained.found is None else f": {explained.found}"
    return _not_a_state(f"{explained.what}{found}{expected}"[:_MAX_SHOWN])
