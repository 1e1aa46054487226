"""`maskmill report`: what stands at a URL, from its manifests alone."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from jobs.console import open_console
from jobs.tables import document_lines, packed_lines, table_of_pairs
from jobs.tokenizer_report import table_of_sources
from pipeline.storage.datasets import MANIFEST, model_of_manifest, read_manifest
from pipeline.storage.store import Store, open_store
from pipeline.verification.verify_output import list_parts
from schemas.errors import ConfigError
from schemas.manifest import DocumentsManifest, EncodedManifest, TokenizerManifest


def report(dataset: str) -> int:
    """Print a table for a dataset, or one for every part of a run; returns the exit status."""
    store = open_store(dataset)
    console = open_console()
    parts = [] if store.exists(MANIFEST) else [folder for folder, finished in list_parts(store).items() if finished]
    stores = [store.below(folder) for folder in parts] or [store] * store.exists(MANIFEST)
    tables = [table for part in stores for table in _tables(part)]
    if not tables:
        raise ConfigError(
            "nothing to report on here", path=store.display_url, expected=f"a {MANIFEST}", action="check the path"
        )
    for table in tables:
        console.print(table)
        console.print()
    return 0


def _tables(store: Store) -> list[Table]:
    title = store.display_url
    manifest = read_manifest(store, model_of_manifest(store))
    own = ("fingerprint", manifest.fingerprint)
    if isinstance(manifest, DocumentsManifest):
        return [table_of_pairs(title, [*document_lines(manifest), own])]
    if isinstance(manifest, TokenizerManifest):
        pairs = [("vocabulary", f"{manifest.vocab_size:,} pieces"), *_count_lines(manifest.counts), own]
        return [table_of_pairs(title, pairs), table_of_sources(manifest.sources)]
    if isinstance(manifest, EncodedManifest):
        return [table_of_pairs(title, [*_count_lines(manifest.counts.model_dump()), own])]
    return [table_of_pairs(title, [*packed_lines(manifest), own])]


def _count_lines(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), f"{count:,}") for name, count in counts.items()]
