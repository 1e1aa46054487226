"""Give the rows of a packed dataset other static copies without packing them again, for `maskmill mask` and programs.

Every shard is written again beside the old one, in a folder of its own, and the manifest that names the new folder
replaces the old one at the end. Until then a reader finds the old version, and after an interruption the same command
goes on. The files of the old version stay for loaders that still read them, until `remove_old` is asked for.

Shards that packing has written, and that have the copies that are asked for, are used again: no shard is written then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import xxhash

from maskmill.pipeline.engine.receipts import Receipts
from maskmill.pipeline.engine.stage import run_stage
from maskmill.pipeline.masking.fit_vocabulary import make_tables
from maskmill.pipeline.packing.mask_stage import MASK, MaskContext, MaskDetails, MaskUnit
from maskmill.pipeline.run.find_packed import find_owner, find_packed
from maskmill.pipeline.run.mask_settings import check_mask_settings
from maskmill.pipeline.run.rare_weights import weigh_by_dataset
from maskmill.pipeline.run.start_engine import start_engine
from maskmill.pipeline.settings import check_callback, check_flag, check_url, refuse_argument
from maskmill.pipeline.storage.datasets import (
    fingerprint_blocks,
    fingerprint_rows,
    read_manifest,
    read_tokenizer,
    write_manifest,
)
from maskmill.pipeline.storage.leases import Lease, hold_output
from maskmill.pipeline.storage.shard_table import SHARD_TABLE, digest_table, read_shard_table, write_shard_table
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.events import RunEvent, RunFinished, RunListener
from maskmill.schemas.layout import WORK, masks_folder, version_of_path
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.masking import Masking
from maskmill.schemas.receipt import ShardReceipt
from maskmill.schemas.run_file import EngineSection, MaskFile, MaskSection
from maskmill.schemas.version import packed_manifest_version


@dataclass(frozen=True)
class Masked:
    """What `mask` has done.

    Attributes:
        url: The dataset, without credentials.
        manifest: Its manifest now.
        is_unchanged: Whether it had these static copies already.
        old_files: Files of other versions that are still there.
    """

    url: str
    manifest: PackedManifest
    is_unchanged: bool
    old_files: int


def mask(
    dataset: str | os.PathLike[str],
    masking: Masking | None = None,
    copies: int | None = None,
    on_event: RunListener | None = None,
    *,
    engine: EngineSection | Mapping[str, Any] | None = None,
    remove_old: bool = False,
    storage_options: dict[str, Any] | None = None,
) -> Masked:
    """Add static copies to a finished packed dataset, replace those that it has, or remove them.

    The rows stay as they are: copy k of a row is its dynamic mask of epoch k, as if the rows had been packed with these
    settings. Give the same call again after an interruption: it continues, and ends with the same bytes.

    For example::

        mask("out/packed", Masking(strategy="span"), copies=4)
        batches = MaskedBatches("out/packed", global_batch_rows=256, masking="static")

    Args:
        dataset: The folder of a packed dataset, or a run's output with only one to train on: a path or any fsspec URL.
        masking: The settings of the copies; by default those of the dataset.
        copies: The number of copies, 0 to remove them; by default as many as the dataset has.
        on_event: Callback that receives every event (`maskmill.schemas.events`), in this process.
        engine: What runs the units: `[engine]` of a run file. By default processes of this machine.
        remove_old: Delete the files of all other versions at the end. Loaders that still read one are told so by
            `StaleArtifactError`.
        storage_options: For the fsspec file system.

    Raises:
        ConfigError: There is no such dataset, another command is at work on it, a setting does not fit its vocabulary,
            or an argument is wrong.
        ShardCorruptError: Something in the dataset is not what was written.
        StaleArtifactError: Another driver has taken over the dataset.
        TransientStorageError: The store failed every attempt.
    """
    check_callback(on_event, "on_event")
    check_flag(remove_old, "remove_old")
    store = find_packed(open_store(check_url(dataset, "dataset"), storage_options))
    manifest = read_manifest(store, PackedManifest)
    if masking is not None and not isinstance(masking, Masking):
        raise refuse_argument(
            "masking",
            masking,
            "a Masking, or None for the settings of the dataset",
            'give for example masking=Masking(strategy="span")',
            "these are not mask settings",
        )
    values = (masking or manifest.masking).model_dump(mode="json")
    settings = check_mask_settings(values | {"copies": manifest.copies if copies is None else copies}, engine)
    return mask_dataset(store, settings, on_event or _ignore, remove_old=remove_old)


def mask_dataset(store: Store, settings: MaskFile, listen: RunListener, *, remove_old: bool) -> Masked:
    """Do what `mask` does, with checked settings.

    Args:
        store: The dataset.
        settings: Of the copies, and of the engine.
        listen: Callback that receives every event.
        remove_old: Delete the files of all other versions at the end.
    """
    started = time.perf_counter()
    with hold_output(find_owner(store)) as lease:
        store.delete_partials()
        old = read_manifest(store, PackedManifest)
        masking, copies = weigh_by_dataset(settings.mask.masking(), store, old), settings.mask.copies
        tokenizer_json = read_tokenizer(store, old) if masking.protect else b""
        make_tables(masking, old.vocabulary, lambda: tokenizer_json, store.display_url)  # or refuse
        is_there = old.copies == copies and old.masking == masking
        is_pointless = not (copies or old.copies or old.rows_fingerprint or remove_old)
        if is_pointless or not (is_there or copies or old.copies):
            raise _refuse_no_copies(store)
        new = old if is_there else _plan(old, masking, copies)
        if not is_there:
            context = MaskContext(store, old, new, tokenizer_json, (old.fingerprint, new.shards_folder))
            back = _go_back(store, new)
            if back is None:
                new = _write(context, settings.engine, listen, lease)
            else:
                lease.check()
                new = write_manifest(store, "", back)
        if new.shards_folder:
            store.below(new.shards_folder).delete_tree(WORK)
        if remove_old:
            _remove_old(store, new, lease)
        old_files = sum(1 for path in store.list() if _is_of_other_version(path, new))
        listen(RunFinished(seconds=round(time.perf_counter() - started, 3)))
        return Masked(store.display_url, new, is_there, old_files)


def _plan(old: PackedManifest, masking: Masking, copies: int) -> PackedManifest:
    """The manifest of the new version, but for the table of its shards.

    Its folder is named by everything that decides the bytes of its shards.
    """
    rows = fingerprint_rows(old)
    decisive = MaskSection.model_validate({**masking.model_dump(), "copies": copies}) if copies else MaskSection()
    digest = xxhash.xxh3_128_hexdigest(f"{rows} {decisive.model_dump_json()}".encode())
    changed = {
        "schema_version": packed_manifest_version(pairs=old.pairs is not None, words=old.has_word_starts),
        "copies": copies,
        "masking": masking,
        "shards_folder": masks_folder(digest),
        "rows_fingerprint": rows,
    }
    return old.model_copy(update=changed)


def _go_back(store: Store, new: PackedManifest) -> PackedManifest | None:
    """The manifest over the shards that packing has written, if they have these copies and are all there.

    The fingerprint of the rows tells: it covers the copies that they were packed with, and the table of the shards.
    Without copies it does not cover the masking, so that manifest still says that its masking is not that of packing.
    """
    try:
        checksum = digest_table(store, SHARD_TABLE)
    except FileNotFoundError:
        return None
    back = new.model_copy(update={"shards_folder": "", "shards_checksum": checksum})
    if fingerprint_blocks(back) != new.rows_fingerprint:
        return None
    shards = read_shard_table(store, back)
    if not {shards.path(shard) for shard in range(len(shards))} <= set(store.list_names()):
        return None
    return back.model_copy(update={"rows_fingerprint": ""}) if new.copies else back


def _write(context: MaskContext, engine: EngineSection, listen: RunListener, lease: Lease) -> PackedManifest:
    """Write the shards, their table, and last the manifest, which makes them the dataset."""
    store, new = context.dataset, context.new
    version = store.below(new.shards_folder)

    def report(event: RunEvent) -> None:
        lease.check()
        listen(event)

    units = [MaskUnit(unit=number, run=new.shards_folder) for number in range(new.num_shards)]
    running = start_engine(engine, version)
    try:
        receipts = run_stage(running, MASK, context, version, units, report)
    finally:
        running.close()
    num_shards, checksum = write_shard_table(store, new.shards_folder, _iter_shards(receipts))
    whole = new.model_copy(update={"num_shards": num_shards, "shards_checksum": checksum})
    read_shard_table(store, whole)  # everything is checked before readers see it
    lease.check()
    return write_manifest(store, "", whole)


def _iter_shards(receipts: Receipts[MaskUnit, MaskDetails]) -> Iterator[ShardReceipt]:
    return (shard for receipt in receipts for shard in receipt.shards)


def _remove_old(store: Store, manifest: PackedManifest, lease: Lease) -> None:
    """Delete all other versions; of one that was given up the receipts first, for they speak of its shards."""
    for name in store.list_names():
        if _is_of_other_version(name, manifest):
            lease.check()
            if version_of_path(name):
                store.delete_tree(f"{name}/{WORK}")
                store.delete_tree(name)
            else:
                store.delete(name)


def _is_of_other_version(path: str, manifest: PackedManifest) -> bool:
    return version_of_path(path) not in (None, manifest.shards_folder)


def _refuse_no_copies(store: Store) -> ConfigError:
    return ConfigError(
        "this dataset has no static copies, and none are asked for",
        path=store.display_url,
        expected="mask.copies of at least 1",
        found="0",
        action="give for example --set mask.copies=4; masks that are drawn as rows are read need no copies",
    )


def _ignore(_: RunEvent) -> None:
    """Do nothing: events are not wanted."""
