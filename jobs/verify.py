"""`maskmill verify`: re-read what was written and print what is wrong with it."""

from __future__ import annotations

from maskmill.jobs.console import open_console
from maskmill.jobs.progress import JsonLines
from maskmill.pipeline.verification.check_parts import Verified
from maskmill.pipeline.verification.verify import verify as verify_dataset
from maskmill.schemas.layout import RUN_RECORD
from maskmill.schemas.manifest import DocumentsManifest, EncodedManifest, PackedManifest, TokenizerManifest
from maskmill.schemas.wording import count_of


def verify(dataset: str, as_json: bool) -> int:
    """Verify a dataset or a run; returns the exit status, 1 if anything is wrong."""
    if as_json:
        return 1 if verify_dataset(dataset, JsonLines()).findings else 0
    console = open_console(soft_wrap=True)

    def print_part(part: Verified) -> None:
        for finding in part.findings:
            console.print(f"wrong  {finding}", style="red")
        if not part.findings and part.manifest is not None:
            console.print(f"good   {part.path}: {_describe(part.manifest)}")
        for warning in part.warnings:
            console.print(f"note   {part.path}: {warning}")

    report = verify_dataset(dataset, on_part=print_part)
    if report.findings:
        console.print(f"{count_of(len(report.findings), 'thing is', 'things are')} wrong")
        return 1
    console.print(
        "everything is as it was written"
        if report.knows_all
        else f"what is here is as it was written; without {RUN_RECORD} it is not known whether parts are missing"
    )
    return 0


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
