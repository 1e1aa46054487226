"""Ids are those of `tokenizers` for every text, and the fast path is given up where it differs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pipeline.wordpiece.encode import (
    EncodedBatch,
    Encoder,
    Ids,
    Offsets,
    SpecialInText,
    choose_sample,
    encode_by_tokenizers,
    load_fast_encode,
    load_law,
)
from pipeline.wordpiece.normalise import Normalisation
from pipeline.wordpiece.tokenizer_files import tokenizer_files
from tests.wordpiece.test_tokenizer_files import train_small
from tests.wordpiece.texts import SENTENCES, hostile_texts, read_corpus

TOKENIZER_JSON = tokenizer_files(train_small(Normalisation()))["tokenizer.json"]
CASED_JSON = tokenizer_files(train_small(Normalisation(lowercase=False)))["tokenizer.json"]
FAST = {
    (source, mode): load_fast_encode(source, mode) for source in (TOKENIZER_JSON, CASED_JSON) for mode in SpecialInText
}


def encode_plainly(source: bytes, mode: SpecialInText, texts: Sequence[str]) -> list[list[int]]:
    tokenizer = Tokenizer.from_str(source.decode())
    tokenizer.encode_special_tokens = mode is SpecialInText.TEXT
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def as_lists(ids: Ids, offsets: Offsets) -> list[list[int]]:
    assert (ids.dtype, offsets.dtype) == (np.uint32, np.int64)
    assert (offsets[0], offsets[-1]) == (0, len(ids))
    return [ids[start:stop].tolist() for start, stop in pairwise(offsets)]


def batch_lists(batch: EncodedBatch) -> list[list[int]]:
    return as_lists(batch.ids, batch.offsets)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(hostile_texts, max_size=6),
    st.sampled_from([TOKENIZER_JSON, CASED_JSON]),
    st.sampled_from(SpecialInText),
)
def test_both_paths_give_the_ids_of_tokenizers(texts: list[str], source: bytes, mode: SpecialInText) -> None:
    expected = encode_plainly(source, mode, texts)
    for fast_encode in (None, FAST[source, mode]):
        encoder = Encoder(source, mode, fast_encode)
        batch = encoder.encode_proven(texts)
        assert batch_lists(batch) == expected
        assert batch.fell_back is None
        assert batch.rejected == {}


def test_what_looks_like_a_special_token_is_text_unless_said_otherwise() -> None:
    as_text = Encoder(TOKENIZER_JSON, SpecialInText.TEXT, FAST[TOKENIZER_JSON, SpecialInText.TEXT])
    as_special = Encoder(TOKENIZER_JSON, SpecialInText.SPECIAL, FAST[TOKENIZER_JSON, SpecialInText.SPECIAL])
    assert batch_lists(as_special.encode_proven(["[MASK]"])) == [[4]]
    assert 4 not in as_text.encode_proven(["[MASK]"]).ids.tolist()


def test_special_token_strings_are_counted_in_raw_text() -> None:
    encoder = Encoder(TOKENIZER_JSON)
    batch = encoder.encode_proven(["[MASK] a[MASK] [SEP]", "[mask] [ SEP ] [", "[MASK]"])
    assert batch.special_in_text == {"[MASK]": 3, "[SEP]": 1}
    assert encoder.encode_proven(["none"]).special_in_text == {}


def break_document(index: int) -> object:
    """A fast path that is right but for the last id of one document."""

    def encode(texts: Sequence[str]) -> tuple[Ids, Offsets]:
        ids, offsets = FAST[TOKENIZER_JSON, SpecialInText.TEXT](texts)
        ids = ids.copy()
        ids[offsets[index + 1] - 1] += 1
        return ids, offsets

    return encode


@pytest.mark.parametrize("index", range(4))
def test_a_difference_in_the_sample_gives_the_batch_and_the_rest_to_tokenizers(index: int) -> None:
    encoder = Encoder(TOKENIZER_JSON, fast_encode=break_document(index))
    batch = encoder.encode_proven(SENTENCES)
    expected = encode_plainly(TOKENIZER_JSON, SpecialInText.TEXT, SENTENCES)
    assert batch_lists(batch) == expected
    assert f"differ on document {index}" in str(batch.fell_back)
    assert batch.sample is not None
    assert not batch.sample.is_equal
    later = encoder.encode_proven(SENTENCES)
    assert (later.fell_back, later.sample) == (None, None)  # said once
    assert batch_lists(later) == expected


def test_a_fast_path_that_fails_is_given_up() -> None:
    def fail(texts: Sequence[str]) -> tuple[Ids, Offsets]:
        raise ValueError("no such thing")

    encoder = Encoder(TOKENIZER_JSON, fast_encode=fail)
    batch = encoder.encode_proven(SENTENCES)
    assert batch_lists(batch) == encode_plainly(TOKENIZER_JSON, SpecialInText.TEXT, SENTENCES)
    assert "no such thing" in str(batch.fell_back)
    assert encoder.fast_encode is None


def test_interrupts_pass_through() -> None:
    def interrupt(texts: Sequence[str]) -> tuple[Ids, Offsets]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Encoder(TOKENIZER_JSON, fast_encode=interrupt).encode_proven(SENTENCES)


@pytest.mark.parametrize("fast_encode", [None, FAST[TOKENIZER_JSON, SpecialInText.TEXT]])
def test_a_document_that_cannot_be_encoded_is_set_aside_alone(fast_encode: object) -> None:
    texts = [SENTENCES[0], "lone \ud800 surrogate", SENTENCES[1]]
    encoder = Encoder(TOKENIZER_JSON, fast_encode=fast_encode)
    batch = encoder.encode_proven(texts)
    first, last = encode_plainly(TOKENIZER_JSON, SpecialInText.TEXT, SENTENCES[:2])
    assert batch_lists(batch) == [first, [], last]
    assert list(batch.rejected) == [1]
    assert "TypeError" in batch.rejected[1]
    assert batch.fell_back is None
    assert (encoder.encode_proven(SENTENCES).sample is None) == (fast_encode is None)


def test_the_sample_is_one_percent_and_at_least_eight_chosen_by_content() -> None:
    small = [f"document {number}" for number in range(5)]
    assert sorted(choose_sample(small)[0]) == [0, 1, 2, 3, 4]
    many = [f"document {number:05d}" for number in range(10_000)]
    chosen, num_bytes = choose_sample(many)
    assert (len(chosen), num_bytes) == (
        100,
        100 * len(many[0]),
    )  # equal lengths: 1 % of the bytes is 1 % of the documents
    assert {many[index] for index in chosen} == {many[::-1][index] for index in choose_sample(many[::-1])[0]}
    assert max(np.histogram(chosen, bins=4, range=(0, 10_000))[0]) < 50
    uneven = ["x" * 1_000_000] + [f"{number}" for number in range(50)]
    assert len(choose_sample(uneven)[0]) >= 8
    assert choose_sample([]) == ([], 0)


def test_the_sample_is_reported_in_documents_and_bytes() -> None:
    encoder = Encoder(TOKENIZER_JSON, fast_encode=FAST[TOKENIZER_JSON, SpecialInText.TEXT])
    sample = encoder.encode_proven(SENTENCES).sample
    assert sample is not None
    assert (sample.documents, sample.bytes) == (4, sum(len(text.encode()) for text in SENTENCES))
    assert sample.is_equal


def test_many_batches_inside_one_call_keep_their_order() -> None:
    texts = [" " * 60_000 + f"{number % 7} fox" for number in range(40)]
    ids, offsets, rejected = encode_by_tokenizers(load_law(TOKENIZER_JSON, SpecialInText.TEXT), texts)
    assert as_lists(ids, offsets) == as_lists(*FAST[TOKENIZER_JSON, SpecialInText.TEXT](texts))
    assert rejected == {}


def test_naughty_strings_encode_as_tokenizers_encodes_them() -> None:
    folder = os.environ.get("MASKMILL_CORPORA")
    path = Path(folder or "") / ".." / "nasty" / "blns.txt"
    if not folder or not path.exists():
        pytest.skip("no naughty strings: MASKMILL_CORPORA/../nasty/blns.txt")
    texts = path.read_text(encoding="utf-8").split("\n")
    for mode in SpecialInText:
        assert as_lists(*FAST[TOKENIZER_JSON, mode](texts)) == encode_plainly(TOKENIZER_JSON, mode, texts)


@pytest.mark.parametrize("name", ["tf-docs-zh", "tf-docs-ko", "peps"])
def test_corpora_encode_as_tokenizers_encodes_them(name: str) -> None:
    texts = read_corpus(name, 30)
    for mode in SpecialInText:
        assert as_lists(*FAST[TOKENIZER_JSON, mode](texts)) == encode_plainly(TOKENIZER_JSON, mode, texts)
