"""Mutations of the structure of record batches: offsets, buffers, lengths, compression, everything that Arrow trusts.

They work on any Arrow file in blocks, and on `shards.arrow`, whose one record batch is such a block.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pyarrow as pa

from tests.hostile.arrow_messages import Message, Place, Span, iter_places
from tests.hostile.values import draw_integer
from tests.storage.shared_parts import share_in_message

Draw = random.Random
Mutator = Callable[[Message, list[Place], Draw], str]
BOMB_BYTES = 1 << 30


def mutate_block(data: bytes, schema: pa.Schema, name: str, draw: Draw) -> tuple[bytes, str]:
    """Mutate a block; returns it and what was done to it."""
    message = Message.parse(data)
    what = STRUCTURE[name](message, list(iter_places(schema)), draw)
    return message.pack(), what


def _choose(message: Message, places: list[Place], draw: Draw, *roles: str) -> tuple[int, Place, Span]:
    """A buffer that holds something, of some roles."""
    spans = message.spans
    found = [i for i, place in enumerate(places) if place.role in roles and (spans[i].length or "validity" in roles)]
    index = draw.choice(found)
    return index, places[index], spans[index]


def _numbers(message: Message, place: Place, span: Span) -> tuple[str, list[int]]:
    kind = {1: "b", 2: "h", 4: "i", 8: "q"}[place.width]
    count = span.length // place.width
    return kind, list(struct.unpack_from(f"<{count}{kind}", message.body, span.offset))


def change_offsets(message: Message, places: list[Place], draw: Draw) -> str:
    """Offsets of lists or strings that are negative, decrease, or reach past their values."""
    _, place, span = _choose(message, places, draw, "offsets")
    kind, numbers = _numbers(message, place, span)
    at = draw.choice([0, len(numbers) - 1, draw.randrange(len(numbers))])
    bits = 8 * place.width
    limits = (-1, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, draw_integer(draw, bits, signed=True))
    near = (0, max(numbers) + 1, max(numbers) + 10_000, numbers[at] + 1, numbers[at] - 1)
    new = draw.choice((*limits, *near))
    how = draw.choice(("one", "one", "all after", "reverse"))
    if how == "one":
        numbers[at] = new
    elif how == "all after":
        by = draw.choice((1, -1, 5000, 2**20, -(2**20)))
        numbers[at:] = [number + by for number in numbers[at:]]
    else:
        numbers.reverse()
    limit = 2 ** (bits - 1)
    struct.pack_into(
        f"<{len(numbers)}{kind}", message.body, span.offset, *((n + limit) % (2 * limit) - limit for n in numbers)
    )
    return f"offsets of {place.column}: {how}, number {at} = {numbers[at]}"


def shorten_buffer(message: Message, places: list[Place], draw: Draw) -> str:
    index, place, span = _choose(message, places, draw, "offsets", "values")
    length = draw.choice([0, 1, place.width, span.length // 2, max(0, span.length - place.width)])
    message.set_span(index, Span(span.offset, length))
    return f"{place.role} of {place.column}: {length} bytes of {span.length}"


def move_buffer(message: Message, places: list[Place], draw: Draw) -> str:
    index, place, span = _choose(message, places, draw, "offsets", "values", "validity")
    body = len(message.body)
    offset = draw.choice([0, 1, 7, body - 8, body, body + 64, 2**31, 2**40, -8, -64, 2**63 - 64, span.offset + 1])
    message.set_span(index, Span(offset, span.length))
    return f"{place.role} of {place.column}: at {offset}, was {span.offset}"


def lengthen_buffer(message: Message, places: list[Place], draw: Draw) -> str:
    index, place, span = _choose(message, places, draw, "offsets", "values", "validity")
    length = draw.choice([span.length + 8, len(message.body) + 64, 2**31, 2**40, 2**62, -1, -8, 2**63 - 1])
    message.set_span(index, Span(span.offset, length))
    return f"{place.role} of {place.column}: {length} bytes, was {span.length}"


def swap_buffers(message: Message, places: list[Place], draw: Draw) -> str:
    one, first, span = _choose(message, places, draw, "offsets", "values")
    two, second, other = _choose(message, places, draw, "offsets", "values")
    message.set_span(one, other)
    message.set_span(two, span)
    return f"{first.role} of {first.column} and {second.role} of {second.column} swapped"


def add_validity(message: Message, places: list[Place], draw: Draw) -> str:
    """A validity buffer where nothing may be null, or none where some are."""
    index, place, _ = _choose(message, places, draw, "validity")
    bits = bytes(draw.choice(([0], [0xFF], [0x55]))) * draw.choice((0, 1, 512))
    message.replace(index, bits)
    return f"validity of {place.column}: {len(bits)} bytes" + _lie_of_node(message, draw, keep_length=True)


def lie_of_node(message: Message, places: list[Place], draw: Draw) -> str:
    """The length or the null count of a column or a child."""
    return _lie_of_node(message, draw, keep_length=False)


def _lie_of_node(message: Message, draw: Draw, keep_length: bool) -> str:
    nodes = message.nodes
    index = draw.randrange(len(nodes))
    length, nulls = struct.unpack_from("<qq", message.metadata, nodes[index])
    if keep_length or draw.random() < 0.3:
        nulls = draw.choice([1, length, length + 1, -1, -2, 2**40, 2**63 - 1])
    else:
        lies = [0, 1, length + 1, length - 1, 2 * length, length + 4096, 2**20, 2**31, 2**40, 2**62, 2**63 - 1, -1]
        length = draw.choice(lies)
    message.set_numbers(nodes[index], length, nulls)
    return f" node {index}: length {length}, {nulls} nulls"


def lie_of_rows(message: Message, places: list[Place], draw: Draw) -> str:
    """How many rows the batch says it has; and with them every column."""
    at = message.batch().find(0)
    assert at is not None
    (old,) = struct.unpack_from("<q", message.metadata, at)
    rows = draw.choice([0, 1, old + 1, old - 1, old * 2, 1000, 2**20, 2**31, 2**40, 2**63 - 1, -1])
    message.set_numbers(at, rows)
    if draw.random() < 0.5:
        for node in message.nodes:
            length, nulls = struct.unpack_from("<qq", message.metadata, node)
            if length == old:
                message.set_numbers(node, rows, nulls)
    return f"{rows} rows, was {old}"


def lie_of_body(message: Message, places: list[Place], draw: Draw) -> str:
    at = message.message().find(3)
    assert at is not None
    length = draw.choice([0, 8, len(message.body) - 8, len(message.body) + 64, 2**31, 2**40, -1, 2**63 - 1])
    message.set_numbers(at, length)
    return f"a body of {length} bytes"


def cut_body(message: Message, places: list[Place], draw: Draw) -> str:
    length = draw.choice([0, 1, 8, len(message.body) // 2, len(message.body) - 1])
    del message.body[length:]
    if draw.random() < 0.5:
        message.fit_body()
    return f"body cut to {length} bytes"


def lie_of_compression(message: Message, places: list[Place], draw: Draw) -> str:
    """Buffers that say they are compressed, or how long they are when they are not."""
    _mark_compressed(message, draw)
    index, place, span = _choose(message, places, draw, "offsets", "values")
    lies = [0, 1, -1, -2, span.length, 2**20, 2**31, 2**40, 2**62, 2**63 - 1]
    size = draw.choice(lies)
    rest = bytes(message.body[span.offset + 8 : span.offset + span.length])
    message.replace(index, struct.pack("<q", size) + draw.choice([rest, b"", bytes(100), b"\x28\xb5\x2f\xfd" + rest]))
    return f"{place.role} of {place.column}: {size} bytes when decompressed"


def bomb(message: Message, places: list[Place], draw: Draw) -> str:
    """A buffer of a few thousand bytes that decompresses to a gigabyte."""
    _mark_compressed(message, draw, "zstd")
    index, place, _ = _choose(message, places, draw, "offsets", "values")
    message.replace(index, struct.pack("<q", BOMB_BYTES) + zstd_zeros(BOMB_BYTES))
    return f"{place.role} of {place.column}: {BOMB_BYTES} bytes when decompressed"


def flip_metadata(message: Message, places: list[Place], draw: Draw) -> str:
    at = [draw.randrange(len(message.metadata)) for _ in range(draw.choice((1, 1, 2, 5)))]
    for position in at:
        message.metadata[position] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
    return f"bytes {at} of the metadata"


def flip_body(message: Message, places: list[Place], draw: Draw) -> str:
    at = [draw.randrange(len(message.body)) for _ in range(draw.choice((1, 1, 3, 20)))]
    for position in at:
        message.body[position] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
    return f"bytes {at} of the body"


def cut_metadata(message: Message, places: list[Place], draw: Draw) -> str:
    length = draw.choice([0, 4, 8, 16, len(message.metadata) // 2, len(message.metadata) - 8])
    del message.metadata[length:]
    return f"metadata cut to {length} bytes"


def other_message(message: Message, places: list[Place], draw: Draw) -> str:
    """A message of another kind, or of another version of Arrow."""
    field, numbers = draw.choice(((1, (0, 1, 2, 4, 5, 200)), (0, (0, 1, 3, 99))))
    at = message.message().find(field)
    assert at is not None
    message.metadata[at] = number = draw.choice(numbers)
    return f"message {'kind' if field else 'version'} {number}"


def share_metadata(message: Message, places: list[Place], draw: Draw) -> str:
    """Entries of metadata that share one text, of which Arrow makes as many copies."""
    count, length = draw.choice(((0, 0), (1, 10), (5000, 100_000), (50_000, 10_000)))
    message.metadata = Message.parse(share_in_message(message.pack(), count, length)).metadata
    return f"{count} entries of metadata with one text of {length} bytes"


def _mark_compressed(message: Message, draw: Draw, codec: str = "") -> None:
    """Let the metadata say that buffers are compressed; each then begins with its length, -1 where it is not."""
    compression = message.batch().table(3)
    codec = codec or draw.choice(("lz4", "zstd"))
    if compression is None:
        whole = message.spans
        nodes = [struct.unpack_from("<qq", message.metadata, node) for node in message.nodes]
        rows_at = message.batch().find(0)
        rows = struct.unpack_from("<q", message.metadata, rows_at)[0] if rows_at else 0
        message.metadata = _compressed_metadata(len(nodes), len(whole), codec)
        at = message.batch().find(0)
        assert at is not None
        message.set_numbers(at, rows)
        for node, numbers in zip(message.nodes, nodes, strict=True):
            message.set_numbers(node, *numbers)
        body = bytes(message.body)
        message.body = bytearray()
        for index, span in enumerate(whole):
            content = body[span.offset : span.offset + span.length]
            message.replace(index, struct.pack("<q", -1) + content if content else b"")
        return
    at = compression.find(0)
    if at is not None:
        message.metadata[at] = ("lz4", "zstd").index(codec)


def _compressed_metadata(nodes: int, buffers: int, codec: str) -> bytearray:
    """Metadata of a compressed batch with so many nodes and buffers, of strings, fixed lists and integers."""
    for wide in range(
        nodes + 1
    ):  # a string has one node and three buffers, a fixed list two and three, an integer 1, 2
        for fixed in range(nodes // 2 + 1):
            plain = nodes - wide - 2 * fixed
            if plain >= 0 and 3 * wide + 3 * fixed + 2 * plain == buffers:
                columns = [pa.array(["x"])] * wide
                columns += [pa.FixedSizeListArray.from_arrays(pa.array([1]), 1)] * fixed + [pa.array([1])] * plain
                batch = pa.record_batch(columns, names=[str(number) for number in range(len(columns))])
                return Message.of_batch(batch, codec).metadata
    raise AssertionError("no batch has so many nodes and buffers")


def zstd_zeros(size: int) -> bytes:
    """A zstd frame of zeros, 4 bytes for each 128 KiB (RFC 8878, section 3.1.1)."""
    block_size = 1 << 17
    number = size // block_size
    header = b"\x28\xb5\x2f\xfd" + bytes([0b11100000]) + struct.pack("<Q", number * block_size)
    blocks = b"".join(
        ((block_size << 3) | 0b010 | (index == number - 1)).to_bytes(3, "little") + b"\0" for index in range(number)
    )
    return header + blocks


STRUCTURE: dict[str, Mutator] = {
    "offsets": change_offsets,
    "offsets again": change_offsets,
    "buffer shortened": shorten_buffer,
    "buffer moved": move_buffer,
    "buffer lengthened": lengthen_buffer,
    "buffers swapped": swap_buffers,
    "validity added": add_validity,
    "node": lie_of_node,
    "rows": lie_of_rows,
    "body length": lie_of_body,
    "body cut": cut_body,
    "compression": lie_of_compression,
    "bomb": bomb,
    "metadata bytes": flip_metadata,
    "metadata cut": cut_metadata,
    "body bytes": flip_body,
    "message": other_message,
    "metadata shared": share_metadata,
}
