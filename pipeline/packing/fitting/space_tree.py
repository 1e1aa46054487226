"""A set of small integers that answers "the smallest one not below x" in O(log n): the packers' index of space.

A binary tree of flags in one array: node n has children 2n and 2n + 1, the leaf of value v is `num_leaves + v`, and a
node is set while a leaf under it is. Compiled functions, to be called from compiled loops.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit


@njit(cache=True, nogil=True)
def make_tree(num_values: int) -> npt.NDArray[np.bool_]:
    """An empty set of values in 0..num_values - 1; half the array's size is the number of leaves."""
    num_leaves = 1
    while num_leaves < num_values:
        num_leaves <<= 1
    return np.zeros(2 * num_leaves, np.bool_)


@njit(cache=True, nogil=True)
def add_value(tree: npt.NDArray[np.bool_], value: int) -> None:
    """Puts `value` in; no change if it is."""
    node = (tree.size >> 1) + value
    while node >= 1 and not tree[node]:
        tree[node] = True
        node >>= 1


@njit(cache=True, nogil=True)
def remove_value(tree: npt.NDArray[np.bool_], value: int) -> None:
    """Takes out `value`, which must be in."""
    node = (tree.size >> 1) + value
    tree[node] = False
    while node > 1 and not tree[node ^ 1]:  # a parent stays set while the other child is
        node >>= 1
        tree[node] = False


@njit(cache=True, nogil=True)
def find_smallest(tree: npt.NDArray[np.bool_], at_least: int) -> int:
    """The smallest value in the set that is not below `at_least`, or -1."""
    num_leaves = tree.size >> 1
    node = num_leaves + at_least
    if tree[node]:
        return at_least
    while node & 1 or not tree[node + 1]:  # nothing to the right under this parent
        node >>= 1
        if node <= 1:
            return -1
    node += 1
    while node < num_leaves:
        node <<= 1
        if not tree[node]:
            node += 1
    return node - num_leaves
