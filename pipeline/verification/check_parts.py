"""Check the parts of a run against each other: the tokenizers of the rows, and that no document is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from maskmill.pipeline.run.parts import Scope, scope_of_folder
from maskmill.pipeline.storage.datasets import MANIFEST, TOKENIZER
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.verification.findings import Finding
from maskmill.schemas.counts import PackingCounts
from maskmill.schemas.layout import DataSplit, Folder, Kind, named, tokenizer_folder
from maskmill.schemas.manifest import (
    DocumentsManifest,
    EncodedManifest,
    KindOfManifest,
    PackedManifest,
    TokenizerManifest,
)
from maskmill.schemas.run_file import Sequences
from maskmill.schemas.wording import count_of


@dataclass(frozen=True)
class Verified:
    """A verified folder and its findings.

    Attributes:
        path: The folder.
        manifest: Its manifest; `None` if it cannot be used.
        findings: Everything that is wrong.
        num_gaps: In packed rows, segments that continue a document whose preceding segments are missing.
        num_ids: In encoded documents, the greatest id plus one.
    """

    path: str
    manifest: KindOfManifest | None
    findings: list[Finding]
    num_gaps: int = 0
    num_ids: int = 0

    @property
    def warnings(self) -> list[str]:
        """What is as it was written, and most likely not what was meant."""
        said = self.manifest.explain_only_label() if isinstance(self.manifest, PackedManifest) else None
        return [] if said is None else [said]


def check_folders(store: Store, verified: Mapping[str, Verified], unfinished: Sequence[str]) -> list[Finding]:
    """Check the folders of a run: each has the manifest of its own part, and a held-out counterpart.

    Args:
        store: The run's output.
        verified: The finished parts by folder.
        unfinished: Folders of parts with files and no manifest.
    """
    findings = [
        Finding(
            store.locate(f"{folder}/{MANIFEST}"),
            "no manifest beside the files: it is gone, or the run is unfinished",
        )
        for folder in unfinished
    ]
    for folder, part in verified.items():
        if part.manifest is not None and not _is_of_folder(part.manifest, folder):
            path = store.locate(f"{folder}/{MANIFEST}")
            findings.append(Finding(path, "this is the manifest of another part of a run"))
    documents = verified["documents"].manifest if "documents" in verified else None
    if isinstance(documents, DocumentsManifest) and documents.counts.held_out:
        findings += [
            Finding(
                store.locate(held_out),
                f"{count_of(documents.counts.held_out, 'held-out document is', 'held-out documents are')} gone",
            )
            for folder in verified
            if (held_out := _held_out_side(folder)) and held_out not in verified and held_out not in unfinished
        ]
    return findings


def _is_of_folder(manifest: KindOfManifest, name: str) -> bool:
    folder = Folder.parse(name)
    return (
        folder is not None
        and manifest.kind == folder.kind
        and getattr(manifest, "held_out", False) == folder.split.is_held_out
        and (folder.seq_len is None or (isinstance(manifest, PackedManifest) and manifest.seq_len == folder.seq_len))
    )


def _held_out_side(name: str) -> str | None:
    """The held-out counterpart of a folder to train on."""
    folder = Folder.parse(name)
    side = None if folder is None else folder.held_out_side
    return None if side is None else side.name


def check_between(
    store: Store, verified: Mapping[str, Verified], tokenizers_of_rows: Mapping[str, str] = MappingProxyType({})
) -> list[Finding]:
    """Check the parts of one run against each other.

    Args:
        store: The run's output.
        verified: The finished parts by folder.
        tokenizers_of_rows: The name of the tokenizer of each packing, by the name of the packing, where it is known.
    """
    here = store.display_url
    manifests = [part.manifest for part in verified.values() if part.manifest is not None]
    findings = []
    fingerprints: dict[Scope | None, set[str]] = {}
    for folder, part in verified.items():
        if part.manifest is not None:
            fingerprints.setdefault(scope_of_folder(folder), set()).add(part.manifest.run_fingerprint)
    if any(len(several) > 1 for several in fingerprints.values()):
        findings.append(Finding(here, "its parts belong to different runs"))
    documents = {
        DataSplit.of(manifest.held_out): manifest for manifest in manifests if isinstance(manifest, DocumentsManifest)
    }
    trained_on = documents.get(DataSplit.TRAIN)
    findings += [
        Finding(here, "the tokenizer was trained on documents other than these")
        for tokenizer in manifests
        if isinstance(tokenizer, TokenizerManifest)
        and tokenizer.trained
        and trained_on
        and tokenizer.documents_fingerprint != trained_on.fingerprint
    ]
    findings += _check_tokenizers(store, verified, tokenizers_of_rows)
    for split, source in documents.items():
        parts = {folder: part for folder, part in verified.items() if _encodes(part.manifest, split)}
        findings += _check_documents(here, source, parts)
    return findings


def _check_tokenizers(
    store: Store, verified: Mapping[str, Verified], tokenizers_of_rows: Mapping[str, str]
) -> list[Finding]:
    """Compare encoded documents and rows with their tokenizers; a missing tokenizer is reported elsewhere."""
    checksums = {manifest.checksums[TOKENIZER]: manifest for manifest in _tokenizers(verified.values())}
    findings = []
    for name, part in verified.items():
        folder = Folder.parse(name)
        if folder is None or folder.kind not in (Kind.ENCODED, Kind.PACKED):
            continue
        of = folder.of if folder.kind is Kind.ENCODED else tokenizers_of_rows.get(folder.of)
        used = verified.get(tokenizer_folder(of)) if of is not None else None
        manifest = used.manifest if used is not None else None
        if isinstance(manifest, TokenizerManifest) and part.num_ids > manifest.vocab_size:
            found = f"{name} has the id {part.num_ids - 1}, but the tokenizer has {manifest.vocab_size} pieces"
            findings.append(Finding(store.display_url, found))
        if not isinstance(part.manifest, EncodedManifest | PackedManifest):
            continue
        checksum = part.manifest.tokenizer_checksum
        if isinstance(manifest, TokenizerManifest):
            if checksum != manifest.checksums[TOKENIZER]:
                found = f"encoded with a tokenizer other than {tokenizer_folder(of or '')}/"
                findings.append(Finding(store.locate(name), found))
        elif (of is None or not tokenizers_of_rows) and used is None and checksums and checksum not in checksums:
            findings.append(
                Finding(store.locate(name), "no folder here has the tokenizer that its rows are encoded with")
            )
    return findings


def _tokenizers(parts: Iterable[Verified]) -> Iterator[TokenizerManifest]:
    return (part.manifest for part in parts if isinstance(part.manifest, TokenizerManifest))


def _encodes(manifest: KindOfManifest | None, split: DataSplit) -> bool:
    return isinstance(manifest, EncodedManifest | PackedManifest) and DataSplit.of(manifest.held_out) is split


def _check_documents(here: str, source: DocumentsManifest, parts: Mapping[str, Verified]) -> list[Finding]:
    """Check that every document reached every encoded and packed dataset, or one of the length bins."""
    findings = []
    wholes: dict[str, list[Verified]] = {}
    encoded: dict[str, EncodedManifest] = {}
    packings: dict[Scope | None, dict[str, Verified]] = {}
    for folder, part in parts.items():
        packings.setdefault(scope_of_folder(folder), {})[folder] = part
    for folder, part in parts.items():
        manifest = part.manifest
        if not isinstance(manifest, EncodedManifest | PackedManifest):
            continue
        if manifest.documents_fingerprint != source.fingerprint:
            findings.append(Finding(here, f"{folder} was made from documents other than these"))
        elif isinstance(manifest, EncodedManifest):
            encoded[manifest.tokenizer_checksum] = manifest
            wholes[folder] = [part]
        else:
            scope = scope_of_folder(folder)
            bins = f"all length bins of {named(Kind.PACKED, scope[1])}" if scope and scope[1] else "all length bins"
            wholes.setdefault(bins if _are_bins(source, packings[scope]) else folder, []).append(part)
    for name, whole in wholes.items():
        counts = [part.manifest.counts for part in whole if isinstance(part.manifest, EncodedManifest | PackedManifest)]
        documents = sum(one.documents for one in counts)
        if documents != source.documents:
            found = f"{count_of(source.documents, 'document')} written but {documents:,} reached {name}"
            findings.append(Finding(here, found))
        gaps = sum(part.num_gaps for part in whole)
        if gaps and len(whole) == 1:
            segments = count_of(gaps, "segment continues a document", "segments continue documents")
            found = f"{name}: {segments} whose preceding segments are missing"
            findings.append(Finding(here, found))
        packed = [one for one in counts if isinstance(one, PackingCounts)]
        tokens = sum(one.tokens_encoded for one in packed)
        kept = encoded.get(getattr(whole[0].manifest, "tokenizer_checksum", ""))
        if kept and packed and not any(one.too_long for one in packed) and tokens != kept.counts.tokens:
            found = f"{count_of(kept.counts.tokens, 'token')} encoded but {tokens:,} reached {name}"
            findings.append(Finding(here, found))
    return findings


def _are_bins(source: DocumentsManifest, parts: Mapping[str, Verified]) -> bool:
    """Whether the packed datasets share the documents, so that none alone has all; manifests do not say so."""
    packed = [part.manifest for part in parts.values() if isinstance(part.manifest, PackedManifest)]
    documents = [manifest.counts.documents for manifest in packed]
    return (
        len(packed) > 1
        and all(manifest.sequences == Sequences.DOCUMENT for manifest in packed)
        and (sum(documents) == source.documents or source.documents not in documents)
    )
