"""`maskmill prepare` and its parts: the composition root of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.open_run import Run, open_run
from jobs.pack import pack
from jobs.shard import shard
from jobs.tokenizer import tokenizer
from schemas.manifest import DocumentsManifest, PackedManifest, TokenizerManifest
from schemas.run_file import RunFile

PARTS = ("shard", "tokenizer", "pack")


@dataclass(frozen=True)
class Prepared:
    """What a run has written so far; parts that were not asked for are empty."""

    documents: list[DocumentsManifest]
    tokenizer: TokenizerManifest | None
    packed: list[PackedManifest]
    timings: dict[str, dict[str, Any]]


def prepare(settings: RunFile, listen: Callable[[dict[str, Any]], None], last_part: str = "pack") -> Prepared:
    """Run a run file up to and including a part; parts that stand are not done again.

    Args:
        settings: The run file.
        listen: Hears every event.
        last_part: `shard`, `tokenizer` or `pack`.
    """
    with open_run(settings, listen) as run:
        return _prepare(run, PARTS.index(last_part))


def _prepare(run: Run, last: int) -> Prepared:
    documents = shard(run)
    trained = tokenizer(run, documents[0]) if last >= 1 else None
    packed = pack(run, documents, trained) if last >= 2 and trained else []
    run.finish()
    return Prepared(documents, trained, packed, run.timings())
