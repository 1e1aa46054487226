"""The stages of each part of a run, in the order in which they run."""

from __future__ import annotations

from maskmill.pipeline.run.parts import Part

STAGES = {
    Part.SHARD: ("map", "sort"),
    Part.TOKENIZER: ("count", "gather", "merge", "collect", "train", "bring", "prove"),
    Part.PACK: ("pack",),
}
