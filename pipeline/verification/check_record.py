"""Check a run's record against its parts and its quarantine: promised folders, settings, rejected inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from maskmill.pipeline.run.parts import Part, Scope, scope_of_folder
from maskmill.pipeline.run.record import Entry, read_record
from maskmill.pipeline.storage.arrow_reader import ArrowFile
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.verification.check_parts import Verified
from maskmill.pipeline.verification.findings import Finding
from maskmill.schemas.documents import PLACED_QUARANTINE_SCHEMA, QUARANTINE_SCHEMA, QUARANTINED_DOCUMENT_SCHEMA
from maskmill.schemas.errors import ConfigError, MaskmillError, ShardCorruptError
from maskmill.schemas.layout import QUARANTINE, RUN_RECORD, is_of_quarantined_documents, is_of_quarantined_inputs
from maskmill.schemas.manifest import DocumentsManifest, PackedManifest


def check_record(store: Store, verified: Mapping[str, Verified], unfinished: Collection[str] = ()) -> list[Finding]:
    """Check that every part belongs to the run that the record describes, and that all promised parts exist.

    Args:
        store: The run's output.
        verified: The finished parts by folder.
        unfinished: Folders of parts with files and no manifest, which are reported elsewhere.
    """
    path = store.locate(RUN_RECORD)
    try:
        parsed = read_record(store, checked=False)
    except FileNotFoundError:
        return []  # these parts were copied out of a run
    except (ConfigError, ShardCorruptError) as error:
        return [Finding.of(error, path)]
    begun = {scope for folder in (*verified, *unfinished) if (scope := scope_of_folder(folder)) is not None}
    entries = parsed.entries
    begun |= {
        (Part.TOKENIZER, entries[scope].tokenizer) for scope in begun if scope[0] is Part.PACK and scope in entries
    }
    findings = [
        Finding(path, f"{folder} belongs to another run than the record describes")
        for folder, part in verified.items()
        if part.manifest is not None and part.manifest.run_fingerprint != _fingerprint(parsed.entries, folder)
    ]
    findings += [
        Finding(store.locate(folder), "its masking differs from [mask] in the record; run `maskmill prepare` again")
        for folder, part in verified.items()
        if _has_other_masking(parsed.entries, folder, part)
    ]
    findings += [
        Finding(
            store.locate(folder),
            "this part of the run is missing: the run stopped before it, or it was deleted; prepare makes it",
        )
        for folder, scope in parsed.promised().items()
        if folder not in verified and folder not in unfinished and not _is_given_up(scope, begun)
    ]
    return findings


def read_tokenizers_of_rows(store: Store) -> dict[str, str]:
    """The name of each packing's tokenizer, by the packing's name; empty if the record cannot be read."""
    try:
        entries = read_record(store, checked=False).entries
    except (FileNotFoundError, ConfigError, ShardCorruptError):
        return {}
    return {name: entry.tokenizer for (part, name), entry in entries.items() if part is Part.PACK}


def _is_given_up(scope: Scope, begun: Collection[Scope]) -> bool:
    """Whether a named part was never begun, as after a typing error, while others of its kind were."""
    part, name = scope
    return bool(name) and scope not in begun and any(part is other for other, _ in begun)


def _fingerprint(entries: Mapping[Scope, Entry], folder: str) -> str | None:
    scope = scope_of_folder(folder)
    return entries[scope].fingerprint if scope is not None and scope in entries else None


def _has_other_masking(entries: Mapping[Scope, Entry], folder: str, part: Verified) -> bool:
    """Whether the record has another masking for these rows; a record of an earlier version has none.

    Rows that `mask` has changed have a masking of their own, which the record does not describe.
    """
    scope = scope_of_folder(folder)
    if scope is None or scope not in entries or not isinstance(part.manifest, PackedManifest):
        return False
    return not part.manifest.rows_fingerprint and entries[scope].masking not in (None, part.manifest.masking)


def check_quarantine(store: Store, verified: Mapping[str, Verified]) -> list[Finding]:
    """Check that the quarantine has exactly the inputs and documents that the manifests count.

    Args:
        store: The run's output.
        verified: The finished parts by folder.
    """
    paths = store.list(QUARANTINE)
    expected: dict[str, tuple[int, list[str]]] = {}
    documents = verified["documents"].manifest if "documents" in verified else None
    if isinstance(documents, DocumentsManifest):
        expected["inputs"] = documents.counts.quarantined, [path for path in paths if is_of_quarantined_inputs(path)]
    for folder, part in verified.items():
        if isinstance(part.manifest, PackedManifest):
            files = [path for path in paths if is_of_quarantined_documents(path, folder)]
            expected[folder] = part.manifest.counts.quarantined, files
    findings = []
    for name, (number, files) in expected.items():
        found = 0
        schema = QUARANTINE_SCHEMA if name == "inputs" else QUARANTINED_DOCUMENT_SCHEMA
        for path in files:
            try:
                with store.open_input(path, whole=True) as file:
                    whole = ArrowFile(file, schema, store.locate(path), PLACED_QUARANTINE_SCHEMA)
                    found += sum(batch.num_rows for batch in whole.iter_batches())
            except FileNotFoundError:
                findings.append(Finding(store.locate(path), "the file is gone"))
            except MaskmillError as error:
                findings.append(Finding.of(error, store.locate(path)))
        if found != number:
            here = store.locate(QUARANTINE)
            findings.append(Finding(here, f"{number} of {name} were quarantined, but {found} are here"))
    return findings
