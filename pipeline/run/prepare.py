"""All parts of a run, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maskmill.pipeline.run.make_documents import make_documents
from maskmill.pipeline.run.make_rows import make_rows
from maskmill.pipeline.run.make_tokenizer import make_tokenizer
from maskmill.pipeline.run.open_run import open_run
from maskmill.pipeline.run.parts import Part
from maskmill.schemas.manifest import DocumentsManifest, PackedManifest, TokenizerManifest
from maskmill.schemas.run_file import RunFile


@dataclass(frozen=True)
class Prepared:
    """What a run has written so far; parts that were not asked for are empty.

    Attributes:
        documents: The documents to train on, then the held-out ones.
        tokenizer: The tokenizer.
        packed: The rows to train on as the run file lists them, then the held-out ones.
        timings: What `timings.json` says: stages that were run now, and earlier.
        ran: The stages of which units were run now.
        is_unchanged: Whether there was nothing to do.
    """

    documents: list[DocumentsManifest]
    tokenizer: TokenizerManifest | None
    packed: list[PackedManifest]
    timings: dict[str, dict[str, Any]]
    ran: frozenset[str]
    is_unchanged: bool


def prepare(
    settings: RunFile,
    listen: Callable[[dict[str, Any]], None],
    last_part: Part = Part.PACK,
    *,
    replace: bool = False,
) -> Prepared:
    """Run a run file up to and including a part; parts that stand are not done again.

    Args:
        settings: The run file.
        listen: Callback that receives every event.
        last_part: The last part to do.
        replace: Make the tokenizer or the rows again where they stand with other settings.
    """
    with open_run(settings, listen, replace=replace) as run:
        documents = make_documents(run)
        trained = make_tokenizer(run, documents[0]) if last_part >= Part.TOKENIZER else None
        packed = make_rows(run, documents, trained) if trained and last_part >= Part.PACK else []
        is_unchanged = not (run.ran or run.has_changed_masking)
        return Prepared(documents, trained, packed, run.finish(), run.ran, is_unchanged)
