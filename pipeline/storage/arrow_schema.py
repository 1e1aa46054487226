"""The schema in a file: measured before Arrow reads it, then compared with the expected one.

In a flatbuffer many references may lead to one part, and Arrow makes an object for each of them: a footer of 180 KB can
take 4 GB. So every part is counted here once per reference.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.storage.flatbuffers import find_field, find_table, find_vector
from maskmill.schemas.errors import RESTORE, ShardCorruptError
from maskmill.schemas.version import is_readable

MAX_SCHEMA_BYTES = 1 << 20
"""Limit of a schema's parts in a file; that of packed rows with 100 stored masks has 60 KB."""
_FOOTER_SCHEMA, _FOOTER_METADATA = 1, 4
_MESSAGE_HEADER, _MESSAGE_METADATA = 2, 4
_CONTINUATION = b"\xff" * 4
_PREFIX_BYTES = 8
_SCHEMA_FIELDS, _SCHEMA_METADATA = 1, 2
_FIELD_NAME, _FIELD_KIND, _FIELD_CHILDREN, _FIELD_METADATA = 0, 2, 5, 6
_TIMESTAMP, _UNION = 10, 14  # kinds that have a text or a vector
_OFFSET_BYTES = 4
_PART_BYTES = 16
_SHOWN_COLUMNS, _SHOWN_CHARACTERS = 24, 600
_VERSION = b"maskmill_schema_version"


def check_footer(footer: npt.NDArray[np.uint8], table: int, expected: pa.Schema, path: str) -> None:
    """Refuse a footer that would take far more memory than it has bytes.

    Args:
        footer: Its bytes.
        table: Where its table is in them.
        expected: The schema that it must have, for messages.
        path: The file, for messages.

    Raises:
        ShardCorruptError: Its schema cannot be one of maskmill's.
    """
    schema = find_field(footer, 0, len(footer), table, _FOOTER_SCHEMA, _OFFSET_BYTES)
    found = _find_excess(footer, find_table(footer, 0, len(footer), schema) if schema > 0 else -1, MAX_SCHEMA_BYTES)
    if _count_items(footer, table, _FOOTER_METADATA, _OFFSET_BYTES):
        found = "metadata of the footer"
    if found:
        raise _refuse(expected, found, path)


def check_schema(found: pa.Schema, expected: pa.Schema, path: str) -> None:
    """Compare the schema of a file with the one that it must have; its version may be a newer minor one.

    Raises:
        ShardCorruptError: They differ.
    """
    if not is_schema(found, expected):
        raise _refuse(expected, _describe_schema(found), path)


def is_schema(found: pa.Schema, expected: pa.Schema) -> bool:
    """Whether the schema of a file is the expected one, but for a newer minor version."""
    theirs, ours = dict(found.metadata or {}), dict(expected.metadata or {})
    version = theirs.pop(_VERSION, b"").decode(errors="replace")
    has_version = ours.pop(_VERSION, None) is not None
    has_columns = found.remove_metadata().equals(expected.remove_metadata(), check_metadata=True)
    return has_columns and theirs == ours and has_version == is_readable(version)


def find_excess_of_message(message: bytes) -> str | None:
    """Find what would take far more memory than its bytes in a schema's message, as in a Parquet file."""
    data = np.frombuffer(message, np.uint8)[_PREFIX_BYTES:]
    if message[:4] != _CONTINUATION or int.from_bytes(message[4:_PREFIX_BYTES], "little") != len(data):
        return "no message"
    table = find_table(data, 0, len(data), 0)
    schema = find_field(data, 0, len(data), table, _MESSAGE_HEADER, _OFFSET_BYTES)
    if schema <= 0 or _count_items(data, table, _MESSAGE_METADATA, _OFFSET_BYTES):
        return "a message without a schema, or with metadata of its own"
    return _find_excess(data, find_table(data, 0, len(data), schema), len(data))


def _find_excess(data: npt.NDArray[np.uint8], schema: int, most: int) -> str | None:
    """Find what could take unbounded memory in a schema's table; `most` limits the bytes of all of its parts."""
    total = 0
    for entry in _iter_tables(data, schema, _SCHEMA_METADATA):
        total += _PART_BYTES + sum(_count_items(data, entry, number, 1) for number in (0, 1))
        if total > most:
            break
    waiting = [_iter_tables(data, schema, _SCHEMA_FIELDS)]
    while waiting and total <= most:
        for field in waiting.pop():
            kind = find_field(data, 0, len(data), field, _FIELD_KIND, 1)
            if _count_items(data, field, _FIELD_METADATA, _OFFSET_BYTES):
                return "metadata of a column"
            if kind > 0 and data[kind] in (_TIMESTAMP, _UNION):
                return "a column of timestamps or of several types"
            total += _PART_BYTES + _count_items(data, field, _FIELD_NAME, 1)
            if total > most:
                break
            waiting.append(_iter_tables(data, field, _FIELD_CHILDREN))
    return f"a schema of more than {most} bytes" if total > most else None


def _iter_tables(data: npt.NDArray[np.uint8], table: int, number: int) -> Iterator[int]:
    """The tables that a vector of a table leads to."""
    first, count = find_vector(data, 0, len(data), table, number, _OFFSET_BYTES)
    return (find_table(data, 0, len(data), first + _OFFSET_BYTES * place) for place in range(count))


def _count_items(data: npt.NDArray[np.uint8], table: int, number: int, item_bytes: int) -> int:
    return int(find_vector(data, 0, len(data), table, number, item_bytes)[1])


def _refuse(expected: pa.Schema, found: str, path: str) -> ShardCorruptError:
    return ShardCorruptError(
        "the schema is not the expected one",
        path=path,
        expected=_describe_schema(expected),
        found=found,
        action=RESTORE,
    )


def _describe_schema(schema: pa.Schema) -> str:
    """On one line, which of a long one is the beginning."""
    try:
        columns = ", ".join(f"{field.name}: {field.type}" for field in list(schema)[:_SHOWN_COLUMNS])
    except UnicodeDecodeError:
        return f"{len(schema)} columns, with names that are not UTF-8"
    return f"{columns} {dict(schema.metadata or {})}"[:_SHOWN_CHARACTERS]
