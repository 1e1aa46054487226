"""The masks of a run: those that are asked for, for all of it or for a phase, or those of the datasets."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

from maskmill.pipeline.loader.plan.open_sources import RunPlan, SourcePlan
from maskmill.pipeline.masking.fit_vocabulary import check_words, make_tables
from maskmill.pipeline.masking.step_masks import PhaseMasks, StepMasks
from maskmill.pipeline.storage.datasets import read_tokenizer
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import Masking
from maskmill.schemas.printable import make_printable

_LOG = logging.getLogger("maskmill.loader")


def choose_masking(plan: RunPlan, wanted: Masking | Literal["static"] | None) -> Masking | None:
    """The masking of the phases that have none of their own.

    Args:
        plan: Of the run.
        wanted: What the loader was given.

    Returns:
        What is asked for, which may differ from the datasets' own, or theirs; None where stored masks are read.

    Raises:
        ConfigError: None is asked for, and the datasets were prepared with different ones; stored ones are, and a
            dataset has none or a phase has a masking of its own.
    """
    if wanted == "static":
        _check_stored(plan)
        return None
    if wanted is not None:
        return wanted
    numbers = {
        number
        for phase, masking in zip(plan.phases, plan.phase_maskings, strict=True)
        for number in phase.weights
        if masking is None
    }
    sources = [plan.sources[number] for number in sorted(numbers)] or list(plan.sources[:1])
    own = sources[0].manifest.masking
    for source in sources:
        if source.manifest.masking != own:
            action = "choose one for the whole run, such as masking=Masking(rate=0.3)"
            raise _explain_difference(sources[0], source, action)
    return own


def open_step_masks(
    plan: RunPlan, masking: Masking, storage_options: dict[str, Any] | None, *, own: bool = True
) -> StepMasks:
    """The masks of every step.

    Args:
        plan: Of the run.
        masking: Of the phases that have none of their own.
        storage_options: Of the fsspec file systems.
        own: Whether phases use their own masking where they have one.

    Raises:
        ConfigError: A masking is one of words, and those of a dataset are not known, or protects an unknown token.
        ShardCorruptError: A tokenizer is not what was written.
    """
    tokenizer = plan.sources[0]  # the others have the same one

    def read() -> bytes:
        return read_tokenizer(open_store(tokenizer.url, storage_options), tokenizer.manifest)

    phases: list[PhaseMasks] = []
    for phase, phase_masking in zip(plan.phases, plan.phase_maskings, strict=True):
        used = phase_masking if own and phase_masking is not None else masking
        sources = [plan.sources[number] for number in phase.weights]
        for source in sources:
            check_words(used, source.manifest.vocabulary, source.shown_url)
        _log_changes(used, sources)
        same = next((before for before in phases if before.masking == used), None)
        tables = same.tables if same else make_tables(used, tokenizer.manifest.vocabulary, read, tokenizer.shown_url)
        phases.append(PhaseMasks(phase.first_step, used, tables))
    return StepMasks(phases)


def _check_stored(plan: RunPlan) -> None:
    for source in plan.sources:
        if not source.manifest.copies:
            raise ConfigError(
                "the dataset has no stored masks",
                path=source.shown_url,
                action='prepare it with mask.copies > 0, or give a Masking instead of "static"',
            )
    own = [source.manifest.masking for source in plan.sources]
    other = next((source for source in plan.sources if source.manifest.masking != own[0]), None)
    if other is not None and any(masking.per_sequence_rate for masking in own):
        raise _explain_difference(plan.sources[0], other, "read one of them, or let the loader draw masks")
    drawn = [phase.first_step for phase, own in zip(plan.phases, plan.phase_maskings, strict=True) if own is not None]
    if drawn:
        raise ConfigError(
            "a phase has a masking of its own, and stored masks are asked for",
            path="phases",
            expected="stored masks in every phase, or in none",
            found=f"a masking of the phase that begins at step {drawn[0]}",
            action='leave out masking="static", or the masking of the phases',
        )


def _explain_difference(one: SourcePlan, other: SourcePlan, action: str) -> ConfigError:
    own, theirs = one.manifest.masking, other.manifest.masking
    return ConfigError(
        "the datasets were prepared with different masking",
        path=other.shown_url,
        expected=f"{_name_difference(own, theirs)}, as {one.shown_url}",
        found=_name_difference(theirs, own),
        action=action,
    )


def _log_changes(used: Masking, sources: Sequence[SourcePlan]) -> None:
    for source in sources:
        theirs = source.manifest.masking
        if used != theirs:
            own, changed = theirs.show(), used.show()
            changes = [
                f"{name} = {changed.get(name, 'unset')} instead of its own {own.get(name, 'unset')}"
                for name in changed | own
                if changed.get(name) != own.get(name)
            ]
            _LOG.info("%s: masking with %s", make_printable(source.shown_url), make_printable(", ".join(changes)))


def _name_difference(one: Masking, other: Masking) -> str:
    """The settings of `one` in which `other` differs."""
    own, theirs = one.show(), other.show()
    return ", ".join(f"{name} = {own.get(name, 'unset')}" for name in own | theirs if own.get(name) != theirs.get(name))
