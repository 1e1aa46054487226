"""Rows made ready for batches.

stage_rows         rows copied out of their blocks, in the order in which they are served
partition_cursor   for every partition of one dataset, the window of rows it is in: reads `blocks` in `order`
row_batch          the rows of one batch, as places among the staged ones
read_rows          the rows of any batch of a run, from the cursors of all its datasets
"""
