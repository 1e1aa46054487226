"""datatrove reading documents and writing them as Parquet, in the same order and with nothing dropped.

    python peer_datatrove_copy.py FOLDER PATTERN OUTPUT

One task of its local executor reads the files of the folder that match the pattern. Prints one line of JSON.
"""

from __future__ import annotations

import glob
import json
import os
import sys

import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.writers import ParquetWriter


def main(folder, pattern, output):
    """Copy the documents of some files."""
    reader = ParquetReader if pattern.endswith(".parquet") else JsonlReader
    pipeline = [reader(folder, glob_pattern=pattern), ParquetWriter(os.path.join(output, "copied"))]
    LocalPipelineExecutor(pipeline=pipeline, tasks=1, logging_dir=os.path.join(output, "logs")).run()
    written = glob.glob(os.path.join(output, "copied", "*.parquet"))
    print(json.dumps({"documents": sum(pq.read_metadata(path).num_rows for path in written)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
