"""The third part of a run: document shards to packed shards, of every dataset that is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from maskmill.pipeline.engine.receipts import Receipts, receipt_path
from maskmill.pipeline.masking.fit_vocabulary import make_tables
from maskmill.pipeline.packing.pack_receipts import (
    PackDetails,
    encoding_counts,
    iter_dataset_shards,
    packing_counts,
    summarise_fallbacks,
    take_encoding,
)
from maskmill.pipeline.packing.pack_stage import (
    PACK,
    PackContext,
    PackUnit,
    describe_tokenizer,
    plan_pack_units,
)
from maskmill.pipeline.packing.words.segmenters import find_version
from maskmill.pipeline.run.make_tokenizer import prove, read_tokenizer_json
from maskmill.pipeline.run.open_run import Run
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.record import record_masking
from maskmill.pipeline.storage.datasets import MANIFEST, read_manifest, read_tokenizer, write_manifest
from maskmill.pipeline.storage.shard_table import read_shard_table, write_shard_table
from maskmill.pipeline.wordpiece.encoding.load_encoders import SpecialInText
from maskmill.pipeline.wordpiece.encoding.prove_stage import PROVE, read_proof
from maskmill.schemas.counts import EncodingCounts, PackingCounts
from maskmill.schemas.errors import InputDataError
from maskmill.schemas.layout import DataSplit, documents_folder, encoded_folder, packed_folders
from maskmill.schemas.manifest import (
    DocumentsManifest,
    EncodedManifest,
    PackedManifest,
    TokenizerManifest,
    text_fill_ppm,
)
from maskmill.schemas.receipt import Receipt, ShardReceipt
from maskmill.schemas.rows import rows_per_block
from maskmill.schemas.version import packed_manifest_version
from maskmill.schemas.wording import count_of

Packed = Receipts[PackUnit, PackDetails]
_Table = tuple[int, str, Counter[str]]
"""Number of shards of a dataset, checksum of their table, and counts."""


@dataclass(frozen=True)
class _Target:
    """One packed dataset: its documents and their split, its row length and its folder."""

    documents: DocumentsManifest
    split: DataSplit
    seq_len: int
    folder: str


def make_rows(run: Run, documents: list[DocumentsManifest], tokenizer: TokenizerManifest) -> list[PackedManifest]:
    """Write the packed shards, unless they are already written.

    Args:
        run: The run.
        documents: Manifests of the documents to train on and, if any, of the held-out ones.
        tokenizer: Manifest of the tokenizer.

    Returns:
        The manifests of the packed datasets: those to train on as the run file lists them, then the held-out ones.

    Raises:
        InputDataError: There is no row to train on.
    """
    of_split = {DataSplit.of(manifest.held_out): manifest for manifest in documents}
    targets = [
        _Target(manifest, split, seq_len, folder)
        for split, manifest in of_split.items()
        for seq_len, folder in packed_folders(run.settings.pack, split).items()
    ]
    # The first of them is written last; what was deleted since is made again, with the same bytes.
    if run.is_whole(*(target.folder for target in targets)):
        run.drop_work(PROVE, PACK)
        return _set_masking(run, targets)
    context = _make_context(run, tokenizer)
    encoded = _read_encoded(run, of_split)
    tables = {
        split: read_shard_table(run.output.below(documents_folder(split)), manifest)
        for split, manifest in of_split.items()
    }
    kept = {
        split: read_shard_table(run.output.below(encoded_folder(split, run.settings.tokenizer.name)), manifest)
        for split, manifest in encoded.items()
    }
    of = run.settings.tokenizer.name
    units = plan_pack_units(tables, tokenizer.checksums["tokenizer.json"], kept or None, of)
    if run.settings.pack.keep_encoded and not encoded:
        _forget_units_without_ids(run, units)
    packed = run.run_stage(Part.PACK, PACK, context, units)
    fell_back = summarise_fallbacks(packed)
    if fell_back:
        run.warn(fell_back)
    if run.settings.pack.keep_encoded and not encoded:
        for split in reversed(of_split):
            _write_encoded(run, packed, of_split[split], split, tokenizer)
    written = [(target, _write_packed_table(run, packed, target)) for target in reversed(targets)]
    _judge_rows(run, {target.folder: counts for target, (_, _, counts) in written if target.split is DataSplit.TRAIN})
    manifests = [
        _write_packed(run, context, target, table, tokenizer, encoded.get(target.split)) for target, table in written
    ]
    run.drop_work(PROVE, PACK)
    for (target, _), manifest in zip(written, manifests, strict=True):
        message = None if manifest.held_out else manifest.explain_only_label()
        if message is not None:
            run.warn(f"{target.folder}: {message}")
    _note_masking(run)
    return manifests[::-1]


def _forget_units_without_ids(run: Run, units: Sequence[PackUnit]) -> None:
    """Delete the receipts of units without an encoded shard, so that these units run again.

    They read ids kept by another packing of the same tokenizer, which have been deleted since.
    """
    folders = {split: encoded_folder(split, run.settings.tokenizer.name) for split in DataSplit}
    kept = {path for folder in folders.values() for path in run.output.list(folder)}
    for receipt in run.finished(Part.PACK, PACK, units):
        written = [shard.path for shard in iter_dataset_shards(receipt, folders[units[receipt.unit].split])]
        if not written or not kept.issuperset(written):
            run.output.delete(receipt_path(receipt.stage, receipt.unit))


def _read_own(run: Run, target: _Target) -> PackedManifest:
    manifest = read_manifest(run.output.below(target.folder), PackedManifest)
    return run.check_own(Part.PACK, manifest, f"{target.folder}/{MANIFEST}", target.documents.fingerprint)


def _set_masking(run: Run, targets: list[_Target]) -> list[PackedManifest]:
    """Read finished manifests, and write the run's `[mask]` into those of rows without static copies.

    There it is only the default of loaders, so no row changes. With copies, the fingerprint covers it. Rows that `mask`
    has given other copies keep those, and their settings.
    """
    masking = run.masking
    manifests = []
    for target in targets:
        manifest = _read_own(run, target)
        if manifest.rows_fingerprint:
            _note_own_copies(run, target, manifest)
        elif manifest.masking != masking and not manifest.copies:
            dataset = run.output.below(target.folder)
            version = packed_manifest_version(pairs=manifest.pairs is not None, words=manifest.has_word_starts)
            changed = {"masking": masking, "schema_version": version}
            make_tables(masking, manifest.vocabulary, partial(read_tokenizer, dataset, manifest), dataset.display_url)
            manifest = write_manifest(run.output, target.folder, manifest.model_copy(update=changed))
        manifests.append(manifest)
    if not all(manifest.rows_fingerprint for manifest in manifests):
        _note_masking(run)
    return manifests


def _note_own_copies(run: Run, target: _Target, manifest: PackedManifest) -> None:
    """Tell the user of rows whose static copies `mask` has written since, if they are not those of `[mask]`."""
    if (manifest.copies, manifest.masking) != (run.settings.mask.copies, run.masking):
        has = count_of(manifest.copies, "static copy", "static copies")
        run.note(
            f"{target.folder}/ keeps what maskmill mask has stored, {has} by the strategy {manifest.masking.strategy}; "
            f"[mask] does not change it"
        )


def _note_masking(run: Run) -> None:
    """Update the record of the run, and tell the user if loaders now mask differently."""
    masking = run.masking
    before = record_masking(run.output, run.settings.pack.name, masking)
    if before in (None, masking):
        return
    ours, theirs = masking.show(), before.show()  # which shorten weights
    changes = [
        f"{name} = {ours.get(name, value)} (was {theirs.get(name, getattr(before, name))})"
        for name, value in masking
        if value != getattr(before, name)
    ]
    run.has_changed_masking = True
    run.note(f"loaders now mask with {', '.join(changes)} unless they are given other settings")


def _make_context(run: Run, tokenizer: TokenizerManifest) -> PackContext:
    tokenizer_json = read_tokenizer_json(run, tokenizer)
    special = SpecialInText(run.settings.tokenizer.special_in_text)
    folder = run.output.below(run.tokenizer_folder)
    masking = run.masking
    make_tables(masking, describe_tokenizer(tokenizer_json)[0], lambda: tokenizer_json, folder.display_url)  # or refuse
    if read_proof(folder, tokenizer_json, special) is None:
        prove(run, tokenizer.checksums["tokenizer.json"])
    return PackContext(
        output=run.output,
        pack=run.settings.pack,
        masking=masking,
        copies=run.settings.mask.copies,
        seed=run.settings.documents.seed,
        tokenizer_json=tokenizer_json,
        special_in_text=special,
        proof=read_proof(folder, tokenizer_json, special),
        tokenizer_name=run.settings.tokenizer.name,
        segmenter=find_version(run.settings.pack.word_boundaries),
    )


def _read_encoded(run: Run, documents: Mapping[DataSplit, DocumentsManifest]) -> dict[DataSplit, EncodedManifest]:
    """Read the manifests of the encoded documents, if all exist; they do not depend on `[pack]`."""
    folders = {split: encoded_folder(split, run.settings.tokenizer.name) for split in documents}
    if not run.is_whole(*folders.values()):
        return {}
    return {
        split: run.check_own(
            Part.TOKENIZER,
            read_manifest(run.output.below(folders[split]), EncodedManifest),
            f"{folders[split]}/{MANIFEST}",
            manifest.fingerprint,
        )
        for split, manifest in documents.items()
    }


def _write_table(
    run: Run, packed: Packed, split: DataSplit, folder: str, count: Callable[[Receipt[PackDetails]], Counter[str]]
) -> _Table:
    """Write the table of a dataset's shards; returns their number, its checksum and the counts."""
    counts = Counter[str]()

    def iter_shards() -> Iterator[ShardReceipt]:
        for receipt in packed.select(lambda unit: unit.split is split):
            counts.update(count(receipt))
            yield from iter_dataset_shards(receipt, folder)

    return *write_shard_table(run.output, folder, iter_shards()), counts


