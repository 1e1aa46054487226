from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.packing.fitting.length_lists import add_segment, find_longest, make_lists, remove_segment


@given(st.data(), st.integers(0, 20))
def test_the_lists_answer_as_a_search_through_all_segments_does(data: st.DataObject, longest: int) -> None:
    lists = make_lists(12, longest)
    held: dict[int, int] = {}  # in the order they were added
    for segment in data.draw(st.lists(st.integers(0, 11), max_size=60)):
        if segment in held:
            remove_segment(lists, segment, held.pop(segment))
        else:
            held[segment] = data.draw(st.integers(0, longest))
            add_segment(lists, segment, held[segment])
        at_most = data.draw(st.integers(-1, longest + 2))
        fitting = [length for length in held.values() if length <= at_most]
        last_added = [other for other, length in held.items() if length == max(fitting, default=None)]
        assert find_longest(lists, at_most) == (last_added[-1] if fitting else -1)
