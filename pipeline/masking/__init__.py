"""Masking: which tokens a model must predict, as a pure function of counters.

In the order in which they are needed: `hashing` (a random word for every place), `tables` (what may replace a token),
`strategies` (which positions), `plan_masks` (what holds for an epoch), `step_masks` (and for a step), `numba_masks`
(what is shown there; whole rows), `static_masks` (the same, to be stored), `row_keys` and `torch_masks` (the same, on a
device).
"""