def _write_encoded(
    run: Run, packed: Packed, documents: DocumentsManifest, split: DataSplit, tokenizer: TokenizerManifest
) -> EncodedManifest:
    folder = encoded_folder(split, run.settings.tokenizer.name)
    num_shards, checksum, counts = _write_table(run, packed, split, folder, encoding_counts)
    return write_manifest(
        run.output,
        folder,
        EncodedManifest(
            run_fingerprint=run.fingerprints[Part.TOKENIZER],
            num_shards=num_shards,
            shards_checksum=checksum,
            held_out=documents.held_out,
            tokenizer_checksum=tokenizer.checksums["tokenizer.json"],
            documents_fingerprint=documents.fingerprint,
            text_bytes=counts["text_bytes"],
            counts=run.add_up(EncodingCounts, counts, PACK),
        ),
    )


def _write_packed_table(run: Run, packed: Packed, target: _Target) -> _Table:
    return _write_table(
        run, packed, target.split, target.folder, lambda receipt: packing_counts(receipt, target.seq_len)
    )


def _judge_rows(run: Run, counted: Mapping[str, Counter[str]]) -> None:
    """Warn about datasets to train on without a row.

    Args:
        run: The run.
        counted: The counts of each, by its folder.

    Raises:
        InputDataError: None of them has a row.
    """
    for folder, counts in counted.items():
        if counts["rows"]:
            continue
        found = (
            f"of {counts['documents']:,} documents {counts['without_tokens']:,} without tokens, "
            f"{counts['too_long']:,} longer than a row, {counts['quarantined'] - counts['too_long']:,} not encoded"
        ) + (f", {counts['unpaired']:,} of one sentence" if counts["unpaired"] else "")
        if not any(other["rows"] for other in counted.values()):
            raise InputDataError(
                "there is no row to train on",
                path=run.output.locate(folder),
                expected="at least one row",
                found=found,
                action="check pack.seq_len, pack.split and the text; quarantine/ has what was set aside",
            )
        run.warn(f"{folder} has no row: {found}")


