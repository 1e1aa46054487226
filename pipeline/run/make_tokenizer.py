"""The second part of a run: a vocabulary from the documents, or the one that the user brings, and its proof."""

from __future__ import annotations

import dataclasses

import xxhash

from maskmill.pipeline.engine.receipts import iter_receipts
from maskmill.pipeline.engine.stage import UnitOutcome
from maskmill.pipeline.run.open_run import Run
from maskmill.pipeline.run.parts import WORDS, Part
from maskmill.pipeline.run.stages import STAGES
from maskmill.pipeline.storage.datasets import (
    MANIFEST,
    check_tokenizer,
    read_manifest,
    read_shard_table,
    write_manifest,
)
from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES
from maskmill.pipeline.wordpiece.counting.collect_stage import CollectUnit, collect_word_counts, find_word_counts
from maskmill.pipeline.wordpiece.counting.count_stage import (
    CountContext,
    check_words,
    count_document_words,
    has_one_source,
    normalisation_of,
    plan_count_units,
    sum_sources,
)
from maskmill.pipeline.wordpiece.counting.merge_stage import (
    check_words_kept,
    gather_word_counts,
    merge_word_counts,
    plan_gather_units,
    plan_merge_units,
)
from maskmill.pipeline.wordpiece.counting.word_files import WordFile
from maskmill.pipeline.wordpiece.encoding.prove_stage import plan_prove_units, prove_tokenizer, write_proof
from maskmill.pipeline.wordpiece.files.check_tokenizer import read_normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import load_tokenizer
from maskmill.pipeline.wordpiece.vocabulary.judge_sources import iter_warnings
from maskmill.pipeline.wordpiece.vocabulary.train_stage import (
    BringUnit,
    TrainContext,
    TrainUnit,
    bring_tokenizer,
    train_vocabulary,
)
from maskmill.pipeline.wordpiece.vocabulary.weigh_sources import explain_idle_alpha
from maskmill.schemas.counts import SourceReport
from maskmill.schemas.errors import StaleArtifactError
from maskmill.schemas.layout import TOKENIZER, DataSplit, documents_folder
from maskmill.schemas.manifest import DocumentsManifest, TokenizerManifest

CASED_PIECES_WORTH_A_WARNING = 100
"""An uncased vocabulary may have some, such as `[unused]` slots that were filled."""


def make_tokenizer(run: Run, documents: DocumentsManifest) -> TokenizerManifest:
    """Write the tokenizer folder; nothing is done where it is there already.

    Raises:
        ConfigError: The vocabulary is smaller than its alphabet, or the brought tokenizer cannot be used.
        InputDataError: There is no word to train on.
    """
    if run.output.exists(f"{TOKENIZER}/{MANIFEST}"):
        _drop_work(run)
        manifest = read_manifest(run.output.below(TOKENIZER), TokenizerManifest)
        return run.check_own(Part.TOKENIZER, manifest, f"{TOKENIZER}/{MANIFEST}", documents.fingerprint)
    settings = run.settings.tokenizer
    max_length = settings.model_max_length
    shards = list_shards(run, documents)
    is_brought = bool(run.brought) and not settings.extend
    outcome = _bring(run, shards, max_length) if is_brought else _train(run, documents, shards, max_length)
    prove(run, outcome.details["checksums"]["tokenizer.json"])
    manifest = TokenizerManifest(
        run_fingerprint=run.fingerprints[Part.TOKENIZER],
        documents_fingerprint="" if is_brought else documents.fingerprint,
        trained=not is_brought,
        vocab_size=outcome.details["vocab_size"],
        counts=outcome.counts,
        sources=tuple(SourceReport.model_validate(source) for source in outcome.details["sources"]),
        checksums=outcome.details["checksums"],
    )
    manifest = write_manifest(run.output, TOKENIZER, manifest)
    _warn(run, manifest, outcome)
    _drop_work(run)
    return manifest


def list_shards(run: Run, documents: DocumentsManifest) -> list[tuple[str, str]]:
    """Path and checksum of every document shard."""
    folder = documents_folder(DataSplit.of(documents.held_out))
    table = read_shard_table(run.output.below(folder), documents)
    return [(f"{folder}/{table.path(shard)}", table.checksums[shard].as_py()) for shard in range(len(table))]


def prove(run: Run, checksum: str) -> None:
    """Prove the fast encoder for the tokenizer that stands, and say so if it cannot be used.

    Args:
        run: The run.
        checksum: Of its tokenizer.json.
    """
    special = run.settings.tokenizer.special_in_text
    units = run.sign(Part.TOKENIZER, plan_prove_units(checksum, special))
    run.run_stage(prove_tokenizer, run.output, units)
    proof = write_proof(run.output, iter_receipts(run.output, units))
    if proof.difference:
        run.hear({"event": "warning", "message": f"encoding by tokenizers alone: {proof.difference}"})


