"""The input files of a run as columns: as an object each, a million of them would take more than 500 MB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

import pyarrow as pa

from maskmill.pipeline.corpus.input_file import InputFile

CHUNK_FILES = 1 << 14
_SCHEMA = pa.schema(
    [
        pa.field("url", pa.string()),
        pa.field("path", pa.string()),
        pa.field("size_bytes", pa.uint64()),
        pa.field("mark", pa.string()),
        pa.field("source", pa.string()),
        pa.field("format_name", pa.string()),
        pa.field("compression_name", pa.string()),
        pa.field("table", pa.uint32()),
    ]
)


class InputFiles(Sequence[InputFile]):
    """The input files of a run, each made when it is asked for.

    Args:
        files: Table by table, in the order of their paths in each.

    Attributes:
        assumed_text_bytes: Of all of them.
    """

    def __init__(self, files: Iterable[InputFile] = ()) -> None:
        self._chunks: list[pa.RecordBatch] = []
        self._size = self.assumed_text_bytes = 0
        waiting = iter(files)
        while chunk := list(islice(waiting, CHUNK_FILES)):
            columns = ([getattr(file, name) for file in chunk] for name in _SCHEMA.names)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
            self._chunks.append(pa.record_batch(arrays, schema=_SCHEMA))
            self._size += len(chunk)
            self.assumed_text_bytes += sum(file.assumed_text_bytes for file in chunk)

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, place: int) -> InputFile: ...
    @overload
    def __getitem__(self, place: slice) -> list[InputFile]: ...
    def __getitem__(self, place: int | slice) -> InputFile | list[InputFile]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(self._size))]
        chunk, row = divmod(range(self._size)[place], CHUNK_FILES)
        return InputFile(*(column[row].as_py() for column in self._chunks[chunk].columns))

    def __iter__(self) -> Iterator[InputFile]:
        for chunk in self._chunks:
            yield from map(InputFile, *(column.to_pylist() for column in chunk.columns))