def _write_packed(
    run: Run,
    context: PackContext,
    target: _Target,
    table: _Table,
    tokenizer: TokenizerManifest,
    encoded: EncodedManifest | None,
) -> PackedManifest:
    folder, seq_len, documents = target.folder, target.seq_len, target.documents
    num_shards, checksum, counts = table
    if encoded is not None:
        counts = take_encoding(counts, encoded.counts)
    run.output.write_bytes(f"{folder}/tokenizer.json", context.tokenizer_json)
    if run.is_whole(folder):
        existing = _read_own(run, target)
        if existing.rows_fingerprint:  # written anew beside it, for a part that is missing
            _note_own_copies(run, target, existing)
            return existing
    vocabulary, _ = describe_tokenizer(context.tokenizer_json)
    vocabulary = vocabulary.model_copy(update={"segmenter": context.segmenter})
    return write_manifest(
        run.output,
        folder,
        PackedManifest(
            run_fingerprint=run.fingerprints[Part.PACK],
            num_shards=num_shards,
            shards_checksum=checksum,
            held_out=documents.held_out,
            seq_len=seq_len,
            block_rows=rows_per_block(seq_len, vocabulary.vocab_size),
            vocabulary=vocabulary,
            tokenizer_checksum=tokenizer.checksums["tokenizer.json"],
            documents_fingerprint=documents.fingerprint,
            sequences=context.pack.sequences.value,
            compression=context.pack.compression,
            text_fill_ppm=text_fill_ppm(counts["tokens_in_rows"], counts["rows"] * seq_len),
            copies=context.copies,
            masking=context.masking,
            text_bytes=counts["text_bytes"],
            counts=run.add_up(PackingCounts, counts, PACK),
            pairs=context.pack.pairs,
            duplicates=context.pack.duplicates,
            sop_random_single=context.pack.sop_random_single,
            schema_version=packed_manifest_version(
                pairs=context.pack.pairs is not None, words=context.segmenter is not None
            ),
        ),
    )
