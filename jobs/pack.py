"""The third part of a run: document shards to packed shards, of every dataset that is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from maskmill.jobs.describe_run import Part, record_masking
from maskmill.jobs.open_run import Run
from maskmill.jobs.tokenizer import prove, read_tokenizer_json
from maskmill.pipeline.engine.receipts import iter_receipts
from maskmill.pipeline.packing.pack_receipts import (
    encoding_counts,
    iter_dataset_shards,
    packing_counts,
    summarise_fallbacks,
    take_encoding,
)
from maskmill.pipeline.packing.pack_stage import (
    PackContext,
    PackUnit,
    describe_tokenizer,
    pack_documents,
    plan_pack_units,
)
from maskmill.pipeline.storage.datasets import (
    MANIFEST,
    read_manifest,
    read_shard_table,
    write_manifest,
    write_shard_table,
)
from maskmill.pipeline.wordpiece.encoding.load_encoders import SpecialInText
from maskmill.pipeline.wordpiece.encoding.prove_stage import read_proof
from maskmill.schemas.counts import EncodingCounts, PackingCounts
from maskmill.schemas.errors import InputDataError
from maskmill.schemas.layout import documents_folder, encoded_folder, packed_folders
from maskmill.schemas.manifest import (
    DocumentsManifest,
    EncodedManifest,
    PackedManifest,
    TokenizerManifest,
    text_fill_ppm,
)
from maskmill.schemas.receipt import Receipt, ShardReceipt
from maskmill.schemas.rows import rows_per_block

_Table = tuple[int, str, Counter[str]]
"""How many shards a dataset has, the checksum of their table, and what was counted."""


@dataclass(frozen=True)
class _Target:
    """One packed dataset: the documents it is made of, its length of rows and its folder."""

    documents: DocumentsManifest
    seq_len: int
    folder: str


def pack(run: Run, documents: list[DocumentsManifest], tokenizer: TokenizerManifest) -> list[PackedManifest]:
    """Write the packed shards; nothing is done where they stand.

    Args:
        run: The run.
        documents: Manifests of the documents to train on and, if any, of the held-out ones.
        tokenizer: Manifest of the tokenizer.

    Returns:
        The manifests of the packed datasets: those to train on as the run file lists them, then the held-out ones.

    Raises:
        InputDataError: There is no row to train on.
    """
    targets = [
        _Target(dataset, seq_len, folder)
        for dataset in documents
        for seq_len, folder in packed_folders(run.settings.pack, dataset.held_out).items()
    ]
    # The first of them is written last; what is gone since is made again, with the same bytes.
    if run.stands(*(target.folder for target in targets)):
        run.drop_work("prove", "pack")
        return _set_masking(run, targets)
    context = _make_context(run, tokenizer)
    encoded = _read_encoded(run, documents)
    tables = {
        dataset.held_out: read_shard_table(run.output.below(documents_folder(dataset.held_out)), dataset)
        for dataset in documents
    }
    kept = {
        held_out: read_shard_table(run.output.below(encoded_folder(held_out)), manifest)
        for held_out, manifest in encoded.items()
    }
    units = run.sign(Part.PACK, plan_pack_units(tables, tokenizer.checksums["tokenizer.json"], kept or None))
    run.run_stage(pack_documents, context, units)
    fell_back = summarise_fallbacks(iter_receipts(run.output, units))
    if fell_back:
        run.hear({"event": "warning", "message": fell_back})
    if run.settings.pack.keep_encoded and not encoded:
        for dataset in reversed(documents):
            _write_encoded(run, units, dataset, tokenizer)
    written = [(target, _write_packed_table(run, units, target)) for target in reversed(targets)]
    _judge_rows(run, {target.folder: counts for target, (_, _, counts) in written if not target.documents.held_out})
    manifests = [
        _write_packed(run, context, target, table, tokenizer, encoded.get(target.documents.held_out))
        for target, table in written
    ]
    run.drop_work("prove", "pack")
    _note_masking(run)
    return manifests[::-1]


def _read_own(run: Run, target: _Target) -> PackedManifest:
    manifest = read_manifest(run.output.below(target.folder), PackedManifest)
    return run.check_own(Part.PACK, manifest, f"{target.folder}/{MANIFEST}", target.documents.fingerprint)


def _set_masking(run: Run, targets: list[_Target]) -> list[PackedManifest]:
    """Read finished manifests, and write the run's `[mask]` into those of rows without copies.

    There it is only the default of loaders, so no row changes. With copies the fingerprint covers it.
    """
    masking = run.settings.mask.masking()
    manifests = []
    for target in targets:
        manifest = _read_own(run, target)
        if manifest.masking != masking and not manifest.copies:
            manifest = write_manifest(run.output, target.folder, manifest.model_copy(update={"masking": masking}))
        manifests.append(manifest)
    _note_masking(run)
    return manifests


def _note_masking(run: Run) -> None:
    """Bring the record of the run up to date, and say where loaders mask otherwise than before."""
    masking = run.settings.mask.masking()
    before = record_masking(run.output, masking)
    if before in (None, masking):
        return
    changes = [
        f"{name} = {value} (was {getattr(before, name)})" for name, value in masking if value != getattr(before, name)
    ]
    run.has_changed_masking = True
    run.hear({"event": "note", "message": f"loaders now mask with {', '.join(changes)} unless they are told otherwise"})


def _make_context(run: Run, tokenizer: TokenizerManifest) -> PackContext:
    tokenizer_json = read_tokenizer_json(run, tokenizer)
    special = SpecialInText(run.settings.tokenizer.special_in_text)
    if read_proof(run.output, tokenizer_json, special) is None:
        prove(run, tokenizer.checksums["tokenizer.json"])
    return PackContext(
        output=run.output,
        pack=run.settings.pack,
        masking=run.settings.mask.masking(),
        copies=run.settings.mask.copies,
        seed=run.settings.documents.seed,
        tokenizer_json=tokenizer_json,
        special_in_text=special,
        proof=read_proof(run.output, tokenizer_json, special),
    )


def _read_encoded(run: Run, documents: Sequence[DocumentsManifest]) -> dict[bool, EncodedManifest]:
    """The encoded documents, if they all stand; a part of the tokenizer's fingerprint, so `[pack]` may have changed."""
    folders = {dataset.held_out: encoded_folder(dataset.held_out) for dataset in documents}
    if not run.stands(*folders.values()):
        return {}
    return {
        dataset.held_out: run.check_own(
            Part.TOKENIZER,
            read_manifest(run.output.below(folders[dataset.held_out]), EncodedManifest),
            f"{folders[dataset.held_out]}/{MANIFEST}",
            dataset.fingerprint,
        )
        for dataset in documents
    }


