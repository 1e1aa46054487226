"""The order of documents and the choice of the held-out ones are functions of content and seed alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import xxhash
from tokenizers import Tokenizer

from tests.integration.conftest import Undisturbed
from tests.integration.runs import HELD_OUT, SEED, engine_options, run_maskmill, set_options, write_run_file
from tests.integration.shards import read_shards
from tests.integration.synthetic_corpus import Corpus


def expected_texts(corpus: Corpus, seed: int, held_out: bool) -> list[str]:
    """Texts of one dataset, ordered by a 128-bit hash under one key, chosen by a 64-bit hash under another."""
    order = xxhash.xxh3_64_intdigest(f"maskmill order {seed}".encode())
    choice = xxhash.xxh3_64_intdigest(f"maskmill held out {seed}".encode())
    texts = {entry.text for entry in corpus.entries if entry.text is not None}
    chosen = [
        text for text in texts if (xxhash.xxh3_64_intdigest(text.encode(), choice) / 2**64 < HELD_OUT) == held_out
    ]
    return sorted(chosen, key=lambda text: xxhash.xxh3_128_intdigest(text.encode(), order))


def found_texts(output: Path, folder: str) -> list[str]:
    return [row["text"] for shard in read_shards(output / folder) for row in shard]


@pytest.mark.parametrize(("folder", "held_out"), [("documents", False), ("documents-heldout", True)])
def test_documents_stand_in_the_order_of_their_hash(undisturbed: Undisturbed, folder: str, held_out: bool) -> None:
    expected = expected_texts(undisturbed.corpus, SEED, held_out)
    assert found_texts(undisturbed.output, folder) == expected
    assert len(expected) >= 20


def test_shards_are_equal_intervals_of_the_hash(undisturbed: Undisturbed) -> None:
    key = xxhash.xxh3_64_intdigest(f"maskmill order {SEED}".encode())
    shards = read_shards(undisturbed.output / "documents")
    for number, shard in enumerate(shards):
        for row in shard:
            assert xxhash.xxh3_128_intdigest(row["text"].encode(), key) * len(shards) >> 128 == number


def test_another_seed_gives_another_order_and_choice(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    options = engine_options("local", 1) + set_options([f"documents.seed={SEED + 1}"])
    ended = run_maskmill("shard", run_file, *options)
    assert ended.status == 0, ended.stderr
    for folder, held_out in (("documents", False), ("documents-heldout", True)):
        texts = found_texts(tmp_path / "out", folder)
        assert texts == expected_texts(undisturbed.corpus, SEED + 1, held_out)
        assert set(texts) != set(found_texts(undisturbed.output, folder))


def test_held_out_words_are_not_counted(undisturbed: Undisturbed) -> None:
    table = pq.read_table(undisturbed.output / "tokenizer" / "word_counts.parquet")
    found = Counter[str]()
    for word, count in zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True):
        found[word] += count  # of every source apart
    tokenizer = Tokenizer.from_file(str(undisturbed.output / "tokenizer" / "tokenizer.json"))
    expected: dict[str, int] = {}
    for text in expected_texts(undisturbed.corpus, SEED, held_out=False):
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            expected[word] = expected.get(word, 0) + 1
    assert found == expected
