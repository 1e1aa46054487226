"""How the kernels of a row are compiled."""

from __future__ import annotations

from numba import njit

row_kernel = njit(cache=True, nogil=True, _nrt=False)
"""Compile a kernel that is called for every row of a batch, by other kernels alone.

It allocates nothing, so numba need not count who holds the arrays that it is given and the parts that it takes of them:
that counting would be a tenth of the time of a masked row.
"""
