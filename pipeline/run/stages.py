"""The stages of each part of a run, in the order in which they run."""

from __future__ import annotations

from typing import Any

from maskmill.pipeline.corpus.map_documents import MAP
from maskmill.pipeline.corpus.near_duplicates.join_stage import JOIN
from maskmill.pipeline.corpus.near_duplicates.keep_stage import KEEP
from maskmill.pipeline.corpus.near_duplicates.locate_stage import LOCATE
from maskmill.pipeline.corpus.near_duplicates.match_stage import MATCH
from maskmill.pipeline.corpus.near_duplicates.sign_stage import SIGN
from maskmill.pipeline.corpus.sort_documents import SORT
from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.packing.mask_stage import MASK
from maskmill.pipeline.packing.pack_stage import PACK
from maskmill.pipeline.run.parts import Names, Part
from maskmill.pipeline.wordpiece.counting.collect_stage import COLLECT
from maskmill.pipeline.wordpiece.counting.count_stage import COUNT
from maskmill.pipeline.wordpiece.counting.merge_stage import GATHER, MERGE
from maskmill.pipeline.wordpiece.encoding.prove_stage import PROVE
from maskmill.pipeline.wordpiece.vocabulary.train_stage import BRING, TRAIN
from maskmill.schemas.layout import named

STAGES: dict[Part, tuple[Stage[Any, Any, Any], ...]] = {
    Part.SHARD: (MAP, SORT, SIGN, MATCH, JOIN, LOCATE, KEEP),
    Part.TOKENIZER: (COUNT, GATHER, MERGE, COLLECT, TRAIN, BRING, PROVE),
    Part.PACK: (PACK,),
}

STAGE_OF_NAME = {stage.name: stage for stages in (*STAGES.values(), (MASK,)) for stage in stages}
"""By name, in the order in which they run; the last one is of `mask`, which no run has."""


def name_stage(stage: Stage[Any, Any, Any], names: Names) -> str:
    """The name of a stage in receipts, events and timings: `pack`, or `pack-short` for the packing `short`."""
    part = next(part for part, stages in STAGES.items() if stage in stages)
    return named(stage.name, names.get(part, ""))


def place_stage(name: str) -> tuple[int, str]:
    """Sort key: the order of the stages, then the name of the tokenizer or packing."""
    stage, _, of = name.partition("-")
    return list(STAGE_OF_NAME).index(stage), of


def label_stage(name: str) -> str:
    """The name of a stage for people."""
    stage, _, of = name.partition("-")
    return f"{STAGE_OF_NAME[stage].label} ({of})" if of else STAGE_OF_NAME[stage].label


def explain_stage(name: str) -> str:
    """A description of what a stage does."""
    return STAGE_OF_NAME[name.partition("-")[0]].work
