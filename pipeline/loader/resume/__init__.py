"""Where a loader is in its run, and where its next pass begins.

batch_place    where a batch belongs in the run
loader_state   the state that a checkpoint keeps, and what of it must be equal to go on
shared_loads   which pass began with which loaded state, in memory that the workers of a `DataLoader` share
progress       where the next pass begins, in the trainer's process and in its workers
"""
