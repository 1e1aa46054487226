"""Loader: packed datasets to masked batches in an order that any world size shares.

What is read       mixture, open_sources: datasets, mixtures, phases, and whether they fit together
Which rows, when   epoch_order, serving_plan, turns: pure arithmetic
From where         packed_dataset: blocks from storage, each checked before a row of it is used
Rows made ready    partition_cursor, stage_rows, read_rows, row_batch
Batches            fill_batch, to_batch, batch: masks, labels, positions
The stream         masked_batches, loader_state: all of it, endless and resumable; fixed_rows for evaluation
"""

from maskmill.pipeline.loader.cache.cache_settings import Cache
from maskmill.pipeline.loader.fixed_rows import iter_fixed_batches
from maskmill.pipeline.loader.masked_batches import MaskedBatches
from maskmill.pipeline.loader.mixture import Mixture, Phase, Source
from maskmill.schemas.masking import Masking

__all__ = ["Cache", "MaskedBatches", "Masking", "Mixture", "Phase", "Source", "iter_fixed_batches"]
