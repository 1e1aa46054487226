"""Which tokens of a row are predicted: a strategy is a module here, whose kernel writes positions and counts them.

A kernel is given the row's ids, its id and the plan of the epoch, and knows nothing of what is shown at a position:
that is `numba_masks`, the same for every strategy. `table` lists them all.
"""