def _write_table(
    run: Run, units: list[PackUnit], held_out: bool, folder: str, count: Callable[[Receipt], Counter[str]]
) -> _Table:
    """Write the table of a dataset's shards; returns how many they are, its checksum, and what was counted."""
    counts = Counter[str]()

    def iter_shards() -> Iterator[ShardReceipt]:
        for receipt in iter_receipts(run.output, [unit for unit in units if unit.held_out is held_out]):
            counts.update(count(receipt))
            yield from iter_dataset_shards(receipt, folder)

    return *write_shard_table(run.output, folder, iter_shards()), counts


def _write_encoded(
    run: Run, units: list[PackUnit], documents: DocumentsManifest, tokenizer: TokenizerManifest
) -> EncodedManifest:
    folder = encoded_folder(documents.held_out)
    num_shards, checksum, counts = _write_table(run, units, documents.held_out, folder, encoding_counts)
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
            counts=run.add_up(EncodingCounts, counts, "pack"),
        ),
    )


def _write_packed_table(run: Run, units: list[PackUnit], target: _Target) -> _Table:
    held_out, folder = target.documents.held_out, target.folder
    return _write_table(run, units, held_out, folder, lambda receipt: packing_counts(receipt, target.seq_len))


def _judge_rows(run: Run, counted: Mapping[str, Counter[str]]) -> None:
    """Warn of datasets to train on that have no row.

    Args:
        run: The run.
        counted: What was counted for each, by its folder.

    Raises:
        InputDataError: None has one, so nothing useful can follow.
    """
    for folder, counts in counted.items():
        if counts["rows"]:
            continue
        found = (
            f"of {counts['documents']:,} documents {counts['without_tokens']:,} without tokens, "
            f"{counts['too_long']:,} longer than a row, {counts['quarantined'] - counts['too_long']:,} not encoded"
        )
        if not any(other["rows"] for other in counted.values()):
            raise InputDataError(
                "there is no row to train on",
                path=run.output.locate(folder),
                expected="at least one row",
                found=found,
                action="check pack.seq_len, pack.split and the text; quarantine/ has what was set aside",
            )
        run.hear({"event": "warning", "message": f"{folder} has no row: {found}"})


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
    vocabulary, _ = describe_tokenizer(context.tokenizer_json)
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
            counts=run.add_up(PackingCounts, counts, "pack"),
        ),
    )
