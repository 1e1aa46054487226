"""Rows of an Arrow table as documents; the rules are those of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.corpus.formats.document_block import DocumentBlock, Opened, Origin, Reason, Reject
from maskmill.pipeline.corpus.formats.find_field import iter_splits
from maskmill.pipeline.corpus.formats.judge_document import judge_document
from maskmill.schemas.documents import KEPT_QUARANTINE_BYTES
from maskmill.schemas.errors import InputDataError
from maskmill.schemas.run_file import InputSection

MAX_NAMED_COLUMNS = 20  # in a message


class _Other:
    """Stands for a value that is neither text nor nothing."""


_OTHER = _Other()
_Value = bytes | _Other | None


@dataclass(frozen=True)
class Columns:
    """Where the fields of a document are in a table; each is a column and the keys inside it.

    Attributes:
        text: Of the text, one or several.
        doc_id: Of the id, if there is one.
        source: Of the source, if there is one.
    """

    text: tuple[tuple[str, ...], ...]
    doc_id: tuple[str, ...] | None
    source: tuple[str, ...] | None

    @classmethod
    def find(cls, schema: pa.Schema, settings: InputSection, file: Origin) -> Columns:
        """The columns that the settings name.

        Raises:
            InputDataError: There is no column with the text, or with a part of it.
        """
        texts = [_find_column(schema, field) for field in settings.text_fields]
        if None in texts:
            raise no_text_column(file, settings.text_fields[texts.index(None)], schema.names)
        return cls(
            tuple(keys for keys in texts if keys is not None),
            _find_column(schema, settings.id_field) if settings.id_field else None,
            _find_column(schema, settings.source_field) if settings.source_field else None,
        )

    @property
    def paths(self) -> list[str]:
        """The paths of all fields, joined by dots, as Parquet names its leaf columns."""
        return [".".join(keys) for keys in (*self.text, self.doc_id, self.source) if keys is not None]


def no_text_column(file: Origin, field: str, names: Sequence[str]) -> InputDataError:
    """The error for a table that lacks a column that the settings name."""
    named = ", ".join(names[:MAX_NAMED_COLUMNS]) + (", ..." if len(names) > MAX_NAMED_COLUMNS else "")
    return InputDataError(
        "the table has no column for the text",
        path=file.path,
        expected=f"a column {field}, as input.text_field says",
        found=f"columns {named}" if names else "no columns",
        action="give its name as input.text_field, or leave the file out of input.paths",
    )


def choose_rows(starts: Sequence[int], opened: Opened) -> Sequence[int]:
    """The row groups or record batches that belong to what is opened: those that begin in a part, or all.

    Args:
        starts: The first byte of each, as the file says. One that would begin before the one in front of it counts as
            beginning with it, so the parts of a file give its rows in their order.
        opened: What is read.
    """
    if opened.stop is None or not starts:
        return range(len(starts))
    places = np.maximum(np.maximum.accumulate(np.asarray(starts, np.int64)), 0)
    # What begins behind the file, which no sound file says, is in its last part: no row may be in none.
    stop = np.iinfo(np.int64).max if opened.stop == opened.size_bytes else opened.stop
    chosen: list[int] = np.flatnonzero((places >= opened.start) & (places < stop)).tolist()
    return chosen


def read_rows(
    batch: pa.RecordBatch, columns: Columns, first_row: int, file: Origin, settings: InputSection
) -> DocumentBlock:
    """The documents of some rows.

    Args:
        batch: The rows. Its values are validated here: a file's are whatever it holds.
        columns: Where their fields are.
        first_row: The number of the first row, from 1.
        file: Where they come from.
        settings: Limits.

    Raises:
        pyarrow.ArrowInvalid: The batch is no valid one.
    """
    batch.validate(full=False)
    block = DocumentBlock()
    parts = [_take_column(batch, keys) for keys in columns.text]
    fields = {
        **({"text": parts[0]} if len(parts) == 1 else dict(zip(settings.text_fields, parts, strict=True))),
        "id": None if columns.doc_id is None else _take_column(batch, columns.doc_id),
        "source": None if columns.source is None else _take_column(batch, columns.source),
    }
    are_utf8 = all(map(_are_utf8, parts))
    texts = _join_values([_list_values(part, len(batch)) for part in parts], settings.text_join_bytes)
    sources = _list_values(fields["source"], len(batch))
    ids = _list_values(fields["id"], len(batch), with_numbers=True)
    for place, (text, doc_id, source) in enumerate(zip(texts, ids, sources, strict=True)):
        row = first_row + place
        if isinstance(text, bytes) and not isinstance(doc_id, _Other) and not isinstance(source, _Other):
            reason = judge_document(text, doc_id, source, settings.max_text_bytes, is_known_utf8=are_utf8)
            if reason is None:
                block.append(row, text, doc_id, source, file)
                continue
        elif isinstance(doc_id, _Other):
            reason = Reason.BAD_ID
        else:
            reason = Reason.BAD_SOURCE if isinstance(source, _Other) else Reason.TEXT_NOT_STRING
        content = text if isinstance(text, bytes) else _describe(fields, place)
        block.rejects.append(Reject(file.path, row, reason, len(content), content[:KEPT_QUARANTINE_BYTES]))
    return block


_BYTES_OF = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}


def _find_column(schema: pa.Schema, path: str) -> tuple[str, ...] | None:
    if schema.names.count(path) == 1:
        return (path,)
    for key, rest in iter_splits(path):
        if schema.names.count(key) == 1 and pa.types.is_struct(schema.field(key).type):
            inner = _find_column(pa.schema(list(schema.field(key).type)), rest)
            if inner is not None:
                return (key, *inner)
    return None


def _take_column(batch: pa.RecordBatch, keys: Sequence[str]) -> pa.Array:
    """A validated column; text as bytes, and bytes as text: whether they are UTF-8 is judged one by one."""
    column = batch.column(keys[0])
    for key in keys[1:]:
        column = pc.struct_field(column, key)
    if pa.types.is_dictionary(column.type):
        column = pa.DictionaryArray.from_arrays(column.indices, _as_bytes(column.dictionary)).dictionary_decode()
    return _as_bytes(column)


def _as_bytes(column: pa.Array) -> pa.Array:
    column = column.view(_BYTES_OF.get(column.type, column.type))
    column.validate(full=True)
    return column


def _are_utf8(column: pa.Array) -> bool:
    """Whether all texts of a column are UTF-8: Arrow finds out several times as fast as one by one."""
    text = next((text for text, as_bytes in _BYTES_OF.items() if as_bytes == column.type), None)
    if text is None:
        return False
    try:
        column.view(text).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _list_values(column: pa.Array | None, num_rows: int, *, with_numbers: bool = False) -> list[_Value]:
    """The bytes of each string; None where it is null, `_OTHER` where it is something else.

    Args:
        column: From `_take_column`; None gives as many None.
        num_rows: Of it.
        with_numbers: Whether integers are text, their digits.
    """
    if column is None:
        return [None] * num_rows
    if with_numbers and pa.types.is_integer(column.type):
        return [None if number is None else str(number).encode() for number in column.to_pylist()]
    if column.type in _BYTES_OF.values():
        values: list[_Value] = column.to_pylist()
        return values
    return [_OTHER if valid else None for valid in column.is_valid().to_pylist()]


def _join_values(parts: Sequence[list[_Value]], separator: bytes) -> list[_Value]:
    """The texts of several fields joined, without those that are null or empty."""
    if len(parts) == 1:
        return parts[0]
    return [
        separator.join(text for text in texts if isinstance(text, bytes) and text)
        if not any(isinstance(text, _Other) for text in texts)
        else _OTHER
        for texts in zip(*parts, strict=True)
    ]


def _describe(fields: Mapping[str, pa.Array | None], place: int) -> bytes:
    """A row without text, as JSON."""
    row = {name: column[place].as_py() for name, column in fields.items() if column is not None}
    return json.dumps(row, ensure_ascii=False, default=_show).encode(errors="backslashreplace")


def _show(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else repr(value)
