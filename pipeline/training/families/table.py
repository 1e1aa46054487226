"""The families by name."""

from __future__ import annotations

from typing import Any

from maskmill.pipeline.training.families.albert import ALBERT
from maskmill.pipeline.training.families.bert import BERT
from maskmill.pipeline.training.families.deberta_v2 import DEBERTA_V2
from maskmill.pipeline.training.families.electra import ELECTRA
from maskmill.pipeline.training.families.eurobert import EUROBERT
from maskmill.pipeline.training.families.family import Family
from maskmill.pipeline.training.families.modernbert import MODERNBERT
from maskmill.pipeline.training.families.roberta import ROBERTA
from maskmill.schemas.model_section import ModelFamily

FAMILIES: dict[ModelFamily, Family] = {
    ModelFamily.BERT: BERT,
    ModelFamily.ROBERTA: ROBERTA,
    ModelFamily.ALBERT: ALBERT,
    ModelFamily.DEBERTA_V2: DEBERTA_V2,
    ModelFamily.MODERNBERT: MODERNBERT,
    ModelFamily.EUROBERT: EUROBERT,
    ModelFamily.ELECTRA: ELECTRA,
}
"""Their names are the `model_type`s of `transformers`."""


def family_of(model: Any) -> Family:
    """The family of a model that `build_model` has built."""
    return FAMILIES[ModelFamily(model.config.model_type)]
