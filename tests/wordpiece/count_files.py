"""Small `word_counts.parquet` files from plain Python numbers."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping
from random import Random

import pyarrow as pa

from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.counting.word_counts import (
    WORD_COUNTS_SCHEMA,
    SourceText,
    WordCounts,
    write_word_counts,
)
from maskmill.pipeline.wordpiece.files.normalise import Normalisation

Rows = Mapping[tuple[str, str], int]
"""(word, source) to count."""


def as_table(counts: Mapping[str, int]) -> pa.Table:
    """Words and their counts, as the trainer takes them."""
    return pa.table({"word": pa.array(list(counts), pa.string()), "count": pa.array(list(counts.values()), pa.int64())})


def write_rows(rows: Rows, num_partitions: int = 2, seed: int = 0, store: Store | None = None) -> WordCounts:
    """Write rows, each word to some partition, and open the file."""
    store = store or Store(f"memory://{uuid.uuid4().hex}")
    chooser = Random(seed)
    partition_of = {word: chooser.randrange(num_partitions) for word, _ in sorted(rows)}
    partitions = []
    for number in range(num_partitions):
        chosen = sorted(
            (row for row in rows if partition_of[row[0]] == number), key=lambda row: [*map(str.encode, row)]
        )
        columns = {
            "word": pa.array([word for word, _ in chosen], pa.string()),
            "source": pa.array([source for _, source in chosen], pa.string()).dictionary_encode(),
            "count": pa.array([rows[row] for row in chosen], pa.int64()),
        }
        partitions.append(pa.table(columns).cast(WORD_COUNTS_SCHEMA))
    path = "tokenizer/word_counts.parquet"
    texts = describe_sources(rows)
    write_word_counts(store, path, partitions, corpus="", normalisation=Normalisation(), sources=texts)
    return WordCounts.open(store, path)


def describe_sources(rows: Rows) -> list[SourceText]:
    """The sources of the rows, with made-up numbers of bytes and letters."""
    words: Counter[str] = Counter()
    for (_, source), count in rows.items():
        words[source] += count
    return [SourceText(source, 10 * number, number, 4 * number, number, number) for source, number in words.items()]


def count_by_tokenizers(texts: list[str], normalisation: Normalisation) -> dict[str, int]:
    """Words as `tokenizers` makes them of whole texts."""
    normalizer, pre_tokenizer = normalisation.build_normalizer(), normalisation.build_pre_tokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)))
    return dict(counts)
