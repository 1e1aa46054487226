"""Batches on the host.

batch             `Batch`: tensors, and their place in the run
fill_batch        makes one of rows: masks, labels, positions and sequence boundaries in one compiled pass
mark_pairs        the token types, labels and places of sequences that are pairs
loss_weights      what each label counts, where every sequence has a rate of its own
loss_terms        the sum of cross-entropy with these weights, and what it is divided by
one_storage       the tensors of a batch in one storage, for other processes and page-locked memory
gather_steps      the micro-batches of a global batch together
lasting_failure   an iterator whose failure cannot be mistaken for its end
"""
