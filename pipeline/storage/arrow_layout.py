"""The layout of a schema's record batches in a file, and a bound of the memory they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.storage.arrow_metadata import FIXED_LIST, LIST, NUMBERS, TEXT
from maskmill.schemas.rows import Compression

CODECS = {Compression.NONE: -1, Compression.LZ4: 0, Compression.ZSTD: 1}
"""Arrow's numbers of the ways to compress a record batch's buffers."""
_NO_LIMIT = -1
_METADATA_BYTES = 1 << 10
_BYTES_OF_A_BUFFER = 256  # its entries in the metadata, its padding and what an incompressible one grows by, in all


@dataclass(frozen=True, eq=False)
class BatchLayout:
    """The nodes and buffers of a schema's record batches, in the order in which Arrow writes them.

    Attributes:
        schema: Of numbers, booleans, strings, and lists of fixed or free length.
        nodes: int64 (N, 5), a line for each array; see `arrow_metadata`.
        num_buffers: Buffers of all of them.
    """

    schema: pa.Schema
    nodes: npt.NDArray[np.int64]
    num_buffers: int

    @staticmethod
    def of(schema: pa.Schema, most_items: Mapping[str, int] | None = None) -> BatchLayout:
        """The layout of a schema.

        Args:
            schema: Of the file.
            most_items: Of list columns, the most items that a row may have; without it there may be any number, which
                takes as much memory as in the file. Record batches that may be compressed need it for each.
        """
        nodes: list[tuple[int, int, int, int, int]] = []
        for field in schema:
            _add_nodes(nodes, field.type, -1, (most_items or {}).get(field.name, _NO_LIMIT))
        array = np.array(nodes, np.int64).reshape(-1, 5)
        array.flags.writeable = False  # to numba another type, for which every kernel would be compiled
        buffers = {NUMBERS: 2, LIST: 2, TEXT: 3, FIXED_LIST: 1}
        return BatchLayout(schema, array, sum(buffers[node[0]] for node in nodes))

    def most_bytes(self, num_rows: int) -> int:
        """The most bytes that so many rows take, in a file and in memory; every list must have a limit."""
        total = _METADATA_BYTES + _BYTES_OF_A_BUFFER * self.num_buffers
        lengths: list[int] = []
        for kind, width, parent, _, _ in self.nodes.tolist():
            length = num_rows if parent < 0 else lengths[parent] * self._items(parent)
            lengths.append(length)
            total += (length * width + 7) // 8 if kind == NUMBERS else (length + 1) * width
        return total + total // 128

    def _items(self, node: int) -> int:
        kind, _, _, times, most = self.nodes[node].tolist()
        items: int = times if kind == FIXED_LIST else most
        if items < 0:
            raise ValueError(f"the lists of {self.schema.names} have no limit")
        return items


def _add_nodes(nodes: list[Any], kind: pa.DataType, parent: int, most: int) -> None:
    here = len(nodes)
    if pa.types.is_fixed_size_list(kind):
        nodes.append((FIXED_LIST, 0, parent, kind.list_size, _NO_LIMIT))
        _add_nodes(nodes, kind.value_type, here, _NO_LIMIT)
    elif pa.types.is_list(kind):
        nodes.append((LIST, 4, parent, 0, most))
        _add_nodes(nodes, kind.value_type, here, _NO_LIMIT)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        nodes.append((TEXT, 4, parent, 0, _NO_LIMIT))
    elif pa.types.is_large_string(kind):
        nodes.append((TEXT, 8, parent, 0, _NO_LIMIT))
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        nodes.append((NUMBERS, kind.bit_width, parent, 0, _NO_LIMIT))
    else:
        raise ValueError(f"{kind} is not a type of maskmill's files")
