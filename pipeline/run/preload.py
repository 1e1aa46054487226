"""Load what every local worker of a run needs, in the process that workers are forked from."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

import numpy as np

import maskmill.pipeline.run.prepare  # noqa: F401 - that it is loaded is all that is wanted
from maskmill.pipeline.packing.fitting.best_fit import pack_best_fit


class _LeaveOutPandas(MetaPathFinder):
    def find_spec(self, fullname: str, *_: Sequence[str] | ModuleType | None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("left out of this process", name=fullname)


def preload_workers() -> None:
    """Load what workers forked from this process need. Only for processes that do nothing but run units.

    Numba needs a third of a second in each process for its first compiled function, whichever it is. Arrow imports
    pandas, if it is installed, for its first array, which takes 0.3 s: this process is kept from importing it.
    """
    with contextlib.suppress(ImportError):  # without it `tokenizers` encodes
        import nanotoken  # noqa: F401 - that it is loaded is all that is wanted
    if not any(isinstance(finder, _LeaveOutPandas) for finder in sys.meta_path):
        sys.meta_path.insert(0, _LeaveOutPandas())
    pack_best_fit(np.ones(1, np.int32), 2)
