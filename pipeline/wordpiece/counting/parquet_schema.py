"""The Arrow schema that a Parquet file carries, found before a reader makes objects of it.

Every way to open a Parquet file with pyarrow, to read its metadata alone too, parses the schema that is in it, and that
can take ten thousand times as much memory as it has bytes. So its text is found here in the bytes of the footer, which
is a Thrift structure in compact form: a length and the key, a mark, a length and the value, the end.
"""

from __future__ import annotations

import base64
from typing import Any

from maskmill.pipeline.storage.arrow_schema import find_excess_of_message

MAX_FOOTER_BYTES = 64 << 20
_MAGIC = b"PAR1"
_TAIL_BYTES = 4 + len(_MAGIC)
_KEY = b"ARROW:schema"
_VALUE_FOLLOWS, _END = b"\x18", b"\0"
_SPACE = 0x20
_LENGTH_BYTES, _GOES_ON = 5, 0x80  # seven bits a byte, of which each but the last has the eighth set


def check_stored_schema(file: Any) -> None:
    """Refuse a Parquet file whose Arrow schema would take far more memory than it has bytes.

    Args:
        file: An Arrow file that can be sought in.

    Raises:
        ValueError: It does, or it is no Parquet file.
    """
    size = file.size()
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read(_TAIL_BYTES)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length > min(size - _TAIL_BYTES, MAX_FOOTER_BYTES):
        raise ValueError("it is no Parquet file")
    file.seek(size - _TAIL_BYTES - length)
    footer = file.read(length)
    file.seek(0)
    at = footer.find(_KEY)
    while at >= 0:
        before = footer[at - 1] if at else 0
        if before == len(_KEY):
            if excess := find_excess_of_message(_read_value(footer, at + len(_KEY))):
                raise ValueError(f"the Arrow schema in it is not read: {excess}")
        elif before < _SPACE:  # a length written in more bytes than it needs
            raise ValueError("the key of its Arrow schema is written in another way")
        at = footer.find(_KEY, at + 1)


def _read_value(footer: bytes, at: int) -> bytes:
    """The value behind a key: base64 of a message."""
    length = shift = 0
    stop = start = at + 1
    for byte in footer[start : start + _LENGTH_BYTES]:
        length |= (byte & 0x7F) << shift
        shift += 7
        start += 1
        if byte < _GOES_ON:
            stop = start + length
            break
    if footer[at : at + 1] != _VALUE_FOLLOWS or footer[stop : stop + 1] != _END:
        raise ValueError("its Arrow schema is not written as its key, its value and no more")
    return base64.b64decode(footer[start:stop], validate=True)
