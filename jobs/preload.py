"""What every local worker of `prepare` needs, loaded in the process that workers are forked from.

Numba takes a third of a second in each process for its first compiled function, whichever it is.
"""

from __future__ import annotations

import contextlib

import numpy as np

import maskmill.jobs.prepare  # noqa: F401 - that it is loaded is all that is wanted
from maskmill.jobs.leave_out import leave_out_pandas
from maskmill.pipeline.packing.fitting.best_fit import pack_best_fit

with contextlib.suppress(ImportError):  # without it `tokenizers` encodes
    import nanotoken  # noqa: F401 - as above

leave_out_pandas()
pack_best_fit(np.ones(1, np.int32), 2)
