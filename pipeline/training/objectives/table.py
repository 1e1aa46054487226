"""The objectives by name."""

from __future__ import annotations

from maskmill.pipeline.training.objectives.masked import MASKED
from maskmill.pipeline.training.objectives.objective import Objective
from maskmill.pipeline.training.objectives.replaced_token import REPLACED_TOKEN
from maskmill.pipeline.training.objectives.span_boundary import SPAN_BOUNDARY
from maskmill.pipeline.training.objectives.two_masks import TWO_MASKS
from maskmill.schemas.model_section import ObjectiveName

OBJECTIVES: dict[ObjectiveName, Objective] = {
    ObjectiveName.MASKED: MASKED,
    ObjectiveName.REPLACED_TOKEN: REPLACED_TOKEN,
    ObjectiveName.SPAN_BOUNDARY: SPAN_BOUNDARY,
    ObjectiveName.TWO_MASKS: TWO_MASKS,
}
