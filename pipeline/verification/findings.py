"""The findings of a verification: where, and what."""

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
        """The finding for an error."""
        return cls(error.path or path, str(error).removeprefix(f"{error.path}: ").removeprefix(f"{error.path}, "))
