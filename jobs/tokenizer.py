"""The second part of a run: a vocabulary from the documents, or the one that the user brings, and its proof."""

from __future__ import annotations

import xxhash

from jobs.open_run import Run
from pipeline.corpus.plan import documents_folder
from pipeline.engine.stage import UnitOutcome, iter_receipts
from pipeline.storage.datasets import MANIFEST, read_manifest, read_shard_table, write_manifest
from pipeline.wordpiece.count_stage import (
    WORD_PARTITIONS,
    CountContext,
    CountUnit,
    MergeUnit,
    count_document_words,
    merge_word_counts,
)
from pipeline.wordpiece.train_stage import (
    FOLDER,
    ProveUnit,
    TrainUnit,
    bring_tokenizer,
    prove_tokenizer,
    train_vocabulary,
)
from schemas.errors import StaleArtifactError
from schemas.manifest import DocumentsManifest, TokenizerManifest


def tokenizer(run: Run, documents: DocumentsManifest) -> TokenizerManifest:
    """Write the tokenizer folder; nothing is done where it stands.

    Raises:
        ConfigError: The vocabulary is smaller than its alphabet, or the brought tokenizer cannot be used.
    """
    if run.output.exists(f"{FOLDER}/{MANIFEST}"):
        _drop_work(run)
        manifest = read_manifest(run.output.below(FOLDER), TokenizerManifest)
        return run.check_own(manifest, f"{FOLDER}/{MANIFEST}")
    context = CountContext(run.output, run.settings.tokenizer)
    max_length = run.settings.pack.seq_len
    if run.brought:
        outcome = bring_tokenizer(run.output, run.settings.tokenizer, run.brought, max_length)
    else:
        outcome = _train(run, context, documents, max_length)
    prove(run, outcome.details["checksums"]["tokenizer.json"])
    manifest = TokenizerManifest(
        run_fingerprint=run.fingerprint,
        documents_fingerprint="" if run.brought else documents.fingerprint,
        trained=not run.brought,
        vocab_size=outcome.details["vocab_size"],
        counts=outcome.counts,
        checksums=outcome.details["checksums"],
    )
    manifest = write_manifest(run.output, FOLDER, manifest)
    _drop_work(run)
    return manifest


def prove(run: Run, checksum: str) -> None:
    """Prove the fast encoder for the tokenizer that stands, and say so if it cannot be used.

    Args:
        run: The run.
        checksum: Of its tokenizer.json.
    """
    special = run.settings.tokenizer.special_in_text
    units = run.sign([ProveUnit(unit=0, checksum=checksum, special_in_text=special)])
    run.run_stage(prove_tokenizer, CountContext(run.output, run.settings.tokenizer), units)
    (receipt,) = iter_receipts(run.output, units)
    if receipt.details["difference"]:
        run.hear({"event": "warning", "message": f"encoding by tokenizers alone: {receipt.details['difference']}"})


def read_tokenizer_json(run: Run, manifest: TokenizerManifest) -> bytes:
    """The tokenizer of the run, which must still be the one that its manifest speaks of.

    Raises:
        StaleArtifactError: It was changed or deleted.
    """
    path = f"{FOLDER}/tokenizer.json"
    try:
        data = run.output.read_bytes(path)
    except FileNotFoundError:
        data = b""
    expected = manifest.checksums["tokenizer.json"]
    found = xxhash.xxh3_128_hexdigest(data)
    if found != expected:
        raise StaleArtifactError(
            "the tokenizer is not the one that was written",
            path=run.output.locate(path),
            expected=f"xxh3-128 {expected}",
            found=found if data else "no file",
            action="restore it; to pack with another tokenizer, name it in tokenizer.from and another output.url",
        )
    return data


def _train(run: Run, context: CountContext, documents: DocumentsManifest, max_length: int) -> UnitOutcome:
    shards = read_shard_table(run.output.below(documents_folder(held_out=False)), documents)
    count_units = [
        CountUnit(unit=shard, path=f"documents/{shards.path(shard)}", checksum=shards.checksums[shard].as_py())
        for shard in range(len(shards))
    ]
    run.run_stage(count_document_words, context, run.sign(count_units))
    merge_units = [MergeUnit(unit=number, num_files=len(count_units)) for number in range(WORD_PARTITIONS)]
    run.run_stage(merge_word_counts, context, run.sign(merge_units))
    train_units = run.sign([TrainUnit(unit=0, model_max_length=max_length)])
    run.run_stage(train_vocabulary, context, train_units)
    (receipt,) = iter_receipts(run.output, train_units)
    return UnitOutcome([], receipt.counts, receipt.details)


def _drop_work(run: Run) -> None:
    run.drop_work("count", "merge", "train", "prove", folders=["work/words"])
