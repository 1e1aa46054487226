"""Thrift's compact protocol, read strictly: what Parquet writes before each page and at the end of a file.

A library that reads it makes room for whatever a list states, so lists are counted here before any library sees them.
Strict means that a number is written in as few bytes as it needs, and that the fields of a structure rise: then every
reader finds the same in the same bytes.
"""

from __future__ import annotations

from typing import NamedTuple

Value = int | bool | bytes | list["Value"] | dict[int, "Value"]
"""The value of a field; a structure is a dictionary by field number."""

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 12
_INTEGERS = {4: 16, 5: 32, 6: 64}  # bits of each kind
_MAX_DEPTH = 10
_LONG_LIST = _LONG_STEP = 15
_SEVEN_BITS, _GOES_ON = 0x7F, 0x80
_DOUBLE_BYTES = 8


class TruncatedError(ValueError):
    """The bytes end within the structure."""


class Structure(NamedTuple):
    """A structure that was read.

    Attributes:
        fields: By number.
        stop: The place behind it.
    """

    fields: dict[int, Value]
    stop: int


def parse_structure(data: bytes, most_parts: int) -> Structure:
    """Parse the structure that bytes begin with.

    Args:
        data: The bytes.
        most_parts: Fields and items of lists in it, at any depth.

    Raises:
        TruncatedError: The bytes end before it does.
        ValueError: It is not one, it is nested too deeply, or has more parts.
    """
    reader = _Reader(data, most_parts)
    return Structure(reader.read_structure(0), reader.at)


class _Reader:
    def __init__(self, data: bytes, most_parts: int) -> None:
        self._data = data
        self._parts_left = most_parts
        self.at = 0

    def read_structure(self, depth: int) -> dict[int, Value]:
        if depth > _MAX_DEPTH:
            raise ValueError("structures are nested too deeply")
        fields: dict[int, Value] = {}
        last = 0
        while (head := self._take(1)[0]) != _STOP:
            self._count(1)
            number = last + (head >> 4) if head >> 4 else self._read_integer(16)
            if number <= last or (head <= _LONG_STEP and number - last <= _LONG_STEP):
                raise ValueError(f"field {number} is written in another way, or follows field {last}")
            fields[number] = self._read_value(head & 0xF, depth)
            last = number
        return fields

    def _read_value(self, kind: int, depth: int) -> Value:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in _INTEGERS:
            return self._read_integer(_INTEGERS[kind])
        if kind == _BYTE:
            return self._take(1)[0]
        if kind == _DOUBLE:
            return self._take(_DOUBLE_BYTES)
        if kind == _BINARY:
            return self._take(self._read_number(31))
        if kind == _LIST:
            return self._read_list(depth)
        if kind == _STRUCT:
            return self.read_structure(depth + 1)
        raise ValueError(f"a value of kind {kind}")

    def _read_list(self, depth: int) -> list[Value]:
        head = self._take(1)[0]
        kind = head & 0xF
        length = head >> 4 if head >> 4 < _LONG_LIST else self._read_number(31)
        self._count(length)
        if kind in (_TRUE, _FALSE):  # a byte each in a list
            return [byte == _TRUE for byte in self._take(length)]
        if kind == _LIST:
            raise ValueError("a list of lists")
        return [self._read_value(kind, depth) for _ in range(length)]

    def _read_integer(self, bits: int) -> int:
        number = self._read_number(bits)
        return number >> 1 ^ -(number & 1)

    def _read_number(self, bits: int) -> int:
        number = shift = 0
        while True:
            byte = self._take(1)[0]
            number |= (byte & _SEVEN_BITS) << shift
            shift += 7
            if byte < _GOES_ON:
                break
            if shift >= bits:
                raise ValueError(f"a number of more than {bits} bits")
        if number >> bits or (shift > 7 and not byte):  # written in more bytes than it needs
            raise ValueError(f"a number that is not written as one of {bits} bits")
        return number

    def _take(self, length: int) -> bytes:
        taken = self._data[self.at : self.at + length]
        if len(taken) < length:
            raise TruncatedError("the bytes end within a structure")
        self.at += length
        return taken

    def _count(self, parts: int) -> None:
        self._parts_left -= parts
        if self._parts_left < 0:
            raise ValueError("it has more parts than any that maskmill writes")
