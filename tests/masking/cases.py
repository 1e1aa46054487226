"""Rows to mask: every mixture of specials and ordinary ids, every width, every setting."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from maskmill.schemas.masking import Masking
from tests.masking.oracle import CLS, MASK, PAD, SEP, UNK, VOCAB_SIZE, mask_by_the_law

uint64s = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1), st.just(2**64 - 1))
row_ids_63 = st.one_of(st.integers(0, 3), st.integers(0, 2**63 - 1), st.just(2**63 - 1))
epochs = st.one_of(st.integers(0, 3), st.just(2**63 - 1))
ppms = st.one_of(st.sampled_from([0, 1, 150_000, 300_000, 999_999, 1_000_000]), st.integers(0, 10**6))


WEIGHTS = [1 + (7 * token) % 5 * (token % 3) ** 4 for token in range(VOCAB_SIZE)]
EXACT_TOKENS = ({"strategy": "token"},)
STRATEGIES = (
    *EXACT_TOKENS,
    {"strategy": "token", "selection": "bernoulli"},
    {"per_sequence_rate": (0.0, 1.0)},
    {"per_sequence_rate": (0.15, 0.3)},
    {"strategy": "whole_word"},
    {"strategy": "whole_word", "replace_by": "unit"},
    {"strategy": "ngram"},
    {"strategy": "ngram", "max_ngram": 5, "replace_by": "unit"},
    {"strategy": "span"},
    {"strategy": "span", "replace_by": "token"},
    {"strategy": "token", "token_weights": WEIGHTS},
    {"strategy": "ngram", "token_weights": WEIGHTS},
    {"strategy": "span", "token_weights": WEIGHTS},
    {"strategy": "span", "max_span": 4, "span_lengths": "clipped", "replace_by": "token"},
)


def name_of(settings):
    """Settings of a strategy in short, for the names of tests."""
    return ", ".join(name if name == "token_weights" else f"{name}={value}" for name, value in settings.items())


@st.composite
def maskings(draw, strategies=STRATEGIES):
    mask_ppm = draw(ppms)
    random_ppm = min(draw(ppms), 10**6 - mask_ppm)
    strategy = draw(st.sampled_from(strategies))
    rate = {} if "per_sequence_rate" in strategy else {"rate": draw(ppms) / 10**6}
    return Masking(
        **rate,
        **strategy,
        mask_share=mask_ppm / 10**6,
        random_share=random_ppm / 10**6,
        seed=draw(uint64s),
    )


@st.composite
def rows_of_ids(draw, max_rows=3, max_width=700):
    """Draw ids (B, S) as uint16: few specials, many, or nothing else."""
    num_rows, width = draw(st.integers(1, max_rows)), draw(st.integers(1, max_width))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = rng.integers(0, VOCAB_SIZE, (num_rows, width))
    specials = rng.choice([PAD, UNK, CLS, SEP, MASK], rows.shape)
    return np.where(rng.random(rows.shape) < draw(st.sampled_from([0.0, 0.5, 0.98, 1.0])), specials, rows).astype(
        np.uint16
    )


def expect(rows, row_ids, epoch, masking, protected=()):
    """Mask by the oracle; returns two int64 arrays (B, S)."""
    masked = [
        mask_by_the_law(row.tolist(), int(row_id), epoch, masking, protected)
        for row, row_id in zip(rows, row_ids, strict=True)
    ]
    return np.array([ids for ids, _ in masked]), np.array([labels for _, labels in masked])
