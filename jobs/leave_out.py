"""Libraries that are not to be loaded by another one that would do well without them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class _Refusal(MetaPathFinder):
    def find_spec(self, fullname: str, *_: Sequence[str] | ModuleType | None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("left out of this process", name=fullname)


def leave_out_pandas() -> None:
    """Keep pandas out of this process: Arrow imports it for its first array, which takes 0.3 s, where it is installed.

    For processes that run units and nothing else.
    """
    sys.meta_path.insert(0, _Refusal())
