"""The stages of each part of a run, in the order in which they run."""

from __future__ import annotations

from typing import Any

from maskmill.pipeline.corpus.map_documents import MAP
from maskmill.pipeline.corpus.sort_documents import SORT
from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.packing.pack_stage import PACK
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.wordpiece.counting.collect_stage import COLLECT
from maskmill.pipeline.wordpiece.counting.count_stage import COUNT
from maskmill.pipeline.wordpiece.counting.merge_stage import GATHER, MERGE
from maskmill.pipeline.wordpiece.encoding.prove_stage import PROVE
from maskmill.pipeline.wordpiece.vocabulary.train_stage import BRING, TRAIN

STAGES: dict[Part, tuple[Stage[Any, Any, Any], ...]] = {
    Part.SHARD: (MAP, SORT),
    Part.TOKENIZER: (COUNT, GATHER, MERGE, COLLECT, TRAIN, BRING, PROVE),
    Part.PACK: (PACK,),
}

STAGE_OF_NAME = {stage.name: stage for stages in STAGES.values() for stage in stages}
"""By name, in the order in which they run."""
