"""Hugging Face's `DataCollatorForLanguageModeling` as an oracle for masks of tokens, and of words where it agrees.

Both mask one row thousands of times. Counts are compared within five deviations of the difference of two binomials.

For words the collator's rule is another than ours, which is Google's. These are the same: what is selected are whole
words, and of words of one length each has the same probability, the rate. These differ:

- The collator draws each word by itself, so the number of selected tokens varies from row to row. Ours fills an exact
  budget of tokens and skips a word that does not fit, so that at its end long words are selected a little more rarely.
- To the collator tokens are one word if no white space is between them, punctuation too: `end.` is one. To us it is
  two, as to BERT: a word is a piece and those after it that continue it.
- It shows all of them as [MASK] and takes no other shares.
"""

from __future__ import annotations

import string

import numpy as np
import pytest

from maskmill.pipeline.masking.numba_masks import mask_rows
from maskmill.schemas.masking import Masking
from tests.masking.oracle import CLS, CONTINUES, MASK, ORDINARY, PAD, SEP, UNK, VOCAB_SIZE, segments_of

pytest.importorskip("torch", reason="torch is not installed here")
transformers = pytest.importorskip("transformers", reason="transformers is not installed here")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed here")

N = 4000
WIDTH = 128
FULL_STOP = 198
WORDS = {"whole_word_mask": True, "mask_replace_prob": 1.0, "random_replace_prob": 0.0}
NAMES = {PAD: "[PAD]", UNK: "[UNK]", CLS: "[CLS]", SEP: "[SEP]", MASK: "[MASK]", FULL_STOP: "."}


def spell(token):
    """Two letters, after `##` where the piece continues a word."""
    letters = string.ascii_lowercase[token // 26] + string.ascii_lowercase[token % 26]
    return NAMES.get(token, ("##" if CONTINUES[token] else "") + letters if token in ORDINARY else f"[unused{token}]")


@pytest.fixture(scope="module")
def tokenizer():
    """The vocabulary of `tables`, for WordPiece."""
    vocab = {spell(token): token for token in range(VOCAB_SIZE)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocab, unk_token=NAMES[UNK]))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    backend.post_processor = tokenizers.processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def write_words(*lengths, seed=0):
    """Words of so many pieces, with blanks between them."""
    rng = np.random.default_rng(seed)
    starts, others = rng.choice(range(10, 190, 2), len(lengths)), rng.choice(range(11, 190, 2), sum(lengths))
    pieces = iter(others.tolist())
    return " ".join(
        spell(start) + "".join(spell(next(pieces))[2:] for _ in range(length - 1))
        for start, length in zip(starts.tolist(), lengths, strict=True)
    )


MIXED = write_words(*[1, 2, 1, 1, 3, 2, 1, 4] * 7)


