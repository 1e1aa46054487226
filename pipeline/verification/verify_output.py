"""Verification of whatever stands at a URL: a dataset, a tokenizer folder, or a whole run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.storage.arrow_files import check_bytes
from pipeline.storage.datasets import MANIFEST, read_manifest
from pipeline.storage.paths import check_inside
from pipeline.storage.store import Store
from pipeline.verification.findings import Finding
from pipeline.verification.verify_documents import verify_documents
from pipeline.verification.verify_packed import verify_packed
from schemas.errors import ConfigError, MaskmillError
from schemas.manifest import DocumentsManifest, PackedManifest, TokenizerManifest

FOLDERS = ("documents", "documents-heldout", "tokenizer", "packed", "packed-heldout")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Verified:
    """What was verified and what was wrong with it.

    Attributes:
        path: The folder.
        manifest: What its manifest says; `None` if that cannot be believed.
        findings: Everything that is wrong.
    """

    path: str
    manifest: DocumentsManifest | PackedManifest | TokenizerManifest | None
    findings: list[Finding]


def verify_output(store: Store, progress: Progress, threads: int = 2) -> Iterator[Verified]:
    """Verify a dataset, a tokenizer folder, or every part of a run that is finished.

    Args:
        store: The folder.
        progress: Hears folder, shards done, and shards in all.
        threads: Shards read side by side.

    Raises:
        ConfigError: There is nothing that can be verified.
    """
    if store.exists(MANIFEST):
        yield _verify_folder(store, progress, threads)
        return
    parts = [folder for folder in FOLDERS if store.exists(f"{folder}/{MANIFEST}")]
    if not parts:
        raise ConfigError(
            "nothing to verify here",
            path=store.display_url,
            expected=f"a {MANIFEST}, or a run's output with finished parts",
            found="neither",
            action="check the path; an unfinished run has no manifest yet",
        )
    verified = [_verify_folder(store.below(folder), progress, threads) for folder in parts]
    yield from verified
    by_folder = dict(zip(parts, verified, strict=True))
    yield Verified(store.display_url, None, _check_folders(store, by_folder) + _check_between(store, verified))


def _verify_folder(store: Store, progress: Progress, threads: int) -> Verified:
    def step(done: int, total: int) -> None:
        progress(store.display_url, done, total)

    try:
        kind = _kind_of(store)
        if kind == "documents":
            return Verified(store.display_url, *verify_documents(store, step, threads))
        if kind == "packed":
            return Verified(store.display_url, *verify_packed(store, step, threads))
        return Verified(store.display_url, *_verify_tokenizer(store))
    except ConfigError:
        raise
    except MaskmillError as error:
        return Verified(store.display_url, None, [Finding.of(error, store.locate(MANIFEST))])


def _kind_of(store: Store) -> str:
    try:
        kind = json.loads(store.read_bytes(MANIFEST)).get("kind")
    except (ValueError, AttributeError):
        return "packed"  # no JSON: reading it as any manifest says so
    return str(kind)


def _verify_tokenizer(store: Store) -> tuple[TokenizerManifest, list[Finding]]:
    manifest = read_manifest(store, TokenizerManifest)
    findings = []
    for name, checksum in manifest.checksums.items():
        try:
            check_bytes(store.read_bytes(check_inside(name, store.display_url)), checksum, store.locate(name))
        except FileNotFoundError:
            findings.append(Finding(store.locate(name), "the file is gone"))
        except MaskmillError as error:
            findings.append(Finding.of(error, store.locate(name)))
    return manifest, findings


def _check_folders(store: Store, verified: dict[str, Verified]) -> list[Finding]:
    """What must hold of the folders of a run: each has a manifest if it has anything, and that of its own part."""
    findings = []
    for folder in FOLDERS:
        path = store.locate(f"{folder}/{MANIFEST}")
        part, _, held_out = folder.partition("-")
        if folder not in verified:
            if store.list(folder):
                findings.append(Finding(path, "no manifest beside the files: it is gone, or the run is not finished"))
            continue
        manifest = verified[folder].manifest
        if manifest is None:
            continue
        if manifest.kind != part or getattr(manifest, "held_out", False) != bool(held_out):
            findings.append(Finding(path, "this is the manifest of another part of a run"))
    documents = verified["documents"].manifest if "documents" in verified else None
    if isinstance(documents, DocumentsManifest) and documents.counts.held_out:
        findings += [
            Finding(store.locate(f"{part}-heldout"), f"{documents.counts.held_out} held-out documents are gone")
            for part in ("documents", "packed")
            if part in verified and f"{part}-heldout" not in verified
        ]
    return findings


def _check_between(store: Store, verified: list[Verified]) -> list[Finding]:
    """What must hold between the parts of one run: one fingerprint, and every document packed or accounted for."""
    manifests = [part.manifest for part in verified if part.manifest is not None]
    findings = []
    if len({manifest.run_fingerprint for manifest in manifests}) > 1:
        findings.append(Finding(store.display_url, "its parts belong to different runs"))
    documents = {manifest.held_out: manifest for manifest in manifests if isinstance(manifest, DocumentsManifest)}
    for tokenizer in manifests:
        if not isinstance(tokenizer, TokenizerManifest):
            continue
        if tokenizer.trained and False in documents and tokenizer.documents_fingerprint != documents[False].fingerprint:
            findings.append(Finding(store.display_url, "the tokenizer was trained on other documents than stand here"))
        if any(
            isinstance(packed, PackedManifest)
            and packed.tokenizer_checksum != tokenizer.checksums.get("tokenizer.json")
            for packed in manifests
        ):
            findings.append(Finding(store.display_url, "the rows were encoded with another tokenizer than stands here"))
    for packed in manifests:
        if not isinstance(packed, PackedManifest) or packed.held_out not in documents:
            continue
        source = documents[packed.held_out]
        if packed.documents_fingerprint != source.fingerprint:
            findings.append(Finding(store.display_url, "the packed rows come from other documents than stand here"))
        elif packed.counts.documents != source.documents:
            found = f"{source.documents} documents were written but {packed.counts.documents} came to be packed"
            findings.append(Finding(store.display_url, found))
    return findings
