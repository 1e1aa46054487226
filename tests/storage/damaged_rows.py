"""What a dishonest writer may make of a block of packed rows, and the words with which it is refused.

Blocks are those of `tests.loader.datasets` with two stored masks: four rows of 32 tokens below 300.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.storage.crafted import (
    DOCUMENTS,
    INPUT_IDS,
    LABELS,
    MASK_IDS,
    OFFSETS,
    POSITIONS,
    SEGMENTS,
    SEQUENCES,
    Message,
    offsets_of,
    values_of,
)

Change = Callable[[Message], object]
ROWS, BIG = 4, 1 << 40
LISTS = {
    "sequences": SEQUENCES,
    "segments": SEGMENTS,
    "documents": DOCUMENTS,
    "offsets": OFFSETS,
    "positions": POSITIONS,
    "mask ids": MASK_IDS,
    "labels": LABELS,
}


def poke(column: int, kind: str, index: int, value: int) -> Change:
    return lambda message: message.poke(values_of(column), kind, index, value)


def poke_offset(column: int, index: int, value: int) -> Change:
    return lambda message: message.poke(offsets_of(column), "i", index, value)


def cut_values(column: int, size: int = 0) -> Change:
    return lambda message: message.set_buffer(values_of(column), size=size)


def move_a_value(column: int) -> Change:
    """The second row begins one value later: the first has one more and the second one fewer."""

    def change(message: Message) -> None:
        message.poke(offsets_of(column), "i", 1, message.peek(offsets_of(column), "i", 1) + 1)

    return change


def repeat_a_position(message: Message) -> None:
    message.poke(values_of(POSITIONS), "H", 1, message.peek(values_of(POSITIONS), "H", 0))


def lengthen_sequences(message: Message) -> None:
    for index in range(message.peek(offsets_of(SEQUENCES), "i", 1)):
        message.poke(values_of(SEQUENCES), "H", index, 32)


DAMAGE: dict[str, tuple[Change, str]] = {
    "an id beyond the vocabulary": (poke(INPUT_IDS, "H", 40, 300), "row 1: .*outside the vocabulary"),
    "the last id beyond the vocabulary": (poke(INPUT_IDS, "H", -1, 65535), "outside the vocabulary"),
    "ids cut short": (cut_values(INPUT_IDS, 2 * 32 * ROWS - 2), "column input_ids: a buffer is shorter"),
    "no ids": (cut_values(INPUT_IDS), "column input_ids: a buffer is shorter"),
    "ids of another length": (lambda m: m.set_node(1, length=1 << 20), "column input_ids: .*differ in length"),
    "rows of another number": (lambda m: m.set("q", m.field(m.batch, 0), 3), "number of rows"),
    "2^40 rows": (lambda m: m.set("q", m.field(m.batch, 0), BIG), "number of rows"),
    "a sequence of no token": (poke(SEQUENCES, "H", 0, 0), "fewer than three tokens"),
    "a sequence of two tokens": (poke(SEQUENCES, "H", 0, 2), "fewer than three tokens"),
    "sequences beyond the row": (poke(SEQUENCES, "H", 0, 65535), "longer than the row"),
    "sequences that fill the row twice": (lengthen_sequences, "longer than the row|do not fill"),
    "a row without sequences": (poke_offset(SEQUENCES, 1, 0), "it has no sequence"),
    "a segment of no token": (poke(SEGMENTS, "H", 0, 0), "a segment has no token"),
    "segments beyond the sequences": (poke(SEGMENTS, "H", 0, 65535), "do not fill its sequences"),
    "documents of another number": (move_a_value(DOCUMENTS), "not every segment has a document"),
    "offsets of another number": (move_a_value(OFFSETS), "not every segment has a document"),
    "mask ids of another number": (move_a_value(MASK_IDS), "not every masked position has an id"),
    "labels of another number": (move_a_value(LABELS), "not every masked position has an id"),
    "a position beyond the row": (poke(POSITIONS, "H", -1, 32), "outside its sequences"),
    "a position far beyond the row": (poke(POSITIONS, "H", -1, 65535), "outside its sequences"),
    "positions that fall": (poke(POSITIONS, "H", 0, 31), "not in ascending order"),
    "a position twice": (repeat_a_position, "not in ascending order"),
    "a shown id beyond the vocabulary": (poke(MASK_IDS, "H", 0, 300), "outside the vocabulary"),
    "a label beyond the vocabulary": (poke(LABELS, "H", 0, 65535), "outside the vocabulary"),
}
for name, column in LISTS.items():
    node = 2 * column
    DAMAGE |= {
        f"{name}: an offset far beyond": (poke_offset(column, ROWS, 1 << 30), "is invalid"),
        f"{name}: an offset beyond": (poke_offset(column, 2, 1 << 20), "is invalid"),
        f"{name}: a negative offset": (poke_offset(column, 1, -4), "is invalid"),
        f"{name}: a first offset that is negative": (poke_offset(column, 0, -1), "is invalid"),
        f"{name}: no offsets": (
            lambda m, c=column: m.set_buffer(offsets_of(c), size=0),
            "a buffer is shorter than its values",
        ),
        f"{name}: no values": (cut_values(column), "a buffer is shorter than its values"),
        f"{name}: values elsewhere": (
            lambda m, c=column: m.set_buffer(values_of(c), offset=BIG),
            "a buffer lies outside the body",
        ),
        f"{name}: more values than there are": (
            lambda m, n=node: m.set_node(n + 1, length=BIG),
            "more values than its rows allow",
        ),
        f"{name}: a length that is negative": (
            lambda m, n=node: m.set_node(n + 1, length=-1),
            "more values than its rows allow",
        ),
        f"{name}: nulls": (lambda m, n=node: m.set_node(n, nulls=1), "a column has nulls"),
        f"{name}: nulls inside": (lambda m, n=node: m.set_node(n + 1, nulls=3), "a column has nulls"),
    }
