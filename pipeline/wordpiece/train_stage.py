"""The steps after counting: train the vocabulary, or take the user's, and prove the fast encoder for it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipeline.engine.stage import UnitDescription, UnitOutcome
from pipeline.storage.paths import split_file_url
from pipeline.storage.store import Store, open_store
from pipeline.wordpiece.count_stage import CountContext, normalisation_of, read_merged
from pipeline.wordpiece.encode import SpecialInText
from pipeline.wordpiece.prove_encoder import Proof, ProofKey, make_proof_key, prove_encoder
from pipeline.wordpiece.tokenizer_files import build_tokenizer, load_tokenizer, tokenizer_files
from pipeline.wordpiece.train import train_wordpiece
from schemas.errors import ConfigError, MaskmillError
from schemas.redaction import without_user_info
from schemas.run_file import TokenizerSection

FOLDER = "tokenizer"
WORD_COUNTS = f"{FOLDER}/word_counts.parquet"
PROOF = f"{FOLDER}/proof.json"


class TrainUnit(UnitDescription):
    """Train the vocabulary from the merged counts."""

    stage: str = "train"
    model_max_length: int


class ProveUnit(UnitDescription):
    """Prove the fast encoder for the tokenizer of the run."""

    stage: str = "prove"
    checksum: str
    special_in_text: str


def train_vocabulary(context: CountContext, unit: TrainUnit) -> UnitOutcome:
    """Train and write the tokenizer folder, its manifest apart; the one unit of the train stage.

    Raises:
        ConfigError: The vocabulary is too small for its alphabet.
    """
    settings = context.settings
    words = read_merged(context.output)
    trained = train_wordpiece(
        words,
        settings.vocab_size,
        min_frequency=settings.min_frequency,
        limit_alphabet=settings.limit_alphabet,
        max_words=settings.max_words,
    )
    sink = pa.BufferOutputStream()
    pq.write_table(words, sink, compression="zstd")
    context.output.write_bytes(WORD_COUNTS, sink.getvalue().to_pybytes())
    tokenizer = build_tokenizer(trained.pieces, normalisation_of(settings))
    files = tokenizer_files(tokenizer, model_max_length=unit.model_max_length)
    checksums = write_folder(context.output, files)
    checksums["word_counts.parquet"] = xxhash.xxh3_128_hexdigest(sink.getvalue())
    counts = {
        field.name: value
        for field in dataclasses.fields(trained)
        if isinstance(value := getattr(trained, field.name), int)
    }
    counts |= {"words": int(words["count"].to_numpy().sum()), "distinct_words": words.num_rows}
    return UnitOutcome([], counts, {"checksums": checksums, "vocab_size": len(trained.pieces)})


def bring_tokenizer(output: Store, settings: TokenizerSection, files: dict[str, bytes], max_length: int) -> UnitOutcome:
    """Write the tokenizer folder from files that the user brought.

    Raises:
        ConfigError: It is no WordPiece tokenizer with the five special tokens.
    """
    tokenizer = load_tokenizer(files, normalisation_of(settings))
    checksums = write_folder(output, tokenizer_files(tokenizer, model_max_length=max_length))
    return UnitOutcome([], {}, {"checksums": checksums, "vocab_size": tokenizer.get_vocab_size()})


def read_brought_files(url: str) -> dict[str, bytes]:
    """The files of a tokenizer that the user names: `tokenizer.json`, `vocab.txt` or a folder with one of them.

    Raises:
        ConfigError: There is neither.
    """
    folder, name = split_file_url(url.rstrip("/"))
    names = [name] if os.path.splitext(name)[1] in (".json", ".txt") else []
    store = open_store(folder if names else url)
    for candidate in names or ["tokenizer.json", "vocab.txt"]:
        try:
            kind = "tokenizer.json" if candidate.endswith(".json") else "vocab.txt"
            return {kind: store.read_bytes(candidate)}
        except FileNotFoundError:
            continue
    raise ConfigError(
        "no tokenizer here",
        path=without_user_info(url),
        expected="a tokenizer.json, a vocab.txt, or a folder with one of them",
        action="check tokenizer.from",
    )


def write_folder(output: Store, files: dict[str, bytes]) -> dict[str, str]:
    """Write the files of the tokenizer folder; returns the xxh3-128 of each."""
    for name, data in files.items():
        output.write_bytes(f"{FOLDER}/{name}", data)
    return {name: xxhash.xxh3_128_hexdigest(data) for name, data in files.items()}


def prove_tokenizer(context: CountContext, unit: ProveUnit) -> UnitOutcome:
    """Prove the fast encoder and keep the proof beside the tokenizer; the one unit of the prove stage.

    A proof holds for a tokenizer and library versions, not for a run, so it is also kept in the user's cache folder
    and taken from there.
    """
    tokenizer_json = context.output.read_bytes(f"{FOLDER}/tokenizer.json")
    special = SpecialInText(unit.special_in_text)
    key = make_proof_key(tokenizer_json, special)
    cache = open_store(os.path.join(_cache_folder(), "proofs"))
    name = f"{xxhash.xxh3_128_hexdigest(repr(key).encode())}.json"
    proof = None
    with contextlib.suppress(MaskmillError):  # nor one that cannot be read
        proof = _read_proof(cache, name, key)
    if proof is None:
        proof = prove_encoder(tokenizer_json, special)
        with contextlib.suppress(MaskmillError):  # a cache that cannot be written costs ten seconds next time
            cache.write_bytes(name, _dump_proof(proof))
    context.output.write_bytes(PROOF, _dump_proof(proof))
    return UnitOutcome([], {"proof_texts": proof.num_texts}, {"difference": proof.difference})


def read_proof(output: Store, tokenizer_json: bytes, special: SpecialInText) -> Proof | None:
    """The proof that stands beside the tokenizer, if it is one for these libraries."""
    return _read_proof(output, PROOF, make_proof_key(tokenizer_json, special))


def _read_proof(store: Store, path: str, key: ProofKey) -> Proof | None:
    try:
        values: dict[str, Any] = json.loads(store.read_bytes(path))
        found = Proof(**{**values, "key": ProofKey(**values["key"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    return found if found.key == key else None


def _dump_proof(proof: Proof) -> bytes:
    return (json.dumps(dataclasses.asdict(proof), indent=2, sort_keys=True) + "\n").encode()


def _cache_folder() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "maskmill")
