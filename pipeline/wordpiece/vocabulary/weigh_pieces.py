"""Weights of tokens that put rare ones first, from the counts of the words that a vocabulary was trained on."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.settings import check_url
from maskmill.pipeline.storage.datasets import TOKENIZER, check_tokenizer
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.wordpiece.counting.word_arrays import flatten_words
from maskmill.pipeline.wordpiece.counting.word_counts import WordCounts
from maskmill.pipeline.wordpiece.files.check_tokenizer import parse_tokenizer_json
from maskmill.pipeline.wordpiece.vocabulary.match_pieces import make_tokenizer_trie, match_words
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.layout import WORD_COUNTS
from maskmill.schemas.token_weights import MAX_WEIGHT


def find_rare_first(tokenizer: str, storage_options: dict[str, Any] | None = None) -> tuple[int, ...]:
    """Weights for `Masking(token_weights=...)` that select rare tokens sooner.

    A token weighs in inverse proportion to the square root of its count in the corpus: 255 where it is no more frequent
    than the median of the tokens that occur, 1 where it is 65,025 times as frequent. Words are counted once, when the
    vocabulary is trained; here each is encoded once, a part of them in memory at a time. Integer arithmetic only.

    Args:
        tokenizer: The folder of a tokenizer that maskmill trained, such as `out/tokenizer`, on any fsspec store.
        storage_options: For the fsspec file system.

    Returns:
        A weight for each id, from 1 to 255.

    Raises:
        ConfigError: There is no such folder, or it has no counts of words, as a brought tokenizer has none.
        ShardCorruptError: The counts or the tokenizer are not what was written.
    """
    store = open_store(check_url(tokenizer, "tokenizer"), storage_options)
    try:
        data = store.read_bytes(TOKENIZER)
        counts = WordCounts.open(store, WORD_COUNTS)
    except FileNotFoundError as error:
        raise ConfigError(
            "there are no counts of words to weigh tokens by",
            path=store.display_url,
            expected=f"a folder with {TOKENIZER} and {WORD_COUNTS}",
            found=str(error),
            action="give the tokenizer of an output whose vocabulary was trained, or make weights in another way",
        ) from None
    vocabulary = check_tokenizer(data, store.locate(TOKENIZER))
    trie = make_tokenizer_trie(parse_tokenizer_json(data, store.locate(TOKENIZER)))
    totals = np.zeros(vocabulary.vocab_size, np.int64)
    for rows in counts.iter_partitions():
        text, offsets = flatten_words(rows["word"])
        matched = match_words(trie, text, offsets[:-1], offsets[1:])
        np.add.at(totals, matched.ids, np.repeat(rows["count"].to_numpy(), matched.lengths))
    return weigh_rare_first(totals)


def weigh_rare_first(totals: npt.NDArray[np.int64]) -> tuple[int, ...]:
    """The weight of each id, of how often it occurs, int64 (V,)."""
    occurring = sorted(totals[totals > 0].tolist())
    median = statistics.median_low(occurring) if occurring else 1
    return tuple(max(1, min(MAX_WEIGHT, _find_root(median, count))) for count in totals.tolist())


def _find_root(median: int, count: int) -> int:
    """floor(255 * sqrt(median / count))."""
    return math.isqrt(MAX_WEIGHT * MAX_WEIGHT * median // max(count, 1))
