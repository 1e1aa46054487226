"""The findings of a verification: what is wrong, and where."""

from __future__ import annotations

from dataclasses import dataclass

from maskmill.schemas.errors import MaskmillError

MAX_FINDINGS_PER_SHARD = 5


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        path: The file.
        what: What is wrong in it, with the place.
    """

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"

    @classmethod
    def of(cls, error: MaskmillError, path: str) -> Finding:
        """Turn an error into a finding."""
        return cls(error.path or path, str(error).removeprefix(f"{error.path}: ").removeprefix(f"{error.path}, "))
