"""datatrove reading documents and writing them as Parquet, in the same order and with nothing dropped.

    python peer_datatrove_copy.py FOLDER PATTERN OUTPUT

One task reads the files of the folder that match the pattern; what it imports first is not in the time. Prints one line
of JSON.
"""

from __future__ import annotations

import json
import sys
import time

from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.writers import ParquetWriter


def main(folder, pattern, output):
    """Copy the documents of some files."""
    reader = ParquetReader if pattern.endswith(".parquet") else JsonlReader
    started = time.perf_counter()
    documents = 0
    writer = ParquetWriter(output)
    for document in writer.run(reader(folder, glob_pattern=pattern).run(None, 0, 1), 0, 1):
        documents += bool(document.text)
    print(json.dumps({"seconds": time.perf_counter() - started, "documents": documents}))


if __name__ == "__main__":
    main(*sys.argv[1:])
