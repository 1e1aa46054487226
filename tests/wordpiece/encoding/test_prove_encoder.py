"""A proof covers every code point, finds a single wrong id, and holds for one tokenizer alone."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from maskmill.pipeline.engine.receipts import Receipts, _seal, receipt_path
from maskmill.pipeline.engine.stage import execute_unit
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.wordpiece.encoding import prove_encoder as proving
from maskmill.pipeline.wordpiece.encoding import prove_stage
from maskmill.pipeline.wordpiece.encoding.hostile_text import list_hostile_texts
from maskmill.pipeline.wordpiece.encoding.load_encoders import Ids, Offsets, SpecialInText, load_fast_encode, load_law
from maskmill.pipeline.wordpiece.encoding.prove_encoder import (
    PROOF_PARTS,
    Proof,
    ProofKey,
    compare_on,
    join_proofs,
    make_proof_key,
    prove_encoder,
    prove_part,
)
from maskmill.pipeline.wordpiece.encoding.prove_stage import (
    PROOF,
    ProveDetails,
    ProveUnit,
    plan_prove_units,
    prove_tokenizer,
    read_proof,
    write_proof,
)
from maskmill.schemas.errors import ConfigError, ShardCorruptError
from tests.wordpiece.encoding.test_encode import CASED_JSON, TOKENIZER_JSON
from tests.wordpiece.texts import SENTENCES

pytest.importorskip("nanotoken", reason="nanotoken is optional, and these tests hold it against tokenizers")

TEXT, SPECIAL = SpecialInText.TEXT, SpecialInText.SPECIAL


pytestmark = pytest.mark.usefixtures("whole_proofs")

ProvePart = Callable[[bytes, SpecialInText, int], Proof]


@pytest.fixture(scope="module")
def prove_part_once(whole_proofs: None) -> ProvePart:
    """`prove_part`, each part of which takes a second and is proven once for all tests."""
    return functools.cache(prove_part)


@pytest.fixture(scope="module")
def proof(prove_part_once: ProvePart) -> Proof:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proving, "prove_part", prove_part_once)
        return prove_encoder(TOKENIZER_JSON, TEXT)


def test_the_fast_path_is_proven_on_every_hostile_text(proof: Proof) -> None:
    assert proof.difference is None
    texts = list(list_hostile_texts(list(load_law(TOKENIZER_JSON, TEXT).get_vocab())))
    assert (proof.num_texts, proof.num_bytes) == (len(texts), sum(len(text.encode()) for text in texts))


@pytest.fixture(scope="module")
def hostile_texts(whole_proofs: None) -> list[str]:
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


def test_the_parts_of_a_proof_are_all_of_it(proof: Proof, prove_part_once: ProvePart) -> None:
    parts = [prove_part_once(TOKENIZER_JSON, TEXT, part) for part in range(PROOF_PARTS)]
    assert join_proofs(parts) == proof
    assert prove_part(TOKENIZER_JSON, TEXT, 1) == parts[1]  # whoever proves it, and however often
    assert min(part.num_texts for part in parts) > proof.num_texts // (2 * PROOF_PARTS)
    different = [replace(parts[3], difference="a"), *parts[4:], replace(parts[2], difference="b")]
    assert join_proofs(different).difference == "a"


def test_machines_with_different_libraries_are_refused(proof: Proof) -> None:
    other = replace(proof, key=replace(proof.key, nanotoken_version="0.0"))
    with pytest.raises(ConfigError, match=r"different libraries.*nanotoken 0\.0"):
        join_proofs([proof, other])


def test_a_part_is_proven_once_and_the_proof_is_written_of_all(
    proof: Proof, prove_part_once: ProvePart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked: list[int] = []

    def prove(tokenizer_json: bytes, special: SpecialInText, part: int) -> Proof:
        asked.append(part)
        return prove_part_once(tokenizer_json, special, part)

    monkeypatch.setattr(prove_stage, "prove_part", prove)
    for name in ("first", "second"):
        output = open_store(str(tmp_path / name))
        output.write_bytes("tokenizer.json", TOKENIZER_JSON)
        units: list[ProveUnit] = plan_prove_units("checksum", "text")
        for unit in units[::-1]:
            execute_unit(prove_tokenizer, output, output, unit)
        assert write_proof(output, Receipts(output, units, ProveDetails)) == proof
        assert read_proof(output, TOKENIZER_JSON, TEXT) == proof
    assert sorted(asked) == list(range(PROOF_PARTS))


@pytest.mark.parametrize("place", ["maskmill", "maskmill/proofs"])
@pytest.mark.parametrize("kind", ["a link", "another user's", "open"])
def test_proofs_are_kept_in_folders_of_this_user_alone(
    proof: Proof, place: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(prove_stage, "prove_part", lambda *_: proof)
    (tmp_path / "target").mkdir()
    folder = tmp_path / "cache" / place
    folder.parent.mkdir(parents=True)
    if kind == "a link":
        folder.symlink_to(tmp_path / "target")
    else:
        folder.mkdir()
        folder.chmod(0o775)
    if kind == "another user's":
        monkeypatch.setattr(prove_stage.os, "geteuid", lambda: os.getuid() + 1)
    output = open_store(str(tmp_path / "out"))
    output.write_bytes("tokenizer.json", TOKENIZER_JSON)
    (unit, *_) = plan_prove_units("checksum", "text")
    execute_unit(prove_tokenizer, output, output, unit)
    written = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert not list((tmp_path / "target").iterdir())
    assert len(written) == (1 if kind == "open" else 0)
    if kind == "open":
        assert [(tmp_path / "cache" / one).stat().st_mode & 0o777 for one in ("maskmill", "maskmill/proofs")] == [
            0o700
        ] * 2


def test_a_tokenizer_that_the_fast_path_refuses_is_left_to_tokenizers() -> None:
    description = json.loads(TOKENIZER_JSON)
    description["normalizer"] = {"type": "Replace", "pattern": {"String": "a"}, "content": "b"}
    source = json.dumps(description).encode()
    proof = prove_encoder(source, TEXT)
    assert "does not take this tokenizer" in str(proof.difference)


def test_a_proof_is_stored_as_plain_values(proof: Proof) -> None:
    stored = json.loads(json.dumps(asdict(proof)))
    assert Proof(**stored | {"key": ProofKey(**stored["key"])}) == proof


@pytest.mark.parametrize(
    "content", [b"[" * 10_000, b"{}", b"null", b'{"key": 1}', b'{"key": {}, "num_texts": "x"}', b"\xff"]
)
def test_a_proof_that_is_none_is_made_again_or_refused(content: bytes, proof: Proof, tmp_path: Path) -> None:
    output = open_store(str(tmp_path))
    output.write_bytes(PROOF, content)
    assert read_proof(output, TOKENIZER_JSON, TEXT) is None
    (unit, *_) = plan_prove_units("checksum", "text")
    fields = {"stage": unit.stage, "unit": unit.unit, "description": unit.digest()}
    for details in ({}, {"proof": None}, {"proof": {**asdict(proof), "num_texts": "many"}}):
        output.write_bytes(receipt_path(unit.stage, 0), _seal(json.dumps({**fields, "details": details}).encode()))
        with pytest.raises(
            ShardCorruptError, match=r"a receipt has changed since it was written.*details\.proof"
        ) as caught:
            write_proof(output, Receipts(output, [unit], ProveDetails))
        assert str(caught.value.path).startswith(str(tmp_path))
