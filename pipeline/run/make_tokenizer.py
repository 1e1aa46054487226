"""The second part of a run: a vocabulary trained on the documents or brought by the user, and its proof."""

from __future__ import annotations

import dataclasses
import shutil

import xxhash

from maskmill.pipeline.run.list_parts import list_parts
from maskmill.pipeline.run.open_run import Run
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.stages import STAGES
from maskmill.pipeline.storage.datasets import MANIFEST, check_tokenizer, read_manifest, write_manifest
from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES
from maskmill.pipeline.storage.shard_table import read_shard_table
from maskmill.pipeline.wordpiece.counting.collect_stage import COLLECT, CollectUnit, find_word_counts
from maskmill.pipeline.wordpiece.counting.count_stage import (
    COUNT,
    CountContext,
    check_words,
    has_one_source,
    normalisation_of,
    plan_count_units,
    sum_sources,
)
from maskmill.pipeline.wordpiece.counting.merge_stage import (
    GATHER,
    MERGE,
    check_words_kept,
    plan_gather_units,
    plan_merge_units,
)
from maskmill.pipeline.wordpiece.counting.word_files import WordFile
from maskmill.pipeline.wordpiece.encoding.prove_stage import PROVE, plan_prove_units, write_proof
from maskmill.pipeline.wordpiece.files.check_tokenizer import read_normalisation
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import load_tokenizer
from maskmill.pipeline.wordpiece.vocabulary.judge_sources import iter_warnings
from maskmill.pipeline.wordpiece.vocabulary.train_stage import (
    BRING,
    TRAIN,
    BringUnit,
    TokenizerDetails,
    TrainContext,
    TrainUnit,
)
from maskmill.pipeline.wordpiece.vocabulary.weigh_sources import explain_idle_alpha
from maskmill.schemas.errors import StaleArtifactError
from maskmill.schemas.layout import WORD_COUNTS, WORDS, DataSplit, Folder, Kind, documents_folder, named
from maskmill.schemas.manifest import DocumentsManifest, TokenizerManifest
from maskmill.schemas.receipt import Receipt

COPIED_BYTES = 1 << 24
CASED_PIECES_WORTH_A_WARNING = 100
"""An uncased vocabulary may have a few, such as `[unused]` slots that were filled."""


def make_tokenizer(run: Run, documents: DocumentsManifest) -> TokenizerManifest:
    """Write the tokenizer folder, unless it is already written.

    Raises:
        ConfigError: The vocabulary is smaller than its alphabet, or the brought tokenizer cannot be used.
        InputDataError: There is no word to train on.
    """
    folder = run.tokenizer_folder
    if run.is_whole(folder):
        _drop_work(run)
        manifest = read_manifest(run.output.below(folder), TokenizerManifest)
        return run.check_own(Part.TOKENIZER, manifest, f"{folder}/{MANIFEST}", documents.fingerprint)
    settings = run.settings.tokenizer
    max_length = settings.model_max_length
    shards = list_shards(run, documents)
    is_brought = bool(run.brought) and not settings.extend
    made = _bring(run, shards, max_length) if is_brought else _train(run, documents, shards, max_length)
    details = made.details
    prove(run, details.checksums["tokenizer.json"])
    manifest = TokenizerManifest(
        run_fingerprint=run.fingerprints[Part.TOKENIZER],
        documents_fingerprint="" if is_brought else documents.fingerprint,
        trained=not is_brought,
        vocab_size=details.vocab_size,
        counts=made.counts,
        sources=tuple(details.sources),
        checksums=details.checksums,
    )
    manifest = write_manifest(run.output, folder, manifest)
    _warn(run, manifest, details)
    _drop_work(run)
    return manifest


def list_shards(run: Run, documents: DocumentsManifest) -> list[tuple[str, str]]:
    """Path and checksum of every document shard."""
    folder = documents_folder(DataSplit.of(documents.held_out))
    table = read_shard_table(run.output.below(folder), documents)
    return [(f"{folder}/{table.path(shard)}", table.checksums[shard].as_py()) for shard in range(len(table))]


def prove(run: Run, checksum: str) -> None:
    """Prove the fast encoder for the finished tokenizer, and warn if it cannot be used.

    Args:
        run: The run.
        checksum: Of its tokenizer.json.
    """
    special = run.settings.tokenizer.special_in_text
    tokenizer = run.output.below(run.tokenizer_folder)
    proven = run.run_stage(Part.TOKENIZER, PROVE, tokenizer, plan_prove_units(checksum, special))
    proof = write_proof(tokenizer, proven)
    if proof.difference:
        run.warn(f"encoding by tokenizers alone: {proof.difference}")


