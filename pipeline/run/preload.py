"""Load what every local worker of a run needs, in the process that workers are forked from."""

from __future__ import annotations

import contextlib

import numpy as np

import maskmill.pipeline.run.prepare  # noqa: F401 - that it is loaded is all that is wanted
from maskmill.pipeline.packing.fitting.best_fit import pack_best_fit


def preload_workers() -> None:
    """Load what workers forked from this process need.

    Numba needs a third of a second in each process for its first compiled function, whichever it is.
    """
    with contextlib.suppress(ImportError):  # without it `tokenizers` encodes
        import nanotoken  # noqa: F401 - that it is loaded is all that is wanted
    pack_best_fit(np.ones(1, np.int32), 2)
