"""The third part of a run: document shards to packed shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from jobs.open_run import Run
from jobs.tokenizer import prove, read_tokenizer_json
from pipeline.corpus.plan import documents_folder
from pipeline.engine.stage import iter_receipts
from pipeline.packing.pack_stage import (
    PackContext,
    PackUnit,
    describe_tokenizer,
    pack_documents,
    packed_folder,
    plan_pack_units,
)
from pipeline.storage.datasets import MANIFEST, read_manifest, read_shard_table, write_manifest, write_shard_table
from pipeline.wordpiece.encode import SpecialInText
from pipeline.wordpiece.train_stage import read_proof
from schemas.manifest import DocumentsManifest, PackedManifest, PackingCounts, TokenizerManifest
from schemas.receipt import ShardReceipt
from schemas.rows import rows_per_block


def pack(run: Run, documents: list[DocumentsManifest], tokenizer: TokenizerManifest) -> list[PackedManifest]:
    """Write the packed shards; nothing is done where they stand.

    Args:
        run: The run.
        documents: Manifests of the documents to train on and, if any, of the held-out ones.
        tokenizer: Manifest of the tokenizer.

    Returns:
        The manifests of the packed datasets in the same order.
    """
    if run.output.exists(f"{packed_folder(held_out=False)}/{MANIFEST}"):
        _drop_work(run)
        return [
            read_manifest(run.output.below(packed_folder(dataset.held_out)), PackedManifest) for dataset in documents
        ]
    tokenizer_json = read_tokenizer_json(run, tokenizer)
    special = SpecialInText(run.settings.tokenizer.special_in_text)
    if read_proof(run.output, tokenizer_json, special) is None:
        prove(run, tokenizer.checksums["tokenizer.json"])
    context = PackContext(
        output=run.output,
        pack=run.settings.pack,
        masking=run.settings.mask.masking(),
        copies=run.settings.mask.copies,
        seed=run.settings.documents.seed,
        tokenizer_json=tokenizer_json,
        special_in_text=special,
        proof=read_proof(run.output, tokenizer_json, special),
    )
    shards = []
    for dataset in documents:
        table = read_shard_table(run.output.below(documents_folder(dataset.held_out)), dataset)
        shards.append(list(zip(table.paths.to_pylist(), table.checksums.to_pylist(), strict=True)))
    units = run.sign(plan_pack_units(shards, tokenizer.checksums["tokenizer.json"]))
    run.run_stage(pack_documents, context, units)
    manifests = [_write_manifest(run, context, units, dataset, tokenizer) for dataset in reversed(documents)]
    _drop_work(run)
    return manifests[::-1]


def _read_own(run: Run, folder: str) -> PackedManifest:
    return run.check_own(read_manifest(run.output.below(folder), PackedManifest), f"{folder}/{MANIFEST}")


def _write_manifest(
    run: Run, context: PackContext, units: list[PackUnit], documents: DocumentsManifest, tokenizer: TokenizerManifest
) -> PackedManifest:
    folder = packed_folder(documents.held_out)
    counts = Counter[str]()

    def iter_shards() -> Iterator[ShardReceipt]:
        for receipt in iter_receipts(run.output, [unit for unit in units if unit.held_out is documents.held_out]):
            counts.update(receipt.counts)
            yield from receipt.shards
            if receipt.details["fell_back"]:
                run.hear({"event": "warning", "message": receipt.details["fell_back"]})

    num_shards, checksum = write_shard_table(run.output, folder, iter_shards())
    text_bytes = counts.pop("text_bytes", 0)
    run.output.write_bytes(f"{folder}/tokenizer.json", context.tokenizer_json)
    vocabulary, _ = describe_tokenizer(context.tokenizer_json)
    seq_len = run.settings.pack.seq_len
    return write_manifest(
        run.output,
        folder,
        PackedManifest(
            run_fingerprint=run.fingerprint,
            num_shards=num_shards,
            shards_checksum=checksum,
            held_out=documents.held_out,
            seq_len=seq_len,
            block_rows=rows_per_block(seq_len, vocabulary.vocab_size),
            vocabulary=vocabulary,
            tokenizer_checksum=tokenizer.checksums["tokenizer.json"],
            documents_fingerprint=documents.fingerprint,
            copies=context.copies,
            masking=context.masking,
            text_bytes=text_bytes,
            counts=PackingCounts(**{name: counts[name] for name in PackingCounts.model_fields}),
        ),
    )


def _drop_work(run: Run) -> None:
    run.drop_work("prove", "pack")
