"""The places where the mask kernels of a row keep what they need: rows of one uint32 array `(SCRATCH_ROWS, S)`."""

from __future__ import annotations

POSITIONS, SHOWN, UNITS, RANDOMS = 0, 1, 2, 3
"""What `draw_row` returns: selected positions, what is shown there, and where the unit of each starts."""
STARTS, STOPS, ORDER, KEYS, TAKEN, WORDS = 4, 5, 6, 7, 8, 9
"""What the strategies of words keep while they select."""
SCRATCH_ROWS = 10
