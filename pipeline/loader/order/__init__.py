"""Which rows come when: pure arithmetic on counters, the same for every rank, worker and world size.

epoch_order      the permutation of one dataset's rows in one epoch, and the windows of blocks that hold them
serving_plan     which rows of which dataset each global batch takes, in mixtures and phases
rank_schedule    the batches of one rank, numbered, and the place of each
simulate_order   an epoch in full, and how well it is shuffled
"""
