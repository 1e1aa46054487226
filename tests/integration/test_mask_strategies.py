"""Strategies of words from raw text to batches: static copies are the masks of the epochs, and words are whole ones."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from maskmill.pipeline.loader import MaskedBatches, Masking, iter_fixed_batches
from maskmill.schemas.errors import ConfigError
from tests.integration.conftest import Undisturbed
from tests.integration.runs import prepare, run_maskmill, write_run_file
from tests.loader.streams import hash_batches

SETTINGS = {
    "whole_word": ["mask.strategy=whole_word"],
    "ngram": ["mask.strategy=ngram", "mask.max_ngram=4", "mask.replace_by=unit"],
    "span": ["mask.strategy=span", "mask.rate=0.2"],
    "bernoulli": ["mask.selection=bernoulli"],
    "protected": ["mask.protect=['e', '[UNK]', '##e']"],
}


QUICK = ("ngram", "protected")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in SETTINGS],
)
def packed(request: pytest.FixtureRequest, undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    run_file = write_run_file(folder / "run.toml", undisturbed.corpus_folder, folder / "out")
    prepare(run_file, *SETTINGS[request.param])  # with two copies
    return folder / "out" / "packed"


def test_copies_are_the_masks_of_the_epochs(packed: Path) -> None:
    stored = MaskedBatches(str(packed), global_batch_rows=8, masking="static").epochs(2)
    drawn = MaskedBatches(str(packed), global_batch_rows=8).epochs(2)
    own = json.loads((packed / "manifest.json").read_bytes())["masking"]
    assert drawn.masking == Masking(**own)
    assert hash_batches(stored) == hash_batches(drawn)


def test_verify_checks_the_copies(packed: Path) -> None:
    verified = run_maskmill("verify", packed)
    assert verified.status == 0, verified.stderr


def test_words_are_those_of_the_tokenizer(packed: Path) -> None:
    """By the pieces in `tokenizer.json`: a selected word is selected whole, but for the last of a span."""
    tokenizer = json.loads((packed / "tokenizer.json").read_bytes())
    pieces = {number: piece for piece, number in tokenizer["model"]["vocab"].items()}
    masking = MaskedBatches(str(packed), global_batch_rows=8).masking
    assert masking is not None
    cut = rows = words = 0
    for batch in iter_fixed_batches(str(packed), masking, batch_rows=16):
        for shown, labels in zip(batch.input_ids.numpy(), batch.labels.numpy(), strict=True):
            selected = labels != -100
            ids = np.where(selected, labels, shown)
            follows = np.array([pieces.get(token, "[added]").startswith("##") for token in ids])
            for start, stop in find_words(follows):
                cut += 0 < selected[start:stop].sum() < stop - start
                words += selected[start:stop].all()
            rows += 1
    assert words > rows
    if masking.strategy == "token":
        assert cut > rows
    else:
        assert cut <= (rows if masking.strategy == "span" else 0)


def test_protected_tokens_are_not_selected(packed: Path) -> None:
    vocabulary = json.loads((packed / "tokenizer.json").read_bytes())["model"]["vocab"]
    batches = MaskedBatches(str(packed), global_batch_rows=8).epochs(1)
    assert batches.masking is not None
    protected = [vocabulary[token] for token in batches.masking.protect]
    selected = {int(token) for batch in batches for token in batch.labels.unique()}
    assert not selected.intersection(protected)
    assert len(selected) > 100


def test_a_protected_token_that_the_vocabulary_lacks_is_refused(undisturbed: Undisturbed, tmp_path: Path) -> None:
    loaded = str(undisturbed.output / "packed")
    for ask in (
        lambda masking: MaskedBatches(loaded, global_batch_rows=8, masking=masking),
        lambda masking: iter_fixed_batches(loaded, masking, batch_rows=8),
    ):
        with pytest.raises(ConfigError, match=r"mask\.protect: a protected token is not in the vocabulary.*'nope'"):
            ask(Masking(protect=["[UNK]", "nope"]))
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    refused = run_maskmill("prepare", run_file, "--set", "mask.protect=['nope']")
    assert refused.status == 1
    assert "mask.protect: a protected token is not in the vocabulary" in refused.stderr
    assert not (tmp_path / "out" / "packed").exists()


def find_words(follows: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    starts = [*np.flatnonzero(~follows), len(follows)]
    return list(pairwise(starts))
