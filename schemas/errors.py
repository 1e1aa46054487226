"""The error tree: one class for each party who must act.

Every error names its subject (`path`), the place in it (`place`), what was expected, what was found and what to do.
Pickling keeps the class and the fields, so errors cross process boundaries. No field contains a credential, and the
message is one line, whatever the names that it quotes contain.
"""

from __future__ import annotations

from maskmill.schemas.printable import SHOWN_CHARACTERS, make_printable
from maskmill.schemas.redaction import redact

_READ_CHARACTERS = 16 * SHOWN_CHARACTERS
"""Characters of a field that are kept; the rest would not be shown."""

RESTORE = "restore it from a good copy, or write the dataset again"
"""The action for bytes that are not those that were written."""


class MaskmillError(Exception):
    """The base class of all errors of maskmill; only subclasses are raised.

    Args:
        what: The failure in one clause, without a trailing full stop.
        path: The file, URL or run-file key.
        place: The place inside it, such as `line 7` or `block 3`.
        expected: What should have been there.
        found: What was there.
        action: What the reader should do next.
    """

    def __init__(
        self,
        what: str,
        *,
        path: str | None = None,
        place: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        action: str | None = None,
    ) -> None:
        self.what = redact(what[:_READ_CHARACTERS])
        self.path = _clean(path)
        self.place = _clean(place)
        self.expected = _clean(expected)
        self.found = _clean(found)
        self.action = _clean(action)
        super().__init__(self.what)

    def __str__(self) -> str:
        if self.what.startswith(_OF_TORCH):
            return "\n".join(map(make_printable, self.what.split("\n")))
        where = ", ".join(_show(part) for part in (self.path, self.place) if part)
        text = f"{where}: {_show(self.what)}" if where else _show(self.what)
        if self.expected is not None:
            text += f"; expected {_show(self.expected)}"
        if self.found is not None:
            text += f"; found {_show(self.found)}"
        if self.action is not None:
            text += f"; {_show(self.action)}"
        return text

    def __reduce__(self) -> tuple[object, ...]:
        # The rest of `__dict__`, such as notes, is the state that unpickling restores.
        return (_rebuild, (type(self), self.what, tuple(getattr(self, name) for name in _FIELDS)), self.__dict__)


_OF_TORCH = "Caught "
"""The beginning of torch's message for an error in a data loader's worker; the traceback follows on further lines."""


def _clean(field: str | None) -> str | None:
    return None if field is None else redact(field[:_READ_CHARACTERS])


def _show(field: str) -> str:
    return make_printable(field, SHOWN_CHARACTERS)


_FIELDS = ("path", "place", "expected", "found", "action")


def _rebuild(cls: type[MaskmillError], what: str, fields: tuple[str | None, ...]) -> MaskmillError:
    return cls(what, **dict(zip(_FIELDS, fields, strict=True)))


def is_panic(error: BaseException) -> bool:
    """Whether the error is a panic of a library written in Rust, which is not an `Exception` in Python."""
    return type(error).__name__ == "PanicException"


class ConfigError(MaskmillError):
    """The operator must act: a run file, an option, a permission or a disk is wrong."""


class InputDataError(MaskmillError):
    """The owner of the raw text must act: the text cannot be read or too much of it is bad."""


class ShardCorruptError(MaskmillError):
    """Storage must be repaired: the bytes read are not the bytes written."""


class StaleArtifactError(MaskmillError):
    """Something changed under a resumed run: existing files do not belong to the requested run."""


class TransientStorageError(MaskmillError):
    """Nobody needs to act yet: the store may answer next time. The only error that is retried."""