def mask_both(text, tokenizer, tables, masking, **options):
    """Mask a text N times: the row (S,) and, of the collator and of us, input_ids and labels (N, S)."""
    encoded = tokenizer(
        text, padding="max_length", max_length=WIDTH, return_special_tokens_mask=True, return_offsets_mapping=True
    )
    row = np.array(encoded["input_ids"])
    collator = transformers.DataCollatorForLanguageModeling(
        tokenizer, mlm=True, mlm_probability=masking.rate, seed=0, **options
    )
    example = {name: encoded[name] for name in ("input_ids", "special_tokens_mask", "offset_mapping")}
    batches = [collator([example] * 500) for _ in range(N // 500)]
    theirs = tuple(np.concatenate([batch[name].numpy() for batch in batches]) for name in ("input_ids", "labels"))
    ours = mask_rows(np.tile(row, (N, 1)), np.arange(N, dtype=np.uint64), 0, masking, tables)
    return row, theirs, ours


def are_close(ours, theirs, n, m, slack=0.0):
    """Whether counts of n and of m draws have one probability."""
    share = np.asarray((ours + theirs) / (n + m))
    return (np.abs(ours / n - theirs / m) <= 5 * np.sqrt(share * (1 - share) * (1 / n + 1 / m)) + slack).all()


@pytest.mark.parametrize(
    ("mask_share", "random_share", "rate"),
    [(0.8, 0.1, 0.15), (0.8, 0.1, 0.4), (0.5, 0.3, 0.15), (0.85, 0.0, 0.15), (1.0, 0.0, 0.3), (0.0, 1.0, 0.15)],
)
def test_tokens_by_themselves_are_masked_as_by_the_collator(tokenizer, tables, mask_share, random_share, rate):
    """The collator's random tokens are any of 208, ours any of the 190 ordinary ones: shares may differ by as much."""
    masking = Masking(selection="bernoulli", rate=rate, mask_share=mask_share, random_share=random_share)
    shares = {"mask_replace_prob": mask_share, "random_replace_prob": random_share}
    row, *both = mask_both(MIXED, tokenizer, tables, masking, **shares)
    special = np.isin(row, [PAD, CLS, SEP])
    counted = []
    for input_ids, labels in both:
        selected = labels != -100
        assert (labels == np.where(selected, row, -100)).all()
        assert (input_ids == row)[~selected].all()
        assert not selected[:, special].any()
        masked, kept = input_ids[selected] == MASK, input_ids[selected] == labels[selected]
        counted.append((selected, [masked.sum(), kept.sum(), (~masked & ~kept).sum()]))
    (theirs, their_shares), (ours, our_shares) = counted
    assert are_close(ours.sum(axis=0), theirs.sum(axis=0), N, N)
    num_draws = N * np.count_nonzero(~special)
    assert are_close(ours.sum(), theirs.sum(), num_draws, num_draws)
    slack = random_share / len(ORDINARY)
    for found, expected in zip(our_shares, their_shares, strict=True):
        assert are_close(found, expected, ours.sum(), theirs.sum(), slack)
    variances = [selected.sum(axis=1).var() for selected in (ours, theirs)]
    assert abs(variances[0] - variances[1]) <= 5 * max(variances) * (4 / N) ** 0.5  # each token by itself


def find_words(selected):
    """Where words start: positions that were ever selected without the one before them, or the other way round."""
    return np.flatnonzero((selected[:, 1:] != selected[:, :-1]).any(axis=0)) + 1


def test_words_are_selected_as_a_whole_as_by_the_collator(tokenizer, tables):
    masking = Masking(strategy="whole_word", mask_share=1.0, random_share=0.0)
    row, theirs, ours = mask_both(MIXED, tokenizer, tables, masking, **WORDS)
    words = [word for words in segments_of(row.tolist()) for word in words]
    for input_ids, labels in (theirs, ours):
        assert find_words(labels != -100).tolist() == [word[0] for word in words] + [words[-1][-1] + 1]
        assert (input_ids == np.where(labels != -100, MASK, row)).all()
    num_maskable = sum(map(len, words))
    assert np.ptp((theirs[1] != -100).sum(axis=1)) > 20
    assert set((ours[1] != -100).sum(axis=1)) <= {round(0.15 * num_maskable) - missing for missing in range(3)}


@pytest.mark.parametrize("length", [1, 2, 3])
def test_words_of_one_length_are_selected_as_often_as_by_the_collator(tokenizer, tables, length):
    """40 words of which 6 fill the budget, so that none is skipped."""
    masking = Masking(strategy="whole_word", mask_share=1.0, random_share=0.0)
    _, *both = mask_both(write_words(*[length] * 40), tokenizer, tables, masking, **WORDS)
    theirs, ours = ((labels != -100).sum(axis=0) for _, labels in both)
    assert np.count_nonzero(ours) == 40 * length
    assert are_close(ours, theirs, N, N)
    assert ours.sum() == N * 6 * length


def test_words_that_touch_are_one_to_the_collator_and_two_to_us(tokenizer, tables):
    text = " ".join(f"{word}." for word in write_words(*[2] * 20).split())
    row, *both = mask_both(text, tokenizer, tables, Masking(strategy="whole_word"), **WORDS)
    stops = np.flatnonzero(row == FULL_STOP)
    assert len(stops) == 20
    theirs, ours = (labels != -100 for _, labels in both)
    assert (theirs[:, stops] == theirs[:, stops - 1]).all()
    assert (ours[:, stops] != ours[:, stops - 1]).any(axis=0).all()
