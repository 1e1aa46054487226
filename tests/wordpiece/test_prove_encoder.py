"""A proof covers every code point, finds a single wrong id, and holds for one tokenizer alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pipeline.storage.store import open_store
from pipeline.wordpiece.hostile_text import list_hostile_texts
from pipeline.wordpiece.load_encoders import Ids, Offsets, SpecialInText, load_fast_encode, load_law
from pipeline.wordpiece.prove_encoder import (
    Proof,
    ProofKey,
    compare_on,
    make_proof_key,
    prove_encoder,
)
from pipeline.wordpiece.train_stage import PROOF, read_proof
from tests.wordpiece.test_encode import CASED_JSON, TOKENIZER_JSON
from tests.wordpiece.texts import SENTENCES

TEXT, SPECIAL = SpecialInText.TEXT, SpecialInText.SPECIAL


@pytest.fixture(scope="module")
def proof() -> Proof:
    return prove_encoder(TOKENIZER_JSON, TEXT)


def test_the_fast_path_is_proven_on_every_hostile_text(proof: Proof) -> None:
    assert proof.difference is None
    texts = list(list_hostile_texts(list(load_law(TOKENIZER_JSON, TEXT).get_vocab())))
    assert (proof.num_texts, proof.num_bytes) == (len(texts), sum(len(text.encode()) for text in texts))


@pytest.fixture(scope="module")
def hostile_texts() -> list[str]:
    return list(list_hostile_texts(["a", "##b"]))


def test_hostile_texts_hold_every_code_point_alone_and_within_a_word(hostile_texts: list[str]) -> None:
    alone = {word for text in hostile_texts for word in text.split(" ") if len(word) == 1}
    within = {word[1] for text in hostile_texts for word in text.split(" ") if len(word) == 3 and word[0] == "a"}
    codes = {chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000} - {" "}
    assert codes <= alone
    assert codes <= within


def test_hostile_texts_are_the_same_every_time(hostile_texts: list[str]) -> None:
    assert list(list_hostile_texts(["a", "##b"])) == hostile_texts


def test_one_wrong_id_is_found_and_said() -> None:
    fast_encode = load_fast_encode(TOKENIZER_JSON, TEXT)

    def encode(texts: Sequence[str]) -> tuple[Ids, Offsets]:
        ids, offsets = fast_encode(texts)
        ids = ids.copy()
        if SENTENCES[2] in texts:
            ids[offsets[texts.index(SENTENCES[2])]] ^= 1
        return ids, offsets

    law = load_law(TOKENIZER_JSON, TEXT)
    key = make_proof_key(TOKENIZER_JSON, TEXT)
    assert compare_on(SENTENCES[:2] * 100, encode, law, key).difference is None
    proof = compare_on(SENTENCES[:2] * 100 + SENTENCES, encode, law, key)
    assert repr(ascii(SENTENCES[2][:5]))[2:-2] in str(proof.difference).replace("\\", "\\\\")
    shifted = compare_on(["a b", "c"], lambda texts: (fast_encode(texts)[0], fast_encode(texts)[1] * 0), law, key)
    assert shifted.difference is not None


def test_a_stored_proof_holds_for_its_tokenizer_mode_and_libraries_alone(proof: Proof, tmp_path: Path) -> None:
    output = open_store(str(tmp_path))
    assert read_proof(output, TOKENIZER_JSON, TEXT) is None
    output.write_bytes(PROOF, json.dumps(asdict(proof)).encode())
    assert read_proof(output, TOKENIZER_JSON, TEXT) == proof
    assert read_proof(output, CASED_JSON, TEXT) is None
    assert read_proof(output, TOKENIZER_JSON, SPECIAL) is None
    for library in ("tokenizers_version", "nanotoken_version"):
        stale = replace(proof, key=replace(proof.key, **{library: "0.0"}))
        output.write_bytes(PROOF, json.dumps(asdict(stale)).encode())
        assert read_proof(output, TOKENIZER_JSON, TEXT) is None


def test_a_tokenizer_that_the_fast_path_refuses_is_left_to_tokenizers() -> None:
    description = json.loads(TOKENIZER_JSON)
    description["normalizer"] = {"type": "Replace", "pattern": {"String": "a"}, "content": "b"}
    source = json.dumps(description).encode()
    proof = prove_encoder(source, TEXT)
    assert "does not take this tokenizer" in str(proof.difference)


def test_a_proof_is_stored_as_plain_values(proof: Proof) -> None:
    stored = json.loads(json.dumps(asdict(proof)))
    assert Proof(**stored | {"key": ProofKey(**stored["key"])}) == proof
