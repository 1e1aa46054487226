"""What batches carry of pairs, against the stored columns as pyarrow reads them, wherever a batch is made."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
)

from maskmill import MaskedBatches, Mixture, Phase, Source, open_dataset
from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.encoders.encoder import Encoder, describe_encoder
from maskmill.pipeline.loader.fixed_rows import iter_fixed_batches
from maskmill.schemas.errors import ConfigError
from tests.loader.datasets import CLS, NUM_ROWS, PAD, SEP, SEQ_LEN, VOCAB_SIZE, write_dataset
from tests.loader.device.device_rows import assert_equal_batches
from tests.loader.streams import MASKING, open_loader

FIELDS = ("token_type_ids", "sequence_labels", "cls_positions")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("pairs"))
    write_dataset(folder, pairs="nsp")
    return folder


@pytest.fixture(scope="module")
def sop(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("sop"))
    write_dataset(folder, pairs="sop")
    return folder


@pytest.fixture(scope="module")
def rows(folder: str) -> dict[int, dict[str, Any]]:
    """Every stored row, by its id."""
    found = {}
    for path in sorted(Path(folder).glob("shard-*.arrow")):
        with pa.memory_map(str(path)) as file:
            for number, row in enumerate(pa.ipc.open_file(file).read_all().to_pylist()):
                found[(int(path.stem.removeprefix("shard-")) << 32) + number] = row
    return found


def expect(batch: Batch, rows: dict[int, dict[str, Any]]) -> tuple[list[list[int]], list[int], list[int]]:
    types, labels, positions = [], [], []
    for b, row_id in enumerate(batch.row_ids.tolist()):
        row = rows[row_id]
        labels += row["sequence_labels"]
        positions += [b * SEQ_LEN + place for place, token in enumerate(row["input_ids"]) if token == CLS]
        is_second, line = 1, []
        for token in row["input_ids"]:
            is_second = 0 if token == CLS else is_second
            line.append(0 if token == PAD else is_second)
            is_second = 1 if token == SEP else is_second
        types.append(line)
    return types, labels, positions


@pytest.mark.parametrize("masking", [MASKING, "static"])
def test_a_batch_has_the_types_labels_and_places_of_its_pairs(folder: str, rows: Any, masking: Any) -> None:
    seen: list[int] = []
    for batch in open_loader(folder, masking=masking, micro_batch_rows=4).epochs(2):
        types, labels, positions = expect(batch, rows)
        assert batch.token_type_ids.tolist() == types
        assert batch.sequence_labels.tolist() == labels
        assert batch.cls_positions.tolist() == positions
        assert all(getattr(batch, name).dtype == torch.int64 for name in FIELDS)
        assert (batch.input_ids.flatten()[batch.cls_positions] == CLS).all()
        seen += labels
    assert set(seen) == {0, 1}


def test_batches_for_evaluation_have_them_too(folder: str, rows: Any) -> None:
    for batch in iter_fixed_batches(folder, MASKING, 7):
        assert [getattr(batch, name).tolist() for name in FIELDS] == list(expect(batch, rows))


def test_without_pairs_a_batch_has_none_of_them(dataset: str) -> None:
    batch = next(iter(open_loader(dataset)))
    assert [getattr(batch, name) for name in FIELDS] == [None] * 3
    assert "token_type_ids" not in batch.model_inputs("sdpa")


def without_waits(batch: Batch) -> Batch:
    return replace(batch, waited_seconds=0.0)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_devices_give_the_same_batches(folder: str, workers: int) -> None:
    expected = [without_waits(batch) for batch in open_loader(folder).epochs(1)]
    served = DataLoader(open_loader(folder).epochs(1), batch_size=None, num_workers=workers)
    for batch, law in zip(served, expected, strict=True):
        assert_equal_batches(without_waits(batch), law)
        assert_equal_batches(pickle.loads(pickle.dumps(without_waits(batch))), law)  # noqa: S301
        assert batch.to("meta").sequence_labels.is_meta
    for batch, law in zip(open_loader(folder).epochs(1).to_device("cpu"), expected, strict=True):
        assert all(torch.equal(getattr(batch, name), getattr(law, name)) for name in FIELDS)


def test_rows_of_a_mixture_keep_their_labels(folder: str, rows: Any, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    write_dataset(other, pairs="nsp", seed=8)
    mixed = Mixture([Source(folder), Source(other)])
    batches = MaskedBatches(mixed, global_batch_rows=16, masking=MASKING, seed=2)
    for batch in batches.steps(20):
        of_first = batch.datasets == 0
        labels = iter(batch.sequence_labels.tolist())
        starts = batch.segment_ids.max(1).values.tolist()  # sequences of each row
        for row_id, is_first, count in zip(batch.row_ids.tolist(), of_first.tolist(), starts, strict=True):
            own = [next(labels) for _ in range(count)]
            if is_first:
                assert own == rows[row_id]["sequence_labels"]
        assert next(labels, None) is None


def test_only_equal_pairs_are_mixed_but_phases_may_differ(folder: str, sop: str, dataset: str) -> None:
    for one, other, word in [
        (folder, sop, r'expected pairs = "nsp".*found pairs = "sop"'),
        (folder, dataset, 'expected pairs = "nsp".*found no pairs'),
        (dataset, folder, 'expected no pairs.*found pairs = "nsp"'),
    ]:
        with pytest.raises(ConfigError, match=word):
            MaskedBatches(Mixture([Source(one), Source(other)]), global_batch_rows=8, masking=MASKING)
    phases = [Phase(0, dataset), Phase(2, folder)]
    batches = list(MaskedBatches(phases, global_batch_rows=8, masking=MASKING).steps(4))
    assert [batch.sequence_labels is None for batch in batches] == [True, True, False, False]


def test_pairs_that_are_missing_are_named(folder: str, sop: str, dataset: str) -> None:
    for accepted in (None, "nsp"):
        open_loader(folder).require_pairs(accepted)
    with pytest.raises(ConfigError, match=rf'{folder}.*other pairs.*pack.pairs = "sop".*found pairs = "nsp"'):
        open_loader(folder).require_pairs("sop")
    with pytest.raises(ConfigError, match=rf'{dataset}.*no pairs of segments.*pack.pairs = "nsp" or "sop"'):
        open_loader(dataset).require_pairs()
    with pytest.raises(ConfigError, match="no such pairs"):
        open_loader(folder).require_pairs("nps")
    open_loader(sop).require_pairs("sop")


def test_a_dataset_shows_the_labels_of_a_row(folder: str, rows: Any, dataset: str) -> None:
    found = open_dataset(folder)
    assert len(found) == NUM_ROWS
    for row in found:
        assert row.sequence_labels.tolist() == rows[row.row_id]["sequence_labels"]
    assert open_dataset(dataset)[0].sequence_labels is None


SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
SMALL = {"vocab_size": VOCAB_SIZE, "max_position_embeddings": SEQ_LEN, "pad_token_id": PAD, **SIZES}


def test_models_that_tell_segments_apart_are_given_their_types(folder: str) -> None:
    batch = next(iter(open_loader(folder)))
    told = [BertModel(BertConfig(**SMALL)), AlbertModel(AlbertConfig(**SMALL, embedding_size=16))]
    not_told = [
        RobertaModel(RobertaConfig(**SMALL | {"max_position_embeddings": SEQ_LEN + 1}, type_vocab_size=1)),
        DistilBertModel(DistilBertConfig(vocab_size=VOCAB_SIZE, dim=32, n_layers=1, n_heads=4, hidden_dim=48)),
    ]
    for model in told:
        assert torch.equal(batch.model_inputs("sdpa", model)["token_type_ids"], batch.token_type_ids)
    for model in not_told:
        assert describe_encoder(model).token_types < 2
        model(**batch.model_inputs("sdpa", model))
        assert "token_type_ids" not in batch.model_inputs("sdpa", model)
    assert "token_type_ids" not in batch.model_inputs("sdpa", Encoder(token_types=0))
    assert batch.model_inputs("varlen")["token_type_ids"].tolist() == [batch.token_type_ids.flatten().tolist()]


def test_a_packed_pair_gets_the_hidden_states_of_the_pair_alone(folder: str) -> None:
    batch = next(iter(open_loader(folder)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(BertConfig(**SMALL, initializer_range=0.2)).eval().double()
    with torch.no_grad():
        packed = model(**batch.model_inputs("sdpa", model)).last_hidden_state.flatten(0, 1)
        padded = model(**batch.model_inputs("padded", model)).last_hidden_state
        number = 0
        for start, stop in zip(batch.cu_seqlens.tolist(), batch.cu_seqlens.tolist()[1:], strict=False):
            if batch.segment_ids.flatten()[start] == 0:
                continue
            ids, types = (one.flatten()[None, start:stop] for one in (batch.input_ids, batch.token_type_ids))
            alone = model(input_ids=ids, token_type_ids=types).last_hidden_state[0]
            untyped = model(input_ids=ids).last_hidden_state[0]
            assert torch.allclose(packed[start:stop], alone, atol=1e-10)
            assert torch.allclose(padded[number, : stop - start], alone, atol=1e-10)
            assert not torch.allclose(untyped, alone, atol=1e-3)
            assert batch.cls_positions[number] == start
            number += 1
    assert number == len(batch.sequence_labels)
