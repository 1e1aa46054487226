"""Ids are those of `tokenizers` for every text, and the fast path is given up where it differs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from maskmill.pipeline.wordpiece.encoding import encode, load_encoders, slice_texts
from maskmill.pipeline.wordpiece.encoding.encode import EncodedBatch, Encoder, choose_sample
from maskmill.pipeline.wordpiece.encoding.load_encoders import (
    Ids,
    Offsets,
    SpecialInText,
    cut_at_breaks,
    encode_by_tokenizers,
    find_break,
    list_breaks,
    load_law,
)
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import build_tokenizer, tokenizer_files
from maskmill.schemas.tokenizer.tokenizer_file import SPECIAL_TOKENS
from tests.wordpiece.fast_path import load_fast_path
from tests.wordpiece.texts import SENTENCES, hostile_texts, read_corpus

ADDED = [
    AddedToken("New York", special=False, normalized=True),
    AddedToken("<br>", special=False, normalized=False),
    AddedToken("fox", special=False, normalized=False, single_word=True),
    AddedToken("[unused1]", special=True, normalized=False),
    AddedToken("tab\there", special=True, normalized=False),
    AddedToken("<lead>", special=False, normalized=True, lstrip=True, rstrip=True),
]


def make_tokenizer_json(normalisation: Normalisation, added: Sequence[AddedToken] = ()) -> bytes:
    """A tokenizer with all characters of the sentences, alone and within words, and beginnings and ends of words."""
    text = build_tokenizer([*SPECIAL_TOKENS, "a"], normalisation).normalizer.normalize_str(" ".join(SENTENCES))
    words = sorted({word.strip(",.;:!?") for word in text.split()} - {""})
    characters = sorted(set(text) - {" "})
    halves = {part for word in words for part in (word[:3], f"##{word[3:]}") if len(part) > len("##") + 1}
    pieces = dict.fromkeys([*SPECIAL_TOKENS, *characters, *(f"##{c}" for c in characters), *sorted(halves)])
    tokenizer = build_tokenizer(pieces, normalisation)
    tokenizer.add_tokens([token for token in added if not token.special])
    tokenizer.add_special_tokens([token for token in added if token.special])
    return tokenizer_files(tokenizer)["tokenizer.json"]


TOKENIZER_JSON = make_tokenizer_json(Normalisation())
CASED_JSON = make_tokenizer_json(Normalisation(lowercase=False))
ADDED_JSON = make_tokenizer_json(Normalisation(), ADDED)
SOURCES = (TOKENIZER_JSON, CASED_JSON, ADDED_JSON)
FAST = {(source, mode): load_fast_path(source, mode) for source in SOURCES for mode in SpecialInText}

texts_with_added = st.lists(
    st.one_of(hostile_texts, st.sampled_from([token.content for token in ADDED] + [" ", "\n", "new york", "x"])),
    max_size=8,
).map("".join)


def to_arrow(texts: Sequence[str], *, chunk: int = 3) -> pa.ChunkedArray:
    """Texts in several chunks, one of them empty."""
    chunks = [pa.array(texts[start : start + chunk], pa.string()) for start in range(0, len(texts), chunk)]
    return pa.chunked_array([*chunks, pa.array([], pa.string())], pa.string())


def encode_plainly(source: bytes, mode: SpecialInText, texts: Sequence[str]) -> list[list[int]]:
    tokenizer = Tokenizer.from_str(source.decode())
    tokenizer.encode_special_tokens = mode is SpecialInText.TEXT
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def as_lists(ids: Any, offsets: Offsets) -> list[list[int]]:
    assert offsets.dtype == np.int64
    assert (offsets[0], offsets[-1]) == (0, len(ids))
    return [ids[start:stop].tolist() for start, stop in pairwise(offsets)]


def batch_lists(batch: EncodedBatch) -> list[list[int]]:
    assert batch.ids.dtype == np.uint16  # as narrow as the vocabulary allows
    return as_lists(batch.ids, batch.offsets)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(hostile_texts, texts_with_added), max_size=6),
    st.sampled_from(SOURCES),
    st.sampled_from(SpecialInText),
)
def test_both_paths_give_the_ids_of_tokenizers(texts: list[str], source: bytes, mode: SpecialInText) -> None:
    expected = encode_plainly(source, mode, texts)
    for fast_encode in (None, FAST[source, mode]):
        encoder = Encoder(source, mode, fast_encode)
        batch = encoder.encode_proven(to_arrow(texts))
        assert batch_lists(batch) == expected
        assert batch.fell_back is None
        assert batch.rejected == {}


@pytest.mark.parametrize("mode", SpecialInText)
@pytest.mark.parametrize("source", SOURCES)
def test_texts_that_break_other_encoders(source: bytes, mode: SpecialInText) -> None:
    texts = ["", " ", "\0", "fo\0x", "\0\0 dog\0", "[MASK]", "a[MASK]b [SEP][CLS]", "[mask]", "[unused1]", "New  York"]
    texts += [letter * length for letter in "a\u00e9\u4e2d" for length in (99, 100, 101, 1000)]
    texts += ["in New York\there", "tab\there", "  <lead>  x", "foxes fox", "\ud55c\uad6d " * 3]
    texts += ["fox" * 100_000, ("lazy dog, " * 30_000), "\u4e2d\u6587\u3002" * 20_000]
    expected = encode_plainly(source, mode, texts)
    for fast_encode in (None, FAST[source, mode]):
        assert batch_lists(Encoder(source, mode, fast_encode).encode_proven(to_arrow(texts))) == expected


@pytest.mark.long
def test_ten_megabytes_without_a_space_are_one_unknown_word() -> None:
    text = "abcdefghij" * 1_000_000
    encoder = Encoder(TOKENIZER_JSON, fast_encode=FAST[TOKENIZER_JSON, SpecialInText.TEXT])
    batch = encoder.encode_proven(to_arrow([text, "fox"]))
    assert batch_lists(batch) == [[1], *encode_plainly(TOKENIZER_JSON, SpecialInText.TEXT, ["fox"])]
    assert batch.sample is not None
    assert batch.sample.bytes == 10_000_003  # by `tokenizers` too


def test_of_ten_megabytes_without_a_space_that_have_commas_a_part_is_encoded_twice() -> None:
    encoder = Encoder(TOKENIZER_JSON, fast_encode=FAST[TOKENIZER_JSON, SpecialInText.TEXT])
    batch = encoder.encode_proven(to_arrow(["lazy,dog." * 1_111_111]))
    assert batch.ids.tolist() == encode_plainly(TOKENIZER_JSON, SpecialInText.TEXT, ["lazy,dog."])[0] * 1_111_111
    assert batch.sample is not None
    assert batch.sample.bytes <= 1 << 17


def test_arrow_lets_no_lone_surrogate_in() -> None:
    with pytest.raises(UnicodeEncodeError):
        pa.array(["lone \ud800 surrogate"], pa.string())


def test_wide_vocabularies_have_wide_ids() -> None:
    tokenizer = build_tokenizer([*SPECIAL_TOKENS, *(f"t{number}" for number in range(66_000))], Normalisation())
    source = tokenizer_files(tokenizer)["tokenizer.json"]
    for fast_encode in (None, load_fast_path(source, SpecialInText.TEXT)):
        ids = Encoder(source, fast_encode=fast_encode).encode_proven(to_arrow(["t65999"])).ids
        assert (ids.dtype, ids.tolist()) == (np.uint32, [5 + 65_999])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(hostile_texts, texts_with_added), max_size=9), st.integers(1, 40), st.sampled_from(SOURCES))
def test_slices_of_any_size_give_the_same_ids(texts: list[str], slice_bytes: int, source: bytes) -> None:
    for fast_encode in (None, FAST[source, SpecialInText.TEXT]):
        whole = Encoder(source, fast_encode=fast_encode).encode_proven(to_arrow(texts))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(slice_texts, "SLICE_BYTES", slice_bytes)
            patch.setattr(encode, "SLICE_BYTES", slice_bytes)
            sliced = Encoder(source, fast_encode=fast_encode).encode_proven(to_arrow(texts, chunk=5))
        assert batch_lists(sliced) == batch_lists(whole)
        assert (sliced.special_in_text, sliced.sample) == (whole.special_in_text, whole.sample)


def test_no_more_than_a_slice_of_text_is_alive_as_objects() -> None:
    seen: list[int] = []

    def watch(texts: Sequence[str] | Sequence[bytes]) -> tuple[Ids, Offsets]:
        seen.append(sum(map(len, texts)))
        return FAST[TOKENIZER_JSON, SpecialInText.TEXT](texts)

    texts = [f"{number} " * 30_000 for number in range(60)]
    assert Encoder(TOKENIZER_JSON, fast_encode=watch).encode_proven(to_arrow(texts, chunk=60)).fell_back is None
    assert sum(seen) == sum(map(len, texts))
    assert max(seen) <= slice_texts.SLICE_BYTES < sum(seen)
    assert len(seen) == 2


@settings(max_examples=300, deadline=None)
@given(st.one_of(hostile_texts, texts_with_added), st.integers(1, 12), st.sampled_from(SOURCES))
def test_a_text_cut_at_breaks_has_the_ids_of_the_whole(text: str, num_characters: int, source: bytes) -> None:
    for mode in SpecialInText:
        law = load_law(source, mode)
        (expected,) = encode_plainly(source, mode, [text])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(load_encoders, "_LAW_BATCH_CHARACTERS", num_characters)
            ids, offsets, rejected = encode_by_tokenizers(law, ["x", text, "y"])
        assert ids[offsets[1] : offsets[2]].tolist() == expected
        assert rejected == {}


def test_a_text_is_cut_behind_the_last_break_that_fits() -> None:
    assert find_break("ab cd ef", 0, 7, [" "]) == 6
    assert find_break("ab cd ef", 0, 8, [" "]) == 8
    assert find_break("abcd ef", 0, 2, [" "]) == 5
    assert find_break("abcd", 0, 2, [" "]) == 4
    assert find_break("ab,cd ef", 3, 2, [" ", ","]) == 6
    assert find_break("ab cd", 0, 2, []) == 5
    assert find_break(" abc", 0, 2, [" "]) == 1


@given(st.text("a ,\u3002\u4e2d", max_size=30), st.integers(1, 9))
def test_pieces_join_to_the_text_and_are_as_long_as_breaks_allow(text: str, size: int) -> None:
    breaks = [" ", ",", "\u3002"]
    pieces = list(cut_at_breaks(text, size, breaks))
    assert "".join(pieces) == text
    for piece, following in pairwise(pieces):
        assert piece[-1] in breaks
        assert len(piece) <= size or not any(one in piece[:-1] for one in breaks)
        assert not any(one in following[: max(0, size - len(piece))] for one in breaks)
    contents = list(cut_at_breaks(text.encode(), size, [one.encode() for one in breaks]))
    assert b"".join(contents) == text.encode()
    for content in contents[:-1]:
        assert content.decode()[-1] in breaks
        assert len(content) <= size or not any(one in content.decode()[:-1] for one in breaks)


def test_a_long_text_comes_to_the_fast_path_in_pieces() -> None:
    seen: list[int] = []

    def watch(texts: Sequence[str] | Sequence[bytes]) -> tuple[Ids, Offsets]:
        seen.append(sum(map(len, texts)))
        return FAST[TOKENIZER_JSON, SpecialInText.TEXT](texts)

    text = "\u4e2d\u6587\u5b57\u7b26\u3002" * 600_000
    batch = Encoder(TOKENIZER_JSON, fast_encode=watch).encode_proven(to_arrow([text, "fox"]))
    assert batch.fell_back is None
    expected = encode_plainly(TOKENIZER_JSON, SpecialInText.TEXT, [text[:5], "fox"])
    assert batch_lists(batch) == [expected[0] * 600_000, expected[1]]
    assert seen == [4194300, 4194300, 611400, 3]


def test_nothing_is_cut_where_an_added_token_may_reach_over() -> None:
    assert list_breaks(load_law(ADDED_JSON, SpecialInText.TEXT)) == ()
    no_space = [token for token in ADDED if not any(map(str.isspace, token.content))]
    assert " " in list_breaks(load_law(make_tokenizer_json(Normalisation(), no_space), SpecialInText.TEXT))
    comma = make_tokenizer_json(Normalisation(), [AddedToken("a,b", special=False)])
    assert "," not in list_breaks(load_law(comma, SpecialInText.TEXT))
    assert "." in list_breaks(load_law(comma, SpecialInText.TEXT))
    wide = make_tokenizer_json(Normalisation(), [AddedToken("\u4e2d", special=False)])
    assert list_breaks(load_law(wide, SpecialInText.TEXT)) == ()
    other = Tokenizer.from_str(TOKENIZER_JSON.decode())
    other.normalizer = None  # type: ignore[assignment]
    assert list_breaks(other) == ()


def test_what_looks_like_a_special_token_is_text_unless_said_otherwise() -> None:
    as_text = Encoder(TOKENIZER_JSON, SpecialInText.TEXT, FAST[TOKENIZER_JSON, SpecialInText.TEXT])
    as_special = Encoder(TOKENIZER_JSON, SpecialInText.SPECIAL, FAST[TOKENIZER_JSON, SpecialInText.SPECIAL])
    assert batch_lists(as_special.encode_proven(to_arrow(["[MASK]"]))) == [[4]]
    assert 4 not in as_text.encode_proven(to_arrow(["[MASK]"])).ids.tolist()


def test_special_token_strings_are_counted_in_raw_text() -> None:
    for fast_encode in (None, FAST[TOKENIZER_JSON, SpecialInText.TEXT]):
        encoder = Encoder(TOKENIZER_JSON, fast_encode=fast_encode)
        batch = encoder.encode_proven(to_arrow(["[MASK] a[MASK] [SEP]", "[mask] [ SEP ] [", "[MASK]", "", "[MASK]"]))
        assert batch.special_in_text == {"[MASK]": 4, "[SEP]": 1}
        assert encoder.encode_proven(to_arrow(["none"])).special_in_text == {}


@given(st.lists(st.lists(st.sampled_from(["[MASK]", "[SEP]", "[", "MASK]", " ", "\u4e2d"])).map("".join)))
def test_special_token_strings_are_counted_as_str_counts_them(texts: list[str]) -> None:
    counted = Encoder(TOKENIZER_JSON, fast_encode=FAST[TOKENIZER_JSON, SpecialInText.TEXT]).encode_proven(
        to_arrow(texts)
    )
    expected = {token: sum(text.count(token) for text in texts) for token in ("[MASK]", "[SEP]")}
    assert counted.special_in_text == {token: count for token, count in expected.items() if count}


def break_document(index: int) -> Any:
    """A fast path that is right but for the last id of one document."""

    def wrong(texts: Sequence[str] | Sequence[bytes]) -> tuple[Ids, Offsets]:
        ids, offsets = FAST[TOKENIZER_JSON, SpecialInText.TEXT](texts)
        ids = ids.copy()
        if SENTENCES[index].encode() in texts:
            ids[offsets[list(texts).index(SENTENCES[index].encode()) + 1] - 1] += 1
        return ids, offsets

    return wrong


@pytest.mark.parametrize("index", range(4))
def test_a_difference_in_the_sample_gives_the_batch_and_the_rest_to_tokenizers(index: int) -> None:
    encoder = Encoder(TOKENIZER_JSON, fast_encode=break_document(index))
    batch = encoder.encode_proven(to_arrow(SENTENCES))
    expected = encode_plainly(TOKENIZER_JSON, SpecialInText.TEXT, SENTENCES)
    assert batch_lists(batch) == expected
    assert f"differ on document {index}" in str(batch.fell_back)
    assert batch.sample is not None
    assert not batch.sample.is_equal
    later = encoder.encode_proven(to_arrow(SENTENCES))
    assert (later.fell_back, later.sample) == (None, None)  # said once
    assert batch_lists(later) == expected


def test_a_fast_path_that_fails_is_given_up() -> None:
    def fail(texts: Sequence[str] | Sequence[bytes]) -> tuple[Ids, Offsets]:
        raise ValueError("no such thing")

    encoder = Encoder(TOKENIZER_JSON, fast_encode=fail)
    batch = encoder.encode_proven(to_arrow(SENTENCES))
    assert batch_lists(batch) == encode_plainly(TOKENIZER_JSON, SpecialInText.TEXT, SENTENCES)
    assert "no such thing" in str(batch.fell_back)
    assert encoder.fast_encode is None


def test_interrupts_pass_through() -> None:
    def interrupt(texts: Sequence[str] | Sequence[bytes]) -> tuple[Ids, Offsets]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Encoder(TOKENIZER_JSON, fast_encode=interrupt).encode_proven(to_arrow(SENTENCES))


class StumblingLaw:
    """`tokenizers` that fails on one text, alone or in a batch."""

    def __init__(self, law: Tokenizer, text: str) -> None:
        self._law = law
        self._text = text

    def __getattr__(self, name: str) -> Any:
        return getattr(self._law, name)

    def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:
        if self._text in texts:
            raise ValueError("a word too many")
        return self._law.encode_batch_fast(texts, **options)

    def encode(self, text: str, **options: Any) -> Any:
        return self.encode_batch_fast([text], **options)[0]


def stumble(texts: Sequence[str] | Sequence[bytes]) -> tuple[Ids, Offsets]:
    if b"bad" in texts:
        raise ValueError("a word too many")
    return FAST[TOKENIZER_JSON, SpecialInText.TEXT](texts)


@pytest.mark.parametrize("fast_encode", [None, stumble])
@pytest.mark.parametrize("slice_bytes", [1, 1 << 22])
def test_a_document_that_cannot_be_encoded_is_set_aside_alone(
    fast_encode: Any, slice_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slice_texts, "SLICE_BYTES", slice_bytes)
    encoder = Encoder(TOKENIZER_JSON, fast_encode=fast_encode)
    encoder.law = StumblingLaw(encoder.law, "bad")
    batch = encoder.encode_proven(to_arrow([SENTENCES[0], "bad", SENTENCES[1]]))
    first, last = encode_plainly(TOKENIZER_JSON, SpecialInText.TEXT, SENTENCES[:2])
    assert batch_lists(batch) == [first, [], last]
    assert batch.rejected == {1: "ValueError: a word too many"}
    assert batch.fell_back is None
    assert encoder.explain_rejection("bad") == "ValueError: a word too many"
    assert encoder.explain_rejection("good") is None
    assert (encoder.encode_proven(to_arrow(SENTENCES)).sample is None) == (fast_encode is None)


def test_a_fast_path_that_encodes_what_tokenizers_cannot_is_given_up() -> None:
    encoder = Encoder(TOKENIZER_JSON, fast_encode=FAST[TOKENIZER_JSON, SpecialInText.TEXT])
    encoder.law = StumblingLaw(encoder.law, "bad")
    batch = encoder.encode_proven(to_arrow(["fox", "bad"]))
    assert "differ on document 1" in str(batch.fell_back)
    assert list(batch.rejected) == [1]
    assert encoder.fast_encode is None


def test_a_long_document_that_cannot_be_encoded_has_no_ids_of_its_sound_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_encoders, "_LAW_BATCH_CHARACTERS", 4)
    law = StumblingLaw(load_law(TOKENIZER_JSON, SpecialInText.TEXT), "bad ")
    ids, offsets, rejected = encode_by_tokenizers(law, ["fox", "dog bad dog", "fox"])
    (fox,) = encode_plainly(TOKENIZER_JSON, SpecialInText.TEXT, ["fox"])
    assert as_lists(ids, offsets) == [fox, [], fox]
    assert rejected == {1: "ValueError: a word too many"}


def test_pieces_are_encoded_by_the_path_that_the_documents_took() -> None:
    expected = encode_plainly(TOKENIZER_JSON, SpecialInText.TEXT, SENTENCES)
    for fast_encode in (None, FAST[TOKENIZER_JSON, SpecialInText.TEXT]):
        ids, offsets = Encoder(TOKENIZER_JSON, fast_encode=fast_encode).encode_pieces(SENTENCES)
        assert ids.dtype == np.uint16
        assert as_lists(ids, offsets) == expected
    assert as_lists(*Encoder(TOKENIZER_JSON).encode_pieces([])) == []

    def fail(texts: Sequence[str] | Sequence[bytes]) -> tuple[Ids, Offsets]:
        raise ValueError("no such thing")

    assert as_lists(*Encoder(TOKENIZER_JSON, fast_encode=fail).encode_pieces(SENTENCES)) == expected


def sample_of(texts: Sequence[str]) -> list[int]:
    contents = [text.encode() for text in texts]
    hashes = np.array([xxhash.xxh3_64_intdigest(content) for content in contents], np.uint64)
    sizes = np.array([len(content) for content in contents], np.int64)
    return choose_sample(hashes, sizes, 0.01 * int(sizes.sum())).tolist()


def test_the_sample_is_one_percent_and_at_least_eight_chosen_by_content() -> None:
    assert sorted(sample_of([f"document {number}" for number in range(5)])) == [0, 1, 2, 3, 4]
    many = [f"document {number:05d}" for number in range(10_000)]
    chosen = sample_of(many)
    assert len(chosen) == 100  # equal lengths: 1 % of the bytes is 1 % of the documents
    assert {many[index] for index in chosen} == {many[::-1][index] for index in sample_of(many[::-1])}
    assert max(np.histogram(chosen, bins=4, range=(0, 10_000))[0]) < 50
    assert len(sample_of(["x" * 1_000_000] + [f"{number}" for number in range(50)])) >= 8
    assert sample_of([]) == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1000)), max_size=60), st.integers(0, 20_000))
def test_the_sample_is_no_larger_than_it_must_be(documents: list[tuple[int, int]], wanted: int) -> None:
    hashes = np.array([one[0] for one in documents], np.uint64)
    sizes = np.array([one[1] for one in documents], np.int64)
    chosen = choose_sample(hashes, sizes, wanted).tolist()
    by_hash = sorted(range(len(documents)), key=lambda index: (documents[index][0], index))
    expected: list[int] = []
    for index in by_hash:
        if len(expected) >= 8 and sum(documents[i][1] for i in expected) >= wanted:
            break
        expected.append(index)
    assert chosen == expected


def test_an_encoder_compares_what_is_chosen_by_hash_and_of_long_documents_a_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encode, "_SAMPLE_CHARACTERS", 200)
    encoder = Encoder(TOKENIZER_JSON, fast_encode=FAST[TOKENIZER_JSON, SpecialInText.TEXT])
    texts = [f"{number} " + "fox " * (number % 40) for number in range(3000)]
    long = [f"{number} " + "lazy dog " * 300 for number in range(400)]
    for batch in (texts, texts[::-1], texts + long):
        compared = [text if len(text) < 200 else text[: text[:200].rindex(" ") + 1] for text in batch]
        hashes = np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in batch], np.uint64)
        sizes = np.array([min(200, len(text)) for text in batch], np.int64)
        chosen = choose_sample(hashes, sizes, 0.01 * sum(map(len, batch))).tolist()
        sample = encoder.encode_proven(to_arrow(batch, chunk=1000)).sample
        assert sample == encode.Sample(len(chosen), sum(len(compared[index]) for index in chosen), is_equal=True)
        assert sample.documents > 8


def test_of_long_documents_a_part_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "_SAMPLE_CHARACTERS", 100)
    long = "lazy dog " * 100
    fast_encode = FAST[TOKENIZER_JSON, SpecialInText.TEXT]

    def encode_wrongly(place: int) -> Any:
        def wrong(texts: Sequence[str] | Sequence[bytes]) -> tuple[Ids, Offsets]:
            ids, offsets = fast_encode(texts)
            ids = ids.copy()
            ids[place] += 1
            return ids, offsets

        return wrong

    batch = Encoder(TOKENIZER_JSON, fast_encode=fast_encode).encode_proven(to_arrow([long]))
    assert batch.sample == encode.Sample(1, 99, is_equal=True)
    (early,) = encode_plainly(TOKENIZER_JSON, SpecialInText.TEXT, [long[:99]])
    for place in (0, len(early) - 1):
        assert Encoder(TOKENIZER_JSON, fast_encode=encode_wrongly(place)).encode_proven(to_arrow([long])).fell_back
    later = Encoder(TOKENIZER_JSON, fast_encode=encode_wrongly(len(early))).encode_proven(to_arrow([long]))
    assert later.fell_back is None


def test_the_sample_is_reported_in_documents_and_bytes() -> None:
    encoder = Encoder(TOKENIZER_JSON, fast_encode=FAST[TOKENIZER_JSON, SpecialInText.TEXT])
    sample = encoder.encode_proven(to_arrow(SENTENCES)).sample
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
