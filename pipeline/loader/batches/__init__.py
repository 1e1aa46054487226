"""Batches on the host.

fill_batch        masks, labels, positions and sequence boundaries of rows, one compiled pass over each
batch             `Batch`: tensors and where they belong in the run
to_batch          the arrays as a `Batch`
one_storage       the tensors of a batch in one storage, for other processes and page-locked memory
lasting_failure   an iterator whose failure cannot be mistaken for its end
"""
