"""Order, intervals and duplicates equal plain arithmetic on Python integers."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from maskmill.pipeline.corpus.hash_documents import assign_to_intervals, find_duplicates, hash_documents, sort_by_hash

UINT64 = st.integers(0, 2**64 - 1)
EXTREMES = st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2**32, 2**64 - 1])


def keyed_hash(text: bytes, seed: int) -> int:
    return int(xxhash.xxh3_128_intdigest(text, xxhash.xxh3_64_intdigest(f"maskmill order {seed}".encode())))


@given(st.lists(st.binary(max_size=8)), st.integers(0, 2**63 - 1))
def test_the_order_is_that_of_the_128_bit_hashes(texts: list[bytes], seed: int) -> None:
    hashes = hash_documents(texts, seed, 0.5)
    whole = [int(high) << 64 | int(low) for high, low in zip(hashes.high, hashes.low, strict=True)]
    assert whole == [keyed_hash(text, seed) for text in texts]
    assert sort_by_hash(hashes.high, hashes.low).tolist() == sorted(range(len(texts)), key=lambda i: (whole[i], i))


def test_hashes_are_these_numbers() -> None:
    """Another order of documents would be another version of the format."""
    hashes = hash_documents([b"", b"maskmill"], 7, 0.25)
    assert [hex(int(part)) for part in (*hashes.high, *hashes.low)] == [
        "0x586e807b26aee32d",
        "0xe1e81107c9cf42d4",
        "0xc265983963e38a15",
        "0xf3406a7a9ad30b4d",
    ]
    assert hashes.held_out.tolist() == [False, False]


def test_about_the_asked_share_is_held_out_all_along_the_order() -> None:
    texts = [b"%d" % number for number in range(20_000)]
    hashes = hash_documents(texts, 0, 0.1)
    held_out = hashes.held_out[sort_by_hash(hashes.high, hashes.low)]
    for part in np.split(held_out, 4):
        assert 380 < part.sum() < 620  # 500 expected; 21 is one standard deviation
    assert not hash_documents(texts, 0, 0.0).held_out.any()
    more = hash_documents(texts, 0, 0.2).held_out
    assert (more | ~hashes.held_out).all()  # a larger share holds out the same documents and more
    assert (hash_documents(texts, 1, 0.1).held_out != hashes.held_out).any()


@given(
    st.lists(UINT64 | EXTREMES, min_size=1), st.integers(1, 2**32 - 1) | st.sampled_from([1, 2, 3, 511, 512, 160_000])
)
@example([2**64 - 1, 0], 2**32 - 1)
def test_intervals_are_exact(high: list[int], num_intervals: int) -> None:
    found = assign_to_intervals(np.array(high, np.uint64), num_intervals).tolist()
    assert found == [(value >> 32) * num_intervals // 2**32 for value in high]
    assert 0 <= min(found) <= max(found) < num_intervals


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2))))
def test_equal_upper_halves_are_sorted_by_the_lower_and_equal_hashes_stay(halves: list[tuple[int, int]]) -> None:
    high, low = (np.array([pair[half] for pair in halves], np.uint64) for half in (0, 1))
    assert sort_by_hash(high, low).tolist() == sorted(range(len(halves)), key=lambda index: (halves[index], index))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from([b"", b"a", b"b"]))))
def test_duplicates_are_equal_texts_of_one_hash(documents: list[tuple[int, int, bytes]]) -> None:
    """The hashes are drawn apart from the texts, so different texts share one and equal texts may not."""
    documents.sort(key=lambda document: document[:2])
    high, low, texts = zip(*documents, strict=True) if documents else ((), (), ())
    found = find_duplicates(np.array(high, np.uint64), np.array(low, np.uint64), texts)
    assert found.tolist() == [document in documents[:index] for index, document in enumerate(documents)]


@pytest.mark.parametrize("num_documents", [0, 1])
def test_few_documents_have_no_duplicates(num_documents: int) -> None:
    hashes = hash_documents([b"x"] * num_documents, 0, 0.5)
    assert find_duplicates(hashes.high, hashes.low, [b"x"] * num_documents).tolist() == [False] * num_documents
