"""Words of a row, and the order in which they or single tokens are tried.

A word is a token that starts one, with all that continue it: a row may say itself which tokens start one, else their
ids do. [SEP] and every other token that is never predicted ends the word before it, so that no unit reaches over the
end of a segment; what follows begins one, even in mid-word.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maskmill.pipeline.masking.row_kernel import row_kernel
from maskmill.pipeline.masking.tables import STARTS_WORD, UNMASKABLE


@row_kernel
def list_words(ids: Any, word_starts: Any, kinds: Any, starts: Any, stops: Any) -> tuple[np.int64, np.int64]:
    """Write where the words of a row start and stop; the next word follows in the same segment if it starts there.

    Args:
        ids: uint16 or uint32 (S,).
        word_starts: bool (S,), whether a word starts at each; (0,) where their kinds say it.
        kinds: uint8 (vocab_size + 1,), see `MaskTables`.
        starts: uint32 (S,), overwritten.
        stops: uint32 (S,), overwritten.

    Returns:
        The numbers of words and of maskable tokens.
    """
    beyond = np.int64(kinds.shape[0] - 1)
    num_words, num_maskable = np.int64(0), np.int64(0)
    is_inside = False
    by_kind = word_starts.shape[0] == 0
    for i in range(ids.shape[0]):
        kind = kinds[min(np.int64(ids[i]), beyond)]
        if kind == UNMASKABLE:
            is_inside = False
            continue
        is_start = kind == STARTS_WORD if by_kind else word_starts[i]
        if is_start or not is_inside:
            starts[num_words] = i
            num_words += 1
        stops[num_words - 1] = i + 1
        num_maskable += 1
        is_inside = True
    return num_words, num_maskable


@row_kernel
def order_lazily(order: Any, keys: Any, size: np.int64) -> None:
    """Make a heap of the numbers 0 to `size - 1`, from which `take_next` takes them by ascending keys.

    Args:
        order: uint32 (S,), overwritten.
        keys: uint32 (S,), of each number; all different.
        size: How many.
    """
    for i in range(size):
        order[i] = i
    for i in range(size // 2 - 1, -1, -1):
        _sink(order, keys, i, size)


@row_kernel
def take_next(order: Any, keys: Any, size: np.int64) -> np.int64:
    """Take the number with the smallest key out of a heap of `size` numbers, which has one less afterwards."""
    taken = np.int64(order[0])
    order[0] = order[size - 1]
    _sink(order, keys, 0, size - 1)
    return taken


@row_kernel
def _sink(order: Any, keys: Any, place: np.int64, size: np.int64) -> None:
    number = order[place]
    key = keys[number]
    child = 2 * place + 1
    while child < size:
        if child + 1 < size and keys[order[child + 1]] < keys[order[child]]:
            child += 1
        if keys[order[child]] >= key:
            break
        order[place] = order[child]
        place = child
        child = 2 * place + 1
    order[place] = number


@row_kernel
def find_last_word(
    starts: Any, stops: Any, num_words: np.int64, word: np.int64, draw: np.uint32, plan: Any
) -> np.int64:
    """The last word of a unit that begins with a word and is as long as a hash says, or as its segment allows.

    Args:
        starts: uint32 (S,), where words start.
        stops: uint32 (S,), where they stop.
        num_words: How many they are.
        word: The first of the unit.
        draw: 32 bits that decide the number of words.
        plan: Its `length_thresholds` say how.
    """
    longest = plan.length_thresholds.shape[0]
    length = np.int64(1)
    last = word
    while (
        length < longest
        and np.uint64(draw) >= plan.length_thresholds[length - 1]
        and last + 1 < num_words
        and starts[last + 1] == stops[last]
    ):
        length += 1
        last += 1
    return last
