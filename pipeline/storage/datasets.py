"""A dataset on storage: a manifest, what it names, and the shards.

Everything else is written before the manifest, which holds its checksums: a dataset that has a manifest is whole.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import xxhash

from maskmill.pipeline.storage.checksums import check_bytes
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import RESTORE, ConfigError, MaskmillError, ShardCorruptError, StaleArtifactError
from maskmill.schemas.manifest import (
    MAX_MANIFEST_BYTES,
    AnyManifest,
    KindOfManifest,
    PackedManifest,
    parse_manifest,
)
from maskmill.schemas.mask_vocabulary import MaskVocabulary
from maskmill.schemas.masking import Masking
from maskmill.schemas.tokenizer.tokenizer_file import MAX_TOKENIZER_BYTES, check_tokenizer_json
from maskmill.schemas.version import SCHEMA_VERSION

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
_OF_VOCABULARY = (
    "vocab_size",
    "pad_id",
    "unk_id",
    "cls_id",
    "sep_id",
    "mask_id",
    "excluded_ranges",
    "continuation_bits",
)


def write_manifest(output: Store, folder: str, manifest: AnyManifest) -> AnyManifest:
    """Write a manifest with its fingerprint, last: this makes the dataset complete."""
    finished = cast(AnyManifest, manifest.model_copy(update={"fingerprint": fingerprint_manifest(manifest)}))
    path = f"{folder}/{MANIFEST}" if folder else MANIFEST
    output.write_bytes(path, (finished.model_dump_json(indent=2) + "\n").encode())
    return finished


def fingerprint_manifest(manifest: KindOfManifest) -> str:
    """The identity of a dataset: xxh3-128 of its manifest without the fingerprint."""
    return xxhash.xxh3_128_hexdigest(manifest.model_dump_json(exclude={"fingerprint"}).encode())


def fingerprint_rows(manifest: PackedManifest) -> str:
    """The identity of a packed dataset's rows, which stays when they get other static copies.

    So a state of a loader that draws its masks stays valid. Static copies that rows were packed with are part of it.
    """
    return manifest.rows_fingerprint or fingerprint_blocks(manifest)


def fingerprint_blocks(manifest: PackedManifest) -> str:
    """The identity of a packed dataset's rows and stored masks: the fingerprint that its manifest had at version 2.0.

    Which pieces continue a word follows from the tokenizer, so saying it must not invalidate loader states, checkpoints
    or cached blocks. Nor must another `[mask]` where no copies are stored: there it is only what a loader does by
    default, and the fingerprint is that of the default masking. Nor must the folder that the shards are in: copies
    that were replaced and written again are the same bytes, which the checksum of their table covers.
    """
    words = {"vocabulary": manifest.vocabulary.model_copy(update={"continuation_bits": None})}
    masking = {} if manifest.copies else {"masking": Masking()}
    changed = {"schema_version": SCHEMA_VERSION, "shards_folder": "", "rows_fingerprint": "", **words, **masking}
    return fingerprint_manifest(manifest.model_copy(update=changed))


def read_manifest(dataset: Store, model: type[AnyManifest]) -> AnyManifest:
    """Read and check a dataset's manifest.

    Raises:
        ConfigError: There is none, it is larger than any manifest, or a newer maskmill wrote it.
        ShardCorruptError: It has changed since it was written.
    """
    path = dataset.locate(MANIFEST)
    try:
        data = dataset.read_bytes(MANIFEST, MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        raise ConfigError(
            "no dataset here",
            path=dataset.display_url,
            expected=f"a {MANIFEST}",
            found="none",
            action="check the path; if `maskmill prepare` has not finished, run it again",
        ) from None
    manifest = parse_manifest(model, data, path)
    if manifest.fingerprint != fingerprint_manifest(manifest):
        raise ShardCorruptError(
            "the manifest has changed since it was written",
            path=path,
            expected=f"fingerprint {fingerprint_manifest(manifest)}",
            found=manifest.fingerprint,
            action=RESTORE,
        )
    return manifest


def read_tokenizer(dataset: Store, manifest: PackedManifest) -> bytes:
    """Read a packed dataset's `tokenizer.json`, every value of it checked, and that it has the manifest's vocabulary.

    Raises:
        ShardCorruptError: It is missing, has changed, or is not a tokenizer that encoded these rows.
    """
    path = dataset.locate(TOKENIZER)
    read = partial(dataset.read_bytes, most=MAX_TOKENIZER_BYTES)
    data: bytes = read_checked(dataset, read, TOKENIZER, manifest.tokenizer_checksum)
    found = check_tokenizer(data, path)
    for name in _OF_VOCABULARY:
        stated, there = getattr(manifest.vocabulary, name), getattr(found, name)
        if stated not in (there, None):  # earlier versions did not state all
            raise ShardCorruptError(
                "the tokenizer is not the one that encoded these rows",
                path=path,
                place=name,
                expected=f"{stated}, as the manifest says",
                found=str(there),
                action=RESTORE,
            )
    return data


def check_tokenizer(data: bytes, path: str) -> MaskVocabulary:
    """Check every value of a tokenizer.json that claims to be maskmill's, and describe its vocabulary.

    Raises:
        ShardCorruptError: It cannot be used.
    """
    try:
        return check_tokenizer_json(data, path).describe_vocabulary()
    except ConfigError as error:
        raise ShardCorruptError(
            error.what, path=path, place=error.place, expected=error.expected, found=error.found, action=RESTORE
        ) from None


def read_checked(dataset: Store, read: Callable[[str], Any], name: str, checksum: str) -> Any:
    """Read a file that a manifest names, and compare its checksum.

    Args:
        dataset: Where it is.
        read: Given its name, reads it.
        name: Of the file.
        checksum: xxh3-128, hexadecimal.

    Raises:
        ShardCorruptError: It is gone, or its bytes are not those that were written.
    """
    path = dataset.locate(name)
    try:
        data = read(name)
    except FileNotFoundError:
        raise ShardCorruptError(
            "a file that the manifest names is gone",
            path=path,
            expected=f"xxh3-128 {checksum}",
            found="no file",
            action=RESTORE,
        ) from None
    check_bytes(data, checksum, path)
    return data


def refuse_replaced(dataset: Store, manifest: PackedManifest, path: str) -> None:
    """After a file of a dataset could not be read: explain it if it is gone because the dataset was replaced.

    Args:
        dataset: The dataset.
        manifest: The manifest that it was opened with.
        path: The file.

    Raises:
        StaleArtifactError: It has other rows or other static copies now, or the same ones in another folder.
    """
    try:
        if dataset.exists(path):
            return
        current = read_manifest(dataset, PackedManifest)
    except MaskmillError:
        return
    check_same_blocks(dataset, manifest, current)
    if current.shards_folder != manifest.shards_folder:
        before, now = (f"shards in {one.shards_folder or 'its own folder'}" for one in (manifest, current))
        raise _explain_replaced(dataset, before, now)


def check_same_blocks(dataset: Store, opened: PackedManifest, current: PackedManifest) -> None:
    """Make sure that a dataset has the rows and static copies that it was opened with.

    Raises:
        StaleArtifactError: It has others.
    """
    expected, found = fingerprint_blocks(opened), fingerprint_blocks(current)
    if expected != found:
        raise _explain_replaced(dataset, f"fingerprint {expected}", found)


def _explain_replaced(dataset: Store, expected: str, found: str) -> StaleArtifactError:
    return StaleArtifactError(
        "the dataset was replaced while it was read",
        path=dataset.display_url,
        expected=expected,
        found=found,
        action="start again with the new one, or put the old one back",
    )


def explain_gone(path: str) -> ShardCorruptError:
    """The error for a missing shard of a dataset."""
    return ShardCorruptError("a shard that the manifest names is gone", path=path, action=RESTORE)
