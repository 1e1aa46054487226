"""Keep Arrow from importing pandas, in processes that are ours alone: commands, and local workers.

Arrow imports pandas, where it is installed, when it first turns Python values into an array, to ask whether they are
from pandas: 0.4 s in every process. Nothing of ours is from pandas. A process that runs a user's program is left as it
is, for there Arrow must know pandas; so is a Ray worker, which may run the user's tasks too.
"""

from __future__ import annotations

import sys

import pyarrow as pa


class _WithoutPandas:
    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


def leave_out_pandas() -> None:
    """Let Arrow find no pandas in this process; it looks once. Everything else may import pandas as before."""
    if "pandas" in sys.modules:
        return
    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(finder)
