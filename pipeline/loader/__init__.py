"""Loader: packed datasets to masked batches in an order that any world size shares.

Data passes these folders in this order; each says what is inside.

    plan ──▶ order ──▶ blocks ──▶ rows ──▶ batches ──▶ device
    what     which     where      copied   masked,     on a GPU
    to read  rows,     from;      out of   labelled
             when      cache/ of  their
                       remote     blocks
                       ones

resume           where a loader is, for checkpoints
encoders         what families of models take as inputs
masked_batches   `MaskedBatches`: all of it, endless and resumable
fixed_rows       every row once, for evaluation
for_trainers     whole optimizer steps, plain dictionaries, numbers of labels
"""

from maskmill.pipeline.loader.cache.cache_settings import Cache
from maskmill.pipeline.loader.fixed_rows import iter_fixed_batches
from maskmill.pipeline.loader.masked_batches import MaskedBatches
from maskmill.pipeline.loader.plan.mixture import Mixture, Phase, Source
from maskmill.schemas.masking import Masking

__all__ = ["Cache", "MaskedBatches", "Masking", "Mixture", "Phase", "Source", "iter_fixed_batches"]
