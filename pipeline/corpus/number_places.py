"""Where documents were read, as numbers that rise from file to file and from line to line."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.schemas.errors import ConfigError

LINE_BITS = 40
MAX_FILES = 1 << (64 - LINE_BITS)


def number_places(documents: pa.Table) -> npt.NDArray[np.uint64]:
    """`(N,)` number of the file, in the order of the relative paths, * 2**40 + the line.

    Raises:
        ConfigError: There are more files or lines than numbers.
    """
    files = documents.column("file").to_numpy().astype(np.uint64)
    lines = documents.column("line").to_numpy()
    if len(files) and (files.max() >= MAX_FILES or lines.max() >> np.uint64(LINE_BITS)):
        raise ConfigError(
            "there is too much input to look for near duplicates",
            path="input.paths",
            expected=f"at most {MAX_FILES:,} files of {1 << LINE_BITS:,} lines",
            found=f"{int(files.max()) + 1:,} files or more, and a line {int(lines.max()):,}",
            action="join the files into fewer, or leave out documents.near_duplicates",
        )
    places: npt.NDArray[np.uint64] = files << np.uint64(LINE_BITS) | lines
    return places
