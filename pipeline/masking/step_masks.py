"""Which masks are drawn at each step of a run: phases may have their own, and rates may follow a schedule."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from maskmill.pipeline.masking.mask_plan import MaskPlan
from maskmill.pipeline.masking.plan_masks import plan_masks
from maskmill.pipeline.masking.strategies.table import is_drawn_on_device
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.masking import Masking


@dataclass(frozen=True, eq=False)
class PhaseMasks:
    """The masks of a phase.

    Attributes:
        first_step: Of the phase, counted in global batches from the start of the run.
        masking: Its settings.
        tables: What its masks are drawn from.
    """

    first_step: int
    masking: Masking
    tables: MaskTables


class StepMasks:
    """The masks of every step of a run.

    Args:
        phases: One at least, in their order; the first begins at step 0.

    Attributes:
        are_constant: Whether all steps have the same settings.
    """

    def __init__(self, phases: Sequence[PhaseMasks]) -> None:
        self._phases = list(phases)
        self._first_steps = [phase.first_step for phase in phases]
        self.are_constant = len(self._phases) == 1 and self._phases[0].masking.schedule is None

    def find(self, step: int) -> PhaseMasks:
        """The masks of the phase that a step is in."""
        return self._phases[bisect_right(self._first_steps, step) - 1]

    def most_predicted(self, num_tokens: int) -> int:
        """The most of so many tokens that are predicted, at any step."""
        return max(phase.masking.most_predicted(num_tokens) for phase in self._phases)

    def are_drawn_on_device(self, step: int) -> bool:
        """Whether the masks of a step are drawn where the model is; else they are drawn on the host."""
        return is_drawn_on_device(self.find(step).masking)


class EpochPlans:
    """The plans of the epochs that the rows of a batch are in, kept until none of them is or the masks are others.

    Args:
        masks: Of every step.
    """

    def __init__(self, masks: StepMasks) -> None:
        self._masks = masks
        self._phase: PhaseMasks | None = None
        self._masking: Masking | None = None
        self._epochs: list[int] = []
        self._plans: dict[int, MaskPlan] = {}

    def of(self, step: int, epochs: Sequence[int]) -> dict[int, MaskPlan]:
        """The plan of each epoch at a step, by its number."""
        if self._masks.are_constant and epochs == self._epochs:
            return self._plans
        phase = self._masks.find(step)
        masking = phase.masking.at(step)
        if phase is not self._phase or masking != self._masking:
            self._phase, self._masking, self._plans = phase, masking, {}
        if list(self._plans) != epochs:
            self._epochs = list(epochs)
            self._plans = {
                epoch: self._plans.get(epoch) or plan_masks(masking, phase.tables, epoch) for epoch in epochs
            }
        return self._plans