def read_tokenizer_json(run: Run, manifest: TokenizerManifest) -> bytes:
    """Read the run's tokenizer, which must still be the one that its manifest describes.

    Raises:
        StaleArtifactError: It was changed or deleted.
        ShardCorruptError: It cannot be used.
    """
    path = f"{run.tokenizer_folder}/tokenizer.json"
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
            action="restore it; to pack with another tokenizer, name it in tokenizer.from and give it a tokenizer.name",
        )
    check_tokenizer(data, run.output.locate(path))
    return data


def _warn(run: Run, manifest: TokenizerManifest, details: TokenizerDetails) -> None:
    """Warn the user of what to know before training with this tokenizer."""
    longest = details.max_word_characters
    left_out = manifest.trained and run.settings.tokenizer.long_words == "skip"
    for message in iter_warnings(manifest.sources, details.strips_accents, manifest.trained, longest, left_out):
        run.warn(message)
    if details.no_vocab_txt:
        run.warn(details.no_vocab_txt)
    idle = explain_idle_alpha([line.source for line in manifest.sources], run.settings.tokenizer.alpha)
    if manifest.trained and idle:
        run.warn(idle)
    cased = details.pieces_never_made
    if cased > CASED_PIECES_WORTH_A_WARNING:
        message = f"{cased:,} pieces of the vocabulary have capital letters but text is lowercased, so they never occur"
        run.warn(f"{message}: set tokenizer.lowercase = false for a cased vocabulary")


def _train(
    run: Run, documents: DocumentsManifest, shards: list[tuple[str, str]], max_length: int
) -> Receipt[TokenizerDetails]:
    normalisation = normalisation_of(run.settings.tokenizer)
    if run.brought:  # to be extended
        normalisation = read_normalisation(load_tokenizer(run.brought, normalisation))
    checksum = _take_counted(run, documents.fingerprint, normalisation)
    if checksum is None:
        counting = CountContext(run.output, normalisation, _words_folder(run), _counts_path(run.tokenizer_folder))
        checksum = _count(run, counting, documents, shards)
    unit = TrainUnit(unit=0, model_max_length=max_length, word_counts=checksum)
    context = TrainContext(run.output, run.settings.tokenizer, run.brought)
    (receipt,) = run.run_stage(Part.TOKENIZER, TRAIN, context, [unit])
    return receipt


def _take_counted(run: Run, corpus: str, normalisation: Normalisation) -> str | None:
    """The checksum of word counts to reuse: those of an earlier vocabulary, or a copy of another tokenizer's."""
    own = _counts_path(run.tokenizer_folder)
    others = [name for name in list_parts(run.output) if (found := Folder.parse(name)) and found.kind is Kind.TOKENIZER]
    folders = [run.tokenizer_folder, *others]
    for path in map(_counts_path, folders):
        checksum = find_word_counts(run.output, path, corpus, normalisation)
        if checksum is not None:
            if path != own:
                with run.output.open_input(path) as file, run.output.open_output(own) as out:
                    shutil.copyfileobj(file, out, COPIED_BYTES)
            return checksum
    return None


def _counts_path(folder: str) -> str:
    return f"{folder}/{WORD_COUNTS}"


def _bring(run: Run, shards: list[tuple[str, str]], max_length: int) -> Receipt[TokenizerDetails]:
    path, checksum = shards[0] if shards else ("", "")
    unit = BringUnit(unit=0, model_max_length=max_length, path=path, checksum=checksum)
    context = TrainContext(run.output, run.settings.tokenizer, run.brought)
    (receipt,) = run.run_stage(Part.TOKENIZER, BRING, context, [unit])
    return receipt


def _count(run: Run, context: CountContext, documents: DocumentsManifest, shards: list[tuple[str, str]]) -> str:
    """Count the words of all documents and write the table; returns its checksum."""
    counted = run.run_stage(Part.TOKENIZER, COUNT, context, plan_count_units(shards))
    sources = sum_sources(counted)
    check_words(sources, documents.documents)
    one_source = has_one_source(sources)
    counted_files = (WordFile.of(receipt.details) for receipt in counted)
    gathered = run.run_stage(
        Part.TOKENIZER, GATHER, context, plan_gather_units(counted_files, len(counted), one_source)
    )
    files = [WordFile.of(receipt.details) for receipt in (gathered if len(gathered) else counted)]
    merge_units = plan_merge_units(files, one_source, gathered=len(gathered) > 0)
    merged = run.run_stage(Part.TOKENIZER, MERGE, context, merge_units)
    check_words_kept(sources, merged)
    checksums = tuple(receipt.details.checksum for receipt in merged)
    lines = tuple(map(dataclasses.astuple, sources))
    unit = CollectUnit(unit=0, corpus=documents.fingerprint, checksums=checksums, sources=lines)
    (receipt,) = run.run_stage(Part.TOKENIZER, COLLECT, context, [unit])
    return receipt.details.checksum


def _drop_work(run: Run) -> None:
    run.drop_work(*STAGES[Part.TOKENIZER], folders=[_words_folder(run)])


def _words_folder(run: Run) -> str:
    return named(WORDS, run.settings.tokenizer.name)
