"""The fewest rows there can be, by trying every packing of a few segments."""

from __future__ import annotations

from hypothesis import strategies as st


def fewest_rows(lengths: list[int], capacity: int) -> int:
    """Tries each segment in every row opened so far and in a new one; exponential, for up to 9 segments."""
    best = len(lengths)

    def place(index: int, used: list[int]) -> None:
        nonlocal best
        if len(used) >= best:
            return
        if index == len(lengths):
            best = len(used)
            return
        for row in range(len(used)):
            if used[row] + lengths[index] <= capacity:
                used[row] += lengths[index]
                place(index + 1, used)
                used[row] -= lengths[index]
        place(index + 1, [*used, lengths[index]])

    place(0, [])
    return best


@st.composite
def small_instances(draw: st.DrawFn) -> tuple[list[int], int]:
    """Up to 8 lengths and a capacity that they fit."""
    capacity = draw(st.integers(1, 24))
    return draw(st.lists(st.integers(1, capacity), max_size=8)), capacity
