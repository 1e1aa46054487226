"""An iterator whose failure cannot be mistaken for its end."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class LastingFailure(Iterator[Item]):
    """The items of a generator; once it has raised an error, every further call raises the same.

    A generator that raised stops, as at the end of the data: code that catches the error and continues, such as a
    worker of a `DataLoader`, would take the rest of the epoch as read.

    Args:
        items: Closed with this object, or when it is deleted.
    """

    def __init__(self, items: Generator[Item]) -> None:
        self._items = items
        self._failure: BaseException | None = None

    def __next__(self) -> Item:
        if self._failure is not None:
            raise self._failure
        try:
            return next(self._items)
        except StopIteration:
            raise
        except BaseException as failure:
            self._failure = failure
            raise

    def close(self) -> None:
        """End the iteration and close what it has open."""
        self._items.close()
