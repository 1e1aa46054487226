from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.packing.fitting.space_tree import add_value, find_smallest, make_tree, remove_value


@given(st.data(), st.integers(1, 70))
def test_the_tree_answers_as_a_set_does(data: st.DataObject, num_values: int) -> None:
    tree = make_tree(num_values)
    held: set[int] = set()
    values = st.integers(0, num_values - 1)
    for value in data.draw(st.lists(values, max_size=60)):
        if value in held and data.draw(st.booleans()):
            remove_value(tree, value)
            held.remove(value)
        else:
            add_value(tree, value)
            held.add(value)
        asked = data.draw(values)
        assert find_smallest(tree, asked) == min((other for other in held if other >= asked), default=-1)
