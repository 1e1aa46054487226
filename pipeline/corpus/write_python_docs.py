"""The documentation of the installed Python packages as files of JSON lines, written once."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from maskmill.pipeline.corpus.python_docs import iter_python_docs
from maskmill.pipeline.storage.local_files import open_durable
from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES, read_regular
from maskmill.schemas.errors import ConfigError

MARKER_NAME = "python_docs.complete.json"


@dataclass(frozen=True)
class WrittenCorpus:
    """The result of `write_python_docs`.

    Attributes:
        paths: The JSONL files, in order.
        num_documents: Documents in all files.
        num_bytes: Bytes of all files.
        reused: Whether the files existed already and nothing was written.
    """

    paths: tuple[str, ...]
    num_documents: int
    num_bytes: int
    reused: bool


def write_python_docs(
    folder: str,
    *,
    num_files: int = 9,
    target_bytes: int = 14_000_000,
    roots: Iterable[tuple[str, str]] | None = None,
) -> WrittenCorpus:
    """Write the corpus as JSONL files of about equal size, or do nothing if it is already complete.

    Each document goes to the file that is smallest so far (ties to the lowest number), so every file holds
    some of every package. Files appear whole, under their final name; the marker comes last.

    Args:
        folder: A local folder; made if missing.
        num_files: How many files to spread the documents over.
        target_bytes: Bytes of JSONL after which to stop.
        roots: See `iter_python_docs`.

    Returns:
        The files and their totals.
    """
    wanted = {"num_files": num_files, "target_bytes": target_bytes}
    if (standing := _read_marker(folder, wanted)) is not None:
        return standing
    files: list[list[bytes]] = [[] for _ in range(num_files)]
    sizes = [0] * num_files
    with _paused_collector():
        for doc in iter_python_docs(target_bytes=target_bytes, roots=roots):
            line = doc.to_json_line()
            smallest = sizes.index(min(sizes))
            files[smallest].append(line)
            sizes[smallest] += len(line)
    names = [f"python_docs-{number:02d}.jsonl" for number in range(num_files)]
    for name, lines in zip(names, files, strict=True):
        with open_durable(os.path.join(folder, name)) as file:
            file.write(b"".join(lines))
    totals = {"num_documents": sum(map(len, files)), "sizes_bytes": dict(zip(names, sizes, strict=True))}
    with open_durable(os.path.join(folder, MARKER_NAME)) as file:
        file.write(json.dumps(wanted | totals, indent=1).encode())
    paths = tuple(os.path.join(folder, name) for name in names)
    return WrittenCorpus(paths, sum(map(len, files)), sum(sizes), reused=False)


@contextmanager
def _paused_collector() -> Iterator[None]:
    """Keep the cycle collector from walking every syntax tree; see `write_python_docs`."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_marker(folder: str, wanted: dict[str, int]) -> WrittenCorpus | None:
    """Return the existing files if the marker has the same settings and every file has its size."""
    try:
        marker = json.loads(read_regular(os.path.join(folder, MARKER_NAME), MAX_TEXT_BYTES))
        sizes = dict(marker["sizes_bytes"])
        paths = tuple(os.path.join(folder, name) for name in sizes)
        if any(marker[key] != value for key, value in wanted.items()):
            return None
        if any(os.path.getsize(path) != size for path, size in zip(paths, sizes.values(), strict=True)):
            return None
        return WrittenCorpus(paths, int(marker["num_documents"]), sum(sizes.values()), reused=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError):
        return None
