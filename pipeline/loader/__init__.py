"""Loader: packed datasets to masked batches in an order that any world size shares.

packed_dataset   blocks from storage, each checked before a row of it is used
epoch_order      which rows come when: pure arithmetic
stage_rows       the rows of the current windows, in the order they are served
fill_batch       staged rows to masks, labels, positions: the compiled loop
masked_batches   all of it as an endless, resumable stream
"""

from pipeline.loader.masked_batches import MaskedBatches
from schemas.masking import Masking

__all__ = ["MaskedBatches", "Masking"]
