"""Files compared with the checksums that were written, and parts of files whose length is checked."""

from __future__ import annotations

import pyarrow as pa
import xxhash

from maskmill.pipeline.storage.failures import explained_failures
from maskmill.schemas.errors import RESTORE, ShardCorruptError

_PART_BYTES = 1 << 18


def read_span(file: pa.NativeFile, offset: int, length: int, path: str) -> pa.Buffer:
    """Bytes of a file that it had when it was opened.

    Raises:
        ShardCorruptError: It was cut short meanwhile.
    """
    try:
        with explained_failures(path):
            file.seek(offset)
            data = file.read_buffer(length)
    except EOFError as error:  # of a remote file
        raise _cut_short(path, f"{length} bytes from {offset}", str(error)) from None
    if data.size != length:
        raise _cut_short(path, f"{length} bytes from {offset}", f"{data.size}")
    return data


def _cut_short(path: str, expected: str, found: str) -> ShardCorruptError:
    return ShardCorruptError(
        "the file was cut short while it was read", path=path, expected=expected, found=found, action=RESTORE
    )


def check_bytes(data: pa.Buffer | bytes, checksum: str, path: str) -> None:
    """Compare a whole file with its xxh3-128.

    Raises:
        ShardCorruptError: They differ.
    """
    _compare(xxhash.xxh3_128_hexdigest(data), checksum, memoryview(data).nbytes, path)


def _compare(found: str, checksum: str, num_bytes: int, path: str) -> None:
    if found != checksum:
        raise ShardCorruptError(
            "the bytes of a file have changed",
            path=path,
            expected=f"xxh3-128 {checksum}",
            found=f"{found} over {num_bytes} bytes",
            action="restore the file from a good copy, or write the dataset again",
        )


def check_file(file: pa.NativeFile, checksum: str, path: str) -> None:
    """Compare the xxh3-128 of a file that is read in parts."""
    _compare(hash_file(file, path), checksum, file.size(), path)


def hash_file(file: pa.NativeFile, path: str) -> str:
    """The xxh3-128 of a file that is read in parts, hexadecimal."""
    digest = xxhash.xxh3_128()
    part = memoryview(bytearray(_PART_BYTES))
    try:
        with explained_failures(path):
            file.seek(0)
            while length := file.readinto(part):
                digest.update(part[:length])
    except EOFError as error:  # of a remote file
        raise _cut_short(path, "all bytes that it had when it was opened", str(error)) from None
    return digest.hexdigest()
