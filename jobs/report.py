"""`maskmill report`: what a URL contains, from its manifests alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from rich.table import Table

from maskmill.jobs.console import open_console
from maskmill.jobs.tables import table_of_pairs, table_of_terms
from maskmill.jobs.tokenizer_report import table_of_rows, table_of_sources
from maskmill.pipeline.run.describe_counts import count_lines, document_lines, packed_lines, source_rows
from maskmill.pipeline.run.list_parts import list_parts
from maskmill.pipeline.run.parts import model_of_manifest
from maskmill.pipeline.storage.datasets import MANIFEST, read_manifest
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.verification.verify_output import explain_nothing
from maskmill.schemas.manifest import DocumentsManifest, EncodedManifest, TokenizerManifest
from maskmill.schemas.wording import count_of

_table = partial(table_of_pairs, explain=False)


def report(dataset: str) -> int:
    """Print a table for a dataset, or one for every part of a run; returns the exit status."""
    store = open_store(dataset)
    console = open_console()
    parts = {} if store.exists(MANIFEST) else list_parts(store)
    stores = [store.below(folder) for folder, finished in parts.items() if finished]
    stores = stores or [store] * store.exists(MANIFEST)
    tables = [table for part in stores for table in _tables(part)]
    if not tables:
        raise explain_nothing(store, "report on")
    for table in tables:
        console.print(table)
        console.print()
    for folder, finished in parts.items():
        if not finished:
            console.print(f"{store.locate(folder)}: unfinished, so there is nothing to report yet")
    console.print(table_of_terms(_names(tables)))
    return 0


def _names(tables: Sequence[Table]) -> Iterator[str]:
    """The terms in some tables: the headings of their columns and the beginnings of their lines."""
    for table in tables:
        yield from (str(column.header) for column in table.columns)
        yield from map(str, table.columns[0].cells)


def _tables(store: Store) -> list[Table]:
    title = store.display_url
    manifest = read_manifest(store, model_of_manifest(store))
    own = ("fingerprint", manifest.fingerprint)
    if isinstance(manifest, DocumentsManifest):
        rows = source_rows(manifest.counts)
        return [_table(title, [*document_lines(manifest), own]), *([table_of_rows(rows)] if rows else [])]
    if isinstance(manifest, TokenizerManifest):
        pairs = [("vocabulary", count_of(manifest.vocab_size, "piece")), *count_lines(manifest.counts), own]
        return [_table(title, pairs), table_of_sources(manifest.sources)]
    if isinstance(manifest, EncodedManifest):
        return [_table(title, [*count_lines(manifest.counts.model_dump()), own])]
    return [_table(title, [*packed_lines(manifest), own])]
