from __future__ import annotations

import json

import pytest
import torch

from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.training.accumulate_gradients import accumulate_gradients
from maskmill.pipeline.training.build_model import build_model
from maskmill.pipeline.training.checkpoints import (
    Checkpoint,
    check_belongs,
    find_checkpoint,
    load_checkpoint,
    write_checkpoint,
)
from maskmill.pipeline.training.optimizer import build_optimizer
from maskmill.schemas.errors import ConfigError, ShardCorruptError, StaleArtifactError
from maskmill.schemas.train_file import ModelSection, OptimizerSection
from tests.training.small_runs import PAD, SEQ_LEN, VOCAB_SIZE, make_batch


def build(seed=0, hidden_size=16):
    section = ModelSection(hidden_size=hidden_size, num_layers=1, num_heads=2, dropout=0.2)
    with torch.random.fork_rng():
        model = build_model(section, vocab_size=VOCAB_SIZE, seq_len=SEQ_LEN, pad_id=PAD, seed=seed)
    return model, build_optimizer(model, OptimizerSection())


def take_steps(model, optimizer, num_steps):
    losses = []
    for step in range(num_steps):
        optimizer.zero_grad()
        losses.append(accumulate_gradients(model, [make_batch([0, 1, 2, 3], seed=step)]))
        optimizer.step()
    return losses


def make_marker(step=3, **fields):
    values = {
        "configuration": {"a.b": 1, "c.d": [2, 3]},
        "dataset_fingerprint": "f0",
        "loader_state": {"x": [1, None]},
    }
    return Checkpoint(step=step, **(values | fields))


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    url = str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path}"
    return open_store(url)


def test_what_is_loaded_goes_on_as_what_was_saved(store):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model, optimizer = build()
        take_steps(model, optimizer, 3)
        written = write_checkpoint(store, make_marker(), model, optimizer, keep=2)
        expected = take_steps(model, optimizer, 4)

        torch.manual_seed(6)
        other, other_optimizer = build(seed=1)
        found = find_checkpoint(store)
        assert found == written
        assert found.loader_state == {"x": [1, None]}
        load_checkpoint(store, found, other, other_optimizer)
        assert take_steps(other, other_optimizer, 4) == expected
    for (name, parameter), other_parameter in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(parameter, other_parameter), name


def test_a_folder_without_its_marker_is_not_there(store):
    model, optimizer = build()
    write_checkpoint(store, make_marker(step=3), model, optimizer, keep=5)
    write_checkpoint(store, make_marker(step=12), model, optimizer, keep=5)
    assert find_checkpoint(store).step == 12
    store.delete("checkpoints/step-00000012/checkpoint.json")
    assert find_checkpoint(store).step == 3
    store.delete("checkpoints/step-00000003/checkpoint.json")
    assert find_checkpoint(store) is None


def test_the_marker_is_written_last_and_deleted_first(store, monkeypatch):
    writes, deletes = [], []
    write_bytes, delete, delete_tree = store.write_bytes, store.delete, store.delete_tree
    monkeypatch.setattr(store, "write_bytes", lambda path, data: (writes.append(path), write_bytes(path, data)))
    monkeypatch.setattr(store, "delete", lambda path: (deletes.append(path), delete(path)))
    monkeypatch.setattr(store, "delete_tree", lambda path: (deletes.append(path), delete_tree(path)))
    model, optimizer = build()
    for step in (1, 2):
        write_checkpoint(store, make_marker(step=step), model, optimizer, keep=1)
    assert [path.rpartition("/")[2] for path in writes[3::4]] == ["checkpoint.json"] * 2
    assert deletes == ["checkpoints/step-00000001/checkpoint.json", "checkpoints/step-00000001"]
    assert {path.split("/")[1] for path in store.list("checkpoints")} == {"step-00000002"}


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "rng.safetensors"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_changed_bytes_are_refused_before_anything_is_loaded(store, name, damage):
    model, optimizer = build()
    take_steps(model, optimizer, 1)
    checkpoint = write_checkpoint(store, make_marker(), model, optimizer, keep=1)
    path = f"{checkpoint.folder}/{name}"
    data = bytearray(store.read_bytes(path))
    if damage == "delete":
        store.delete(path)
    else:
        data[-1] ^= 1
        store.write_bytes(path, bytes(data if damage == "flip" else data[:-1]))
    other, other_optimizer = build(seed=1)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    rng = torch.get_rng_state()
    with pytest.raises(ShardCorruptError) as caught:
        load_checkpoint(store, checkpoint, other, other_optimizer)
    assert caught.value.path.endswith(path)
    assert "step-00000003" in caught.value.action
    assert all(torch.equal(before[key], value) for key, value in other.state_dict().items())
    assert not other_optimizer.state_dict()["state"]
    assert torch.equal(rng, torch.get_rng_state())


def test_an_unreadable_marker_is_named(store):
    model, optimizer = build()
    checkpoint = write_checkpoint(store, make_marker(), model, optimizer, keep=1)
    path = f"{checkpoint.folder}/checkpoint.json"
    store.write_bytes(path, store.read_bytes(path)[:-20])
    with pytest.raises(ShardCorruptError, match="marker"):
        find_checkpoint(store)


def test_a_newer_format_is_refused(store):
    model, optimizer = build()
    checkpoint = write_checkpoint(store, make_marker(schema_version="99.0"), model, optimizer, keep=1)
    assert json.loads(store.read_bytes(f"{checkpoint.folder}/checkpoint.json"))["schema_version"] == "99.0"
    with pytest.raises(ConfigError, match="newer"):
        find_checkpoint(store)


@pytest.mark.parametrize(
    ("configuration", "fingerprint", "named"),
    [
        ({"a.b": 2, "c.d": [2, 3]}, "f0", "a.b"),
        ({"a.b": 1, "c.d": [3, 2]}, "f0", "c.d"),
        ({"a.b": 1}, "f0", "c.d"),
        ({"a.b": 1, "c.d": [2, 3], "e.f": 4}, "f0", "e.f"),
        ({"a.b": 1, "c.d": [2, 3]}, "f1", "dataset"),
    ],
)
def test_what_changed_is_named(store, configuration, fingerprint, named):
    check_belongs(store, make_marker(), {"a.b": 1, "c.d": [2, 3]}, "f0")
    with pytest.raises(StaleArtifactError, match=named):
        check_belongs(store, make_marker(), configuration, fingerprint)


def test_another_models_weights_are_refused(store):
    model, optimizer = build()
    checkpoint = write_checkpoint(store, make_marker(), model, optimizer, keep=1)
    other, other_optimizer = build(hidden_size=8)
    with pytest.raises(StaleArtifactError, match="another model") as caught:
        load_checkpoint(store, checkpoint, other, other_optimizer)
    name = caught.value.place
    assert caught.value.found == str(tuple(model.get_parameter(name).shape))
    assert caught.value.expected == f"shape {tuple(other.get_parameter(name).shape)}"
