"""Parquet: a document a row.

Of a part of a file the row groups that begin in it are read, one after the other, and of each some 4 MiB of rows at a
time, one column at a time: a row group of 500 MB takes little more memory than one of 5. Only the columns of
the text, the id and the source are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import pyarrow.parquet as pq

from maskmill.pipeline.corpus.formats.document_block import DocumentBlock, Opened, Origin
from maskmill.pipeline.corpus.formats.format import Format
from maskmill.pipeline.corpus.formats.split import split_rows
from maskmill.pipeline.corpus.formats.table_rows import Columns, choose_rows, read_rows
from maskmill.schemas.run_file import InputSection

BATCH_BYTES = 4 << 20
MAX_BATCH_ROWS = 256
"""A text that a dictionary has once may be that of each row, and a row group does not say how large its largest are."""
OPTIONS = {
    "buffer_size": 1 << 20,  # bytes of a column chunk at a time
    "pre_buffer": False,  # it reads the column chunks of a whole row group at once: 530 MB more for one of 530 MB
    "page_checksum_verification": True,
}


def iter_parquet(file: Origin, opened: Opened, settings: InputSection) -> Iterator[DocumentBlock]:
    """The documents of a Parquet file."""
    source = opened.open_seekable()
    with opened.explain("Parquet"), pq.ParquetFile(source, **OPTIONS) as table:
        columns = Columns.find(table.schema_arrow, settings, file)
        row = 1
        metadata = table.metadata
        for group in choose_rows(_place_groups(metadata, opened.size_bytes), opened):
            sizes = metadata.row_group(group)
            mean_bytes = max(1, sizes.total_byte_size // max(1, sizes.num_rows))
            rows = min(MAX_BATCH_ROWS, max(1, BATCH_BYTES // mean_bytes))
            for batch in table.iter_batches(rows, row_groups=[group], columns=columns.paths, use_threads=False):
                yield read_rows(batch, columns, row, file, settings)
                row += len(batch)


def _place_groups(metadata: pq.FileMetaData, size_bytes: int) -> list[int]:
    """Where each row group begins if the file is divided in proportion to their uncompressed bytes.

    Where their pages are is not asked: pyarrow 26.0 ends the process if the description of a column is damaged.
    """
    sizes = [max(0, metadata.row_group(group).total_byte_size) for group in range(metadata.num_row_groups)]
    total = max(1, sum(sizes))
    return [size_bytes * before // total for before in accumulate(sizes[:-1], initial=0)] if sizes else []


PARQUET = Format(
    "parquet",
    "Parquet",
    (".parquet",),
    iter_parquet,
    split_rows,
    magic=(b"PAR1",),
    is_compressible=False,
    compresses_itself=True,
)
