"""All settings of a run that decide which batches follow, as its states record them."""

from __future__ import annotations

from maskmill.pipeline.loader.plan.open_sources import Order, RunPlan
from maskmill.pipeline.loader.resume.loader_state import LoaderState
from maskmill.pipeline.storage.datasets import fingerprint_blocks, fingerprint_rows
from maskmill.schemas.masking import Masking


def describe_run(plan: RunPlan, order: Order, masking: Masking | None) -> LoaderState:
    """The state of the loader at its start.

    Args:
        plan: Of the run.
        order: Of the rows.
        masking: Settings of the masks, where a phase has none of its own; None where stored ones are read.
    """
    identify = fingerprint_blocks if masking is None else fingerprint_rows
    maskings = plan.phase_maskings
    return LoaderState(
        dataset=tuple(identify(source.manifest) for source in plan.sources),
        seed=order.seed,
        first_steps=tuple(phase.first_step for phase in plan.phases),
        global_batch_rows=tuple(phase.global_batch_rows for phase in plan.phases),
        weights=tuple(phase.weights for phase in plan.phases),
        partitions=tuple(source.settings.partitions for source in plan.sources),
        max_epochs=tuple(source.max_epochs for source in plan.sources),
        shuffle_blocks=order.shuffle_blocks,
        last_batch=order.last_batch,
        rows_dropped=tuple(source.epoch.dropped for source in plan.sources),
        rows_repeated=tuple(source.epoch.repeated for source in plan.sources),
        masking=masking,
        phase_maskings=maskings if any(maskings) else (),
    )
