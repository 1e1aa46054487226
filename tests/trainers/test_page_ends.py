"""The scripts of `docs/trainers`, run to their end and given again: other rows, another model, empty held-out sets.

A file of its own, so that it runs beside `test_pages`: each takes minutes.
"""

from __future__ import annotations

import re

import pytest
import torch

from tests.loader.datasets import write_dataset
from tests.trainers.run_pages import ALL_PAGES, run_to_the_end
from tests.trainers.test_pages import TOLERANCE, serve_steps

pytestmark = pytest.mark.long

LONG, LONG_PAD = 520, 1


@pytest.fixture(scope="module")
def long_rows(tmp_path_factory) -> str:
    """One global batch of rows that are longer than the usual 512 positions, padded with another id than 0."""
    folder = str(tmp_path_factory.mktemp("long") / "packed")
    write_dataset(folder, shard_rows=(70,), seq_len=LONG, pad_id=LONG_PAD, copies=1)
    return folder


@pytest.mark.parametrize("name", sorted({page.name for page in ALL_PAGES}))
def test_a_page_works_for_other_rows_and_models_and_a_run_that_has_ended_stays_as_it_is(name, long_rows, tmp_path):
    """Given again after its end, a page trains no step and changes no checkpoint; it scores the held-out rows.

    Without held-out rows there is no score to show.
    """
    empty = str(tmp_path / "empty")
    write_dataset(empty, shard_rows=(0,), seq_len=LONG, pad_id=LONG_PAD, copies=1)
    page = next(page for page in ALL_PAGES if page.name == name)
    for module in page.needs:
        pytest.importorskip(module)
    (calls, said), *again = run_to_the_end(page, long_rows, [long_rows, long_rows, empty], tmp_path / "run")
    for rank in calls:
        expected = serve_steps(long_rows, rank, len(calls))
        assert len(calls[rank]) == sum(map(len, expected[:3]))
        for call, batch in zip(calls[rank], (batch for step in expected for batch in step), strict=False):
            assert torch.equal(call.input_ids, batch.input_ids)
        assert all(call.from_alone < TOLERANCE for call in calls[rank][:2])
    assert [sum(map(len, calls.values())) for calls, _ in again] == [0, 0]
    scores = [re.findall(r"held.out\D*([0-9.]+)", text) for text in (said, *(log for _, log in again))]
    assert all(4 < float(score) < 8 for found in scores for score in found)
    assert scores[0]
    assert not scores[2]
    assert not any(re.search(r"held.out\D*nan", log) for _, log in again)
