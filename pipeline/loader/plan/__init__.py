"""What a run reads: what its author asked for, checked, and every step of it planned.

mixture        `Source`, `Mixture` and `Phase`: datasets, their weights and the steps in which they are read
check_fit      refuses datasets that do not fit together
open_sources   opens each dataset once, and plans which rows each step takes

A `RunPlan` goes on to `rows`.
"""
