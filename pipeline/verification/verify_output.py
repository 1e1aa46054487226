"""Verify whatever is at a URL: a dataset, a tokenizer folder, or a whole run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from maskmill.pipeline.run.list_parts import list_parts
from maskmill.pipeline.run.parts import model_of_manifest
from maskmill.pipeline.storage.checksums import check_bytes, check_file
from maskmill.pipeline.storage.datasets import MANIFEST, TOKENIZER, check_tokenizer, read_manifest
from maskmill.pipeline.storage.paths import check_inside, split_file_url
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.verification.check_parts import Verified, check_between, check_folders
from maskmill.pipeline.verification.check_record import check_quarantine, check_record, read_tokenizers_of_rows
from maskmill.pipeline.verification.findings import Finding
from maskmill.pipeline.verification.verify_documents import verify_documents
from maskmill.pipeline.verification.verify_encoded import verify_encoded
from maskmill.pipeline.verification.verify_packed import verify_packed
from maskmill.schemas.errors import ConfigError, MaskmillError
from maskmill.schemas.layout import RUN_RECORD
from maskmill.schemas.manifest import DocumentsManifest, EncodedManifest, PackedManifest, TokenizerManifest
from maskmill.schemas.tokenizer.tokenizer_file import MAX_TOKENIZER_BYTES

Progress = Callable[[str, int, int], None]


def explain_nothing(store: Store, verb: str) -> ConfigError:
    """The error for a URL that has nothing to verify or report on.

    Args:
        store: The given folder.
        verb: What the command does, such as `verify`.
    """
    folder, name = split_file_url(store.url)
    action = "check the path"
    if store.exists(RUN_RECORD) or any(list_parts(store)):
        found, action = "a run of which no part is finished", "finish it with maskmill prepare"
    elif open_store(folder).exists(name):
        found = "a file"
        if name.endswith(".toml"):
            action = "give the folder that output.url in this file names"
    elif store.list():
        found = "a folder with other files"
    else:
        found = "a missing or empty folder"
    return ConfigError(
        f"nothing to {verb} here",
        path=store.display_url,
        expected=f"a dataset's folder with a {MANIFEST}, or a run's output with finished parts",
        found=found,
        action=action,
    )


def verify_output(store: Store, progress: Progress, threads: int = 2) -> Iterator[Verified]:
    """Verify a dataset, a tokenizer folder, or every part of a run, including parts that its record promises.

    Args:
        store: The folder.
        progress: Callback that receives the folder, the number of shards done, and the number of all shards.
        threads: Shards to read in parallel.

    Raises:
        ConfigError: There is nothing that can be verified. For a part of a run, this is a finding.
    """
    if store.exists(MANIFEST):
        yield _verify_folder(store, progress, threads, is_alone=True)
        return
    parts = list_parts(store)
    if not any(parts.values()) and not store.exists(RUN_RECORD):
        raise explain_nothing(store, "verify")
    verified: dict[str, Verified] = {}
    for folder, is_finished in parts.items():
        if is_finished:
            verified[folder] = _verify_folder(store.below(folder), progress, threads, is_alone=False)
            yield verified[folder]
    unfinished = [folder for folder, is_finished in parts.items() if not is_finished]
    findings = check_folders(store, verified, unfinished)
    said = {finding.path for finding in findings}
    findings += check_between(store, verified, read_tokenizers_of_rows(store))
    findings += [finding for finding in check_record(store, verified, unfinished) if finding.path not in said]
    findings += check_quarantine(store, verified)
    yield Verified(store.display_url, None, findings)


def _verify_folder(store: Store, progress: Progress, threads: int, *, is_alone: bool) -> Verified:
    def step(done: int, total: int) -> None:
        progress(store.display_url, done, total)

    try:
        model = model_of_manifest(store)
        if model is DocumentsManifest:
            return Verified(store.display_url, *verify_documents(store, step, threads))
        if model is EncodedManifest:
            manifest, findings, num_ids = verify_encoded(store, step, threads)
            return Verified(store.display_url, manifest, findings, num_ids=num_ids)
        if model is PackedManifest:
            return Verified(store.display_url, *verify_packed(store, step, threads))
        return Verified(store.display_url, *_verify_tokenizer(store))
    except MaskmillError as error:
        if is_alone and isinstance(error, ConfigError):
            raise
        return Verified(store.display_url, None, [Finding.of(error, store.locate(MANIFEST))])


def _verify_tokenizer(store: Store) -> tuple[TokenizerManifest, list[Finding]]:
    manifest = read_manifest(store, TokenizerManifest)
    findings = []
    for name, checksum in manifest.checksums.items():
        try:
            path = check_inside(name, store.display_url)
            if name != TOKENIZER:
                with store.open_input(path, whole=True) as file:
                    check_file(file, checksum, store.locate(name))
            else:
                data = store.read_bytes(path, MAX_TOKENIZER_BYTES)
                check_bytes(data, checksum, store.locate(name))
                findings += _check_size(check_tokenizer(data, store.locate(name)).vocab_size, manifest, store)
        except FileNotFoundError:
            findings.append(Finding(store.locate(name), "the file is gone"))
        except MaskmillError as error:
            findings.append(Finding.of(error, store.locate(name)))
    return manifest, findings


def _check_size(found: int, manifest: TokenizerManifest, store: Store) -> list[Finding]:
    if found == manifest.vocab_size:
        return []
    return [Finding(store.locate(TOKENIZER), f"{found} pieces, but the manifest counts {manifest.vocab_size}")]