def read_tokenizer_json(run: Run, manifest: TokenizerManifest) -> bytes:
    """The tokenizer of the run, which must still be the one that its manifest speaks of.

    Raises:
        StaleArtifactError: It was changed or deleted.
        ShardCorruptError: It cannot be used.
    """
    path = f"{TOKENIZER}/tokenizer.json"
    try:
        data = run.output.read_bytes(path, MAX_TEXT_BYTES)
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
    check_tokenizer(data, run.output.locate(path))
    return data


def _warn(run: Run, manifest: TokenizerManifest, outcome: UnitOutcome) -> None:
    """Say what a person should know before training on this."""
    details = outcome.details
    longest = details["max_word_characters"]
    left_out = manifest.trained and run.settings.tokenizer.long_words == "skip"
    for message in iter_warnings(manifest.sources, details["strips_accents"], manifest.trained, longest, left_out):
        run.hear({"event": "warning", "message": message})
    if outcome.details["no_vocab_txt"]:
        run.hear({"event": "warning", "message": outcome.details["no_vocab_txt"]})
    idle = explain_idle_alpha([line.source for line in manifest.sources], run.settings.tokenizer.alpha)
    if manifest.trained and idle:
        run.hear({"event": "warning", "message": idle})
    cased = outcome.details["pieces_never_made"]
    if cased > CASED_PIECES_WORTH_A_WARNING:
        message = f"{cased:,} pieces of the vocabulary have capital letters but text is lowercased, so they never occur"
        run.hear({"event": "warning", "message": f"{message}: set tokenizer.lowercase = false for a cased vocabulary"})


def _train(run: Run, documents: DocumentsManifest, shards: list[tuple[str, str]], max_length: int) -> UnitOutcome:
    normalisation = normalisation_of(run.settings.tokenizer)
    if run.brought:  # to be extended
        normalisation = read_normalisation(load_tokenizer(run.brought, normalisation))
    checksum = find_word_counts(run.output, documents.fingerprint, normalisation)
    if checksum is None:
        checksum = _count(run, CountContext(run.output, normalisation), documents, shards)
    units = run.sign(Part.TOKENIZER, [TrainUnit(unit=0, model_max_length=max_length, word_counts=checksum)])
    run.run_stage(train_vocabulary, TrainContext(run.output, run.settings.tokenizer, run.brought), units)
    (receipt,) = iter_receipts(run.output, units)
    return UnitOutcome([], receipt.counts, receipt.details)


def _bring(run: Run, shards: list[tuple[str, str]], max_length: int) -> UnitOutcome:
    path, checksum = shards[0] if shards else ("", "")
    units = run.sign(Part.TOKENIZER, [BringUnit(unit=0, model_max_length=max_length, path=path, checksum=checksum)])
    run.run_stage(bring_tokenizer, TrainContext(run.output, run.settings.tokenizer, run.brought), units)
    (receipt,) = iter_receipts(run.output, units)
    return UnitOutcome([], receipt.counts, receipt.details)


def _count(run: Run, context: CountContext, documents: DocumentsManifest, shards: list[tuple[str, str]]) -> str:
    """Count the words of all documents and write them down; returns the checksum of the table."""
    count_units = run.sign(Part.TOKENIZER, plan_count_units(shards))
    run.run_stage(count_document_words, context, count_units)
    sources = sum_sources(iter_receipts(run.output, count_units))
    check_words(sources, documents.documents)
    one_source = has_one_source(sources)
    counted = map(WordFile.of, iter_receipts(run.output, count_units))
    gather_units = run.sign(Part.TOKENIZER, plan_gather_units(counted, len(count_units), one_source))
    run.run_stage(gather_word_counts, context, gather_units)
    files = list(map(WordFile.of, iter_receipts(run.output, gather_units or count_units)))
    merge_units = run.sign(Part.TOKENIZER, plan_merge_units(files, one_source, gathered=bool(gather_units)))
    run.run_stage(merge_word_counts, context, merge_units)
    check_words_kept(sources, iter_receipts(run.output, merge_units))
    checksums = tuple(receipt.details["checksum"] for receipt in iter_receipts(run.output, merge_units))
    lines = tuple(map(dataclasses.astuple, sources))
    collect_units = run.sign(
        Part.TOKENIZER,
        [CollectUnit(unit=0, corpus=documents.fingerprint, checksums=checksums, sources=lines)],
    )
    run.run_stage(collect_word_counts, context, collect_units)
    (receipt,) = iter_receipts(run.output, collect_units)
    return str(receipt.details["checksum"])


def _drop_work(run: Run) -> None:
    run.drop_work(*STAGES[Part.TOKENIZER], folders=[WORDS])
