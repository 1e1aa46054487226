"""Files that are read whole and parsed as JSON, which a dataset's writer may have made as large as the disk."""

from __future__ import annotations

from pipeline.storage.store import Store
from schemas.errors import RESTORE, ShardCorruptError

MAX_JSON_BYTES = 64 << 20
"""The largest manifest there can be has a line for each of 65,536 sources: some 20 MiB."""


def read_json_bytes(store: Store, path: str) -> bytes:
    """A file of JSON. Raises `FileNotFoundError` if there is none.

    Raises:
        ShardCorruptError: It is larger than any that maskmill writes.
    """
    data = store.read_range(path, 0, MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise ShardCorruptError(
            "a file is larger than any that maskmill writes",
            path=store.locate(path),
            expected=f"at most {MAX_JSON_BYTES} bytes",
            found="more",
            action=RESTORE,
        )
    return data
