"""`maskmill report`: what stands at a URL, from its manifests alone."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from jobs.tables import document_lines, packed_lines, table_of_pairs
from jobs.tokenizer_report import table_of_sources
from pipeline.storage.datasets import MANIFEST
from pipeline.storage.store import Store, open_store
from pipeline.verification.verify_output import list_parts
from schemas.errors import ConfigError
from schemas.manifest import DocumentsManifest, EncodedManifest, PackedManifest, TokenizerManifest, parse_manifest


def report(dataset: str) -> int:
    """Print a table for a dataset, or one for every part of a run; returns the exit status."""
    store = open_store(dataset)
    console = Console()
    parts = [] if store.exists(MANIFEST) else [folder for folder, finished in list_parts(store).items() if finished]
    stores = [store.below(folder) for folder in parts] or [store] * store.exists(MANIFEST)
    tables = [table for part in stores for table in _tables(part)]
    if not tables:
        raise ConfigError(
            "nothing to report on here", path=store.display_url, expected=f"a {MANIFEST}", action="check the path"
        )
    for table in tables:
        console.print(table, highlight=False)
        console.print()
    return 0


def _tables(store: Store) -> list[Table]:
    title = store.display_url
    data = store.read_bytes(MANIFEST)
    path = store.locate(MANIFEST)
    kind = json.loads(data).get("kind")
    if kind == "documents":
        documents = parse_manifest(DocumentsManifest, data, path)
        return [table_of_pairs(title, [*document_lines(documents), ("fingerprint", documents.fingerprint)])]
    if kind == "tokenizer":
        tokenizer = parse_manifest(TokenizerManifest, data, path)
        counts = [(name.replace("_", " "), f"{count:,}") for name, count in tokenizer.counts.items()]
        pairs = table_of_pairs(title, [("vocabulary", f"{tokenizer.vocab_size:,} pieces"), *counts])
        return [pairs, table_of_sources(tokenizer.sources)]
    if kind == "encoded":
        encoded = parse_manifest(EncodedManifest, data, path)
        counts = [(name.replace("_", " "), f"{count:,}") for name, count in encoded.counts.model_dump().items()]
        return [table_of_pairs(title, [*counts, ("fingerprint", encoded.fingerprint)])]
    packed = parse_manifest(PackedManifest, data, path)
    return [table_of_pairs(title, [*packed_lines(packed), ("fingerprint", packed.fingerprint)])]
