"""The stage that proves the fast encoder, spread over the workers, and the proof that is kept beside the tokenizer."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
from collections.abc import Iterable

import xxhash
from pydantic import TypeAdapter, ValidationError

from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitDescription, UnitOutcome
from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.wordpiece.encoding.load_encoders import SpecialInText
from maskmill.pipeline.wordpiece.encoding.prove_encoder import (
    PROOF_PARTS,
    Proof,
    ProofKey,
    join_proofs,
    make_proof_key,
    prove_part,
)
from maskmill.schemas.errors import MaskmillError
from maskmill.schemas.receipt import Details, Receipt

PROOF = "proof.json"
_PROOF = TypeAdapter(Proof)
_OWN_FOLDER_MODE = 0o700


class ProveUnit(UnitDescription):
    """Prove a part of what the fast encoder is proven on; the unit's number is the part.

    Attributes:
        checksum: xxh3-128 of the tokenizer.json.
        special_in_text: What a special token's string in raw text is.
    """

    stage: str = "prove"
    checksum: str
    special_in_text: str


class ProveDetails(Details):
    """The result of a prove unit.

    Attributes:
        proof: Of the part.
    """

    proof: Proof


def plan_prove_units(checksum: str, special_in_text: str) -> list[ProveUnit]:
    """A unit for each part of the proof."""
    return [ProveUnit(unit=part, checksum=checksum, special_in_text=special_in_text) for part in range(PROOF_PARTS)]


def prove_tokenizer(tokenizer: Store, unit: ProveUnit) -> UnitOutcome[ProveDetails]:
    """Prove a part; the unit of the prove stage.

    A proof holds for a tokenizer and library versions, not for a run, so each part is also kept in the user's cache
    folder and taken from there.
    """
    tokenizer_json = tokenizer.read_bytes("tokenizer.json", MAX_TEXT_BYTES)
    special = SpecialInText(unit.special_in_text)
    key = make_proof_key(tokenizer_json, special)
    cache = _open_cache()
    name = f"{xxhash.xxh3_128_hexdigest(repr((key, unit.unit, PROOF_PARTS)).encode())}.json"
    proof = None
    with contextlib.suppress(MaskmillError):  # nor one that cannot be read
        proof = None if cache is None else _read_proof(cache, name, key)
    if proof is None:
        proof = prove_part(tokenizer_json, special, unit.unit)
        with contextlib.suppress(MaskmillError):  # a cache that cannot be written costs ten seconds next time
            if cache is not None:
                cache.write_bytes(name, _dump_proof(proof))
    return UnitOutcome([], {"proof_texts": proof.num_texts}, ProveDetails(proof=proof))


PROVE = Stage(
    "prove the encoder",
    "comparing the fast encoder with the tokenizers library on hostile text",
    ProveUnit,
    ProveDetails,
    prove_tokenizer,
)


def write_proof(tokenizer: Store, receipts: Iterable[Receipt[ProveDetails]]) -> Proof:
    """Keep the proof beside the tokenizer.

    Args:
        tokenizer: The tokenizer's folder.
        receipts: Of the units of the prove stage, in their order.

    Raises:
        ConfigError: The machines of the workers have different libraries.
    """
    proof = join_proofs([receipt.details.proof for receipt in receipts])
    tokenizer.write_bytes(PROOF, _dump_proof(proof))
    return proof


def read_proof(tokenizer: Store, tokenizer_json: bytes, special: SpecialInText) -> Proof | None:
    """The proof beside the tokenizer, if it is for these libraries."""
    return _read_proof(tokenizer, PROOF, make_proof_key(tokenizer_json, special))


def _read_proof(store: Store, path: str, key: ProofKey) -> Proof | None:
    try:
        found = _PROOF.validate_json(store.read_bytes(path, MAX_TEXT_BYTES))
    except (FileNotFoundError, ValidationError):
        return None
    return found if found.key == key else None


def _dump_proof(proof: Proof) -> bytes:
    return (json.dumps(dataclasses.asdict(proof), indent=2, sort_keys=True) + "\n").encode()


def _open_cache() -> Store | None:
    """The user's cache of proofs; `None` if others can write to it, since it would then prove nothing."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    try:
        os.makedirs(folder, exist_ok=True)
        for name in ("maskmill", "proofs"):
            folder = os.path.join(folder, name)
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, _OWN_FOLDER_MODE)
            status = os.lstat(folder)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                return None
            if stat.S_IMODE(status.st_mode) & ~_OWN_FOLDER_MODE:  # made by an earlier version
                os.chmod(folder, _OWN_FOLDER_MODE)
    except OSError:
        return None
    return open_store(folder)
