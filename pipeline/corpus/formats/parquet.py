"""Parquet: a document a row.

Row groups are read one after the other, and of each some 4 MiB of rows at a time, one column at a time: a row group of
500 MB takes little more memory than one of 5. Only the columns of the text, the id and the source are read.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.parquet as pq

from maskmill.pipeline.corpus.formats.document_block import DocumentBlock, Opened, Origin
from maskmill.pipeline.corpus.formats.format import Format
from maskmill.pipeline.corpus.formats.table_rows import Columns, read_rows
from maskmill.schemas.run_file import InputSection

BATCH_BYTES = 4 << 20
MAX_BATCH_ROWS = 8192
OPTIONS = {"buffer_size": 1 << 20, "page_checksum_verification": True}  # bytes of a column chunk at a time


def iter_parquet(file: Origin, opened: Opened, settings: InputSection) -> Iterator[DocumentBlock]:
    """The documents of a Parquet file."""
    source = opened.open_seekable()
    with opened.explain("Parquet"), pq.ParquetFile(source, **OPTIONS) as table:
        columns = Columns.find(table.schema_arrow, settings, file)
        row = 1
        for group in range(table.num_row_groups):
            sizes = table.metadata.row_group(group)
            mean_bytes = max(1, sizes.total_byte_size // max(1, sizes.num_rows))
            rows = min(MAX_BATCH_ROWS, max(1, BATCH_BYTES // mean_bytes))
            for batch in table.iter_batches(rows, row_groups=[group], columns=columns.paths, use_threads=False):
                yield read_rows(batch, columns, row, file, settings)
                row += len(batch)


PARQUET = Format(
    "parquet",
    "Parquet",
    (".parquet",),
    iter_parquet,
    magic=(b"PAR1",),
    is_compressible=False,
    compresses_itself=True,
)
