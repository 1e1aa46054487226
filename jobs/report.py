"""`maskmill report`: what stands at a URL, from its manifests alone."""

from __future__ import annotations

import json

from rich.console import Console

from jobs.tables import document_lines, packed_lines, table_of_pairs
from pipeline.storage.datasets import MANIFEST
from pipeline.storage.store import Store, open_store
from pipeline.verification.verify_output import FOLDERS
from schemas.errors import ConfigError
from schemas.manifest import DocumentsManifest, PackedManifest, TokenizerManifest, parse_manifest


def report(dataset: str) -> int:
    """Print a table for a dataset, or one for every part of a run; returns the exit status."""
    store = open_store(dataset)
    console = Console()
    stores = [store] if store.exists(MANIFEST) else [store.below(folder) for folder in FOLDERS]
    tables = [_table(part) for part in stores if part.exists(MANIFEST)]
    if not tables:
        raise ConfigError(
            "nothing to report on here", path=store.display_url, expected=f"a {MANIFEST}", action="check the path"
        )
    for title, lines in tables:
        console.print(table_of_pairs(title, lines), highlight=False)
        console.print()
    return 0


def _table(store: Store) -> tuple[str, list[tuple[str, str]]]:
    data = store.read_bytes(MANIFEST)
    path = store.locate(MANIFEST)
    kind = json.loads(data).get("kind")
    if kind == "documents":
        documents = parse_manifest(DocumentsManifest, data, path)
        return store.display_url, [*document_lines(documents), ("fingerprint", documents.fingerprint)]
    if kind == "tokenizer":
        tokenizer = parse_manifest(TokenizerManifest, data, path)
        counts = [(name.replace("_", " "), f"{count:,}") for name, count in tokenizer.counts.items()]
        return store.display_url, [("vocabulary", f"{tokenizer.vocab_size:,} pieces"), *counts]
    packed = parse_manifest(PackedManifest, data, path)
    return store.display_url, [*packed_lines(packed), ("fingerprint", packed.fingerprint)]
