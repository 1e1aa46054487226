"""`maskmill verify`: re-read what was written and say what is wrong with it."""

from __future__ import annotations

import os

from maskmill.jobs.console import open_console
from maskmill.jobs.progress import JsonLines
from maskmill.pipeline.storage.datasets import MANIFEST
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.verification.verify_output import verify_output
from maskmill.schemas.layout import RUN_RECORD
from maskmill.schemas.manifest import DocumentsManifest, EncodedManifest, PackedManifest, TokenizerManifest
from maskmill.schemas.wording import count_of


def verify(dataset: str, as_json: bool) -> int:
    """Verify a dataset or a run; returns the exit status, 1 if anything is wrong."""
    console = open_console(soft_wrap=True)
    lines = JsonLines() if as_json else None

    def progress(path: str, done: int, total: int) -> None:
        if lines is not None:
            lines({"event": "shard_verified", "path": path, "done": done, "shards": total})

    wrong = 0
    store = open_store(dataset)
    for part in verify_output(store, progress, threads=len(os.sched_getaffinity(0))):
        wrong += len(part.findings)
        if lines is not None:
            found = [str(finding) for finding in part.findings]
            lines({"event": "verified", "path": part.path, "findings": found})
            continue
        for finding in part.findings:
            console.print(f"wrong  {finding}", style="red")
        if not part.findings and part.manifest is not None:
            console.print(f"good   {part.path}: {_describe(part.manifest)}")
    if lines is None:
        console.print(f"{count_of(wrong, 'thing is', 'things are')} wrong" if wrong else _conclude(store))
    return 1 if wrong else 0


def _conclude(store: Store) -> str:
    """What is said where nothing is wrong."""
    if store.exists(MANIFEST) or store.exists(RUN_RECORD):
        return "everything is as it was written"
    return f"what is here is as it was written; without {RUN_RECORD} it is not known whether parts are missing"


def _describe(manifest: object) -> str:
    if isinstance(manifest, DocumentsManifest):
        return f"{count_of(manifest.documents, 'document')} in {count_of(manifest.num_shards, 'shard')}"
    if isinstance(manifest, PackedManifest):
        copies = count_of(manifest.copies, "static copy", "static copies")
        return f"{count_of(manifest.counts.rows, 'row')} in {count_of(manifest.num_shards, 'shard')}, {copies}"
    if isinstance(manifest, EncodedManifest):
        documents = count_of(manifest.counts.documents, "encoded document")
        return f"{documents} in {count_of(manifest.num_shards, 'shard')}"
    if isinstance(manifest, TokenizerManifest):
        return f"a vocabulary of {count_of(manifest.vocab_size, 'piece')}"
    return "whole"
