"""Datasets that store where words start are read by any number of workers, from any place, in mixtures and phases."""

from __future__ import annotations

import copy
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from maskmill.pipeline.loader import MaskedBatches, Masking, Mixture, Phase, Source
from maskmill.schemas.mask_vocabulary import write_continuation_bits
from tests.loader.datasets import VOCAB_SIZE, VOCABULARY, write_dataset

BITS = write_continuation_bits([token > 150 for token in range(VOCAB_SIZE)])
SPANS = Masking(strategy="span", rate=0.3, seed=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One whose rows say where words start, and one whose ids do."""
    folder = str(tmp_path_factory.mktemp("words"))
    knowing = VOCABULARY.model_copy(update={"continuation_bits": BITS})
    for name, words in (("stated", True), ("implied", False)):
        vocabulary = knowing.model_copy(update={"segmenter": "dice 6" if words else None})
        write_dataset(f"{folder}/{name}", words=words, copies=0, seed=5 + words, vocabulary=vocabulary)
    return {name: f"{folder}/{name}" for name in ("stated", "implied")}


def masks_of(batches: Any) -> dict[tuple[int, int, int], tuple[list[int], list[int]]]:
    """What is shown and predicted, by dataset, row and epoch."""
    return {
        (dataset, row, epoch): (shown, labels)
        for batch in batches
        for dataset, row, epoch, shown, labels in zip(
            batch.datasets.tolist(),
            batch.row_ids.tolist(),
            batch.row_epochs.tolist(),
            batch.input_ids.tolist(),
            batch.labels.tolist(),
            strict=True,
        )
    }


def load(data: Any, **arguments: Any) -> MaskedBatches:
    return MaskedBatches(data, masking=SPANS, global_batch_rows=8, **arguments)


def test_a_row_has_one_mask_however_it_is_read(folders: dict[str, str]) -> None:
    whole = masks_of(load(folders["stated"], shuffle_blocks=2).epochs(2))
    assert len(whole) == 2 * 120
    for arguments in ({"shuffle_blocks": 1}, {"micro_batch_rows": 2, "shuffle_blocks": 3}):
        found = masks_of(load(folders["stated"], **arguments).epochs(2))
        assert len(common := found.keys() & whole.keys()) > 200
        assert all(found[key] == whole[key] for key in common)
    loader = load(folders["stated"], shuffle_blocks=2)
    assert masks_of(copy.deepcopy(loader).epochs(2)) == whole
    workers = list(DataLoader(loader.epochs(2), batch_size=None, num_workers=2))
    assert masks_of(workers) == whole
    assert all(batch.word_starts is not None and batch.word_starts.dtype == torch.bool for batch in workers)
    state = copy.deepcopy(list(islice(load(folders["stated"], shuffle_blocks=2), 5))[-1].state)
    resumed = load(folders["stated"], shuffle_blocks=2)
    resumed.load_state_dict(state)
    assert masks_of(islice(resumed.epochs(2), 3)).items() <= whole.items()


def test_rows_of_both_kinds_are_masked_as_alone(folders: dict[str, str]) -> None:
    alone = [masks_of(load(folders[name]).epochs(2)) for name in ("stated", "implied")]
    expected = {(number, *key[1:]): masks for number, one in enumerate(alone) for key, masks in one.items()}

    def check(found: dict[tuple[int, int, int], Any]) -> None:
        assert {key[0] for key in found} == {0, 1}
        assert len(common := found.keys() & expected.keys()) > 80
        assert all(found[key] == expected[key] for key in common)

    mixed = Mixture((Source(folders["stated"]), Source(folders["implied"])))
    phases = [Phase(0, folders["stated"]), Phase(4, folders["implied"]), Phase(7, mixed)]
    for data in (mixed, phases):
        check(masks_of(islice(load(data), 14)))


def test_only_rows_that_state_them_have_word_starts(folders: dict[str, str]) -> None:
    assert next(iter(load(folders["implied"]))).word_starts is None
    batch = next(iter(load(folders["stated"])))
    assert batch.word_starts is not None
    assert batch.word_starts.shape == batch.input_ids.shape
    mixed = next(iter(load(Mixture((Source(folders["stated"]), Source(folders["implied"]))))))
    assert mixed.word_starts is not None
    for number, ids, labels, starts in zip(
        mixed.datasets.tolist(), mixed.input_ids.numpy(), mixed.labels.numpy(), mixed.word_starts.numpy(), strict=True
    ):
        if number == 1:
            ids = np.where(labels == -100, ids, labels)
            assert starts.tolist() == [4 < token <= 150 or token == 1 for token in ids.tolist()]
