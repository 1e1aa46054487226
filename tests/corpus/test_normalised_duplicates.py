"""With `deduplicate = "normalised"` the first of the documents stays that differ in case and white space alone."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.corpus.hash_documents import compare_words, hash_documents
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import prepare
from maskmill.schemas.run_file import RunFile
from tests.integration.shards import read_shards

SPACES = " \t\n\r\x0b\x0c\x1c\x85\xa0\u2003\u2028\u3000"


def normalise(text: str) -> str:
    """The same by hand, character by character."""
    words, word = [], ""
    for character in text:
        if character.isspace():
            words.append(word)
            word = ""
        else:
            word += character.casefold()
    return " ".join(word for word in [*words, word] if word)


@given(st.text() | st.text(st.sampled_from(f"aA\xdf\u1e9e\u0130\u0131\u017f\u212a\xe9{SPACES}")))
def test_case_and_white_space_are_folded(text: str) -> None:
    assert compare_words(text.encode()) == normalise(text).encode()


def test_equal_documents_have_one_hash_and_are_held_out_together() -> None:
    texts = [b"One  Two", b"one two\n", b"ONE\ttwo", b"onetwo"]
    hashes = hash_documents(texts, 3, 0.5, compare_words)
    assert (
        len(set(zip(hashes.high[:3].tolist(), hashes.low[:3].tolist(), hashes.held_out[:3].tolist(), strict=True))) == 1
    )
    assert hashes.low[3] != hashes.low[0]


def vary(text: str, rng: random.Random) -> str:
    spaced = "".join(rng.choice((" ", "  ", "\n", "\u3000")) if character == " " else character for character in text)
    return rng.choice((spaced, spaced.upper(), spaced.title(), f" {spaced}\t"))


def shard(folder: Path, output: str, **sections: Any) -> tuple[Any, dict[str, str]]:
    run = {
        "input": {"paths": [str(folder / "corpus" / "*.jsonl")], "id_field": "id"},
        "output": {"url": str(folder / output)},
        "engine": {"workers": 1},
        **sections,
    }
    counts = prepare(RunFile.model_validate(run), up_to=Part.SHARD).documents[0].counts
    folders = (folder / output / name for name in ("documents", "documents-heldout"))
    rows = [row for one in folders for shard_rows in read_shards(one) for row in shard_rows]
    return counts, {row["doc_id"]: row["text"] for row in rows}


@pytest.mark.parametrize("near_duplicates", [False, True])
def test_the_first_stays_as_it_is_written(tmp_path: Path, near_duplicates: bool) -> None:
    rng = random.Random(5)
    plain = [f"document {number} has words of its own, {rng.random()}" for number in range(300)]
    documents = [(f"d{place:04}", vary(rng.choice(plain), rng)) for place in range(1000)]
    (tmp_path / "corpus").mkdir()
    for number in range(4):
        lines = [json.dumps({"id": name, "text": text}) for name, text in documents[number * 250 : (number + 1) * 250]]
        (tmp_path / "corpus" / f"{number}.jsonl").write_text("\n".join(lines) + "\n")
    expected: dict[str, tuple[str, str]] = {}
    for name, text in documents:
        expected.setdefault(normalise(text), (name, text))
    sections = {"held_out": 0.2, "deduplicate": "normalised"} | ({"near_duplicates": {}} if near_duplicates else {})
    counts, kept = shard(tmp_path, "out", documents=sections)
    if near_duplicates:
        assert kept.items() <= dict(expected.values()).items()
    else:
        assert kept == dict(expected.values())
    assert counts.duplicates == len(documents) - len(expected)
    assert counts.read == 1000 == counts.written + counts.held_out + counts.duplicates + counts.near_duplicates
    assert sum(one.duplicates for one in counts.sources) == counts.duplicates
    with_exact, kept_by_bytes = shard(tmp_path, "exact", documents={"held_out": 0.2})
    assert with_exact.duplicates == len(documents) - len({text for _, text in documents})
    assert len(kept_by_bytes) > len(kept)
