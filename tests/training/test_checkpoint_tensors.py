"""A tampered checkpoint, with the checksums of its tampered files, is refused by name before anything is changed."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
import torch
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.training.checkpoint_tensors import FILES, MODEL, OPTIMIZER, RNG
from maskmill.pipeline.training.checkpoints import (
    MAX_MARKER_BYTES,
    find_checkpoint,
    load_checkpoint,
    write_checkpoint,
)
from maskmill.schemas.errors import ConfigError, MaskmillError, ShardCorruptError, StaleArtifactError
from tests.training.test_checkpoints import build, make_marker, take_steps

STEP = 2
WEIGHT = "bert.embeddings.word_embeddings.weight"
MARKER = "checkpoint.json"


@pytest.fixture(scope="module")
def written() -> dict[str, bytes]:
    """The files of a checkpoint after two steps."""
    store = open_store("memory://checkpoint-tensors")
    with torch.random.fork_rng():
        model, optimizer = build()
        take_steps(model, optimizer, STEP)
        checkpoint = write_checkpoint(store, make_marker(step=STEP), model, optimizer, keep=1)
    return {name: store.read_bytes(f"{checkpoint.folder}/{name}") for name in (*FILES, MARKER)}


def put(store: Store, files: dict[str, bytes], **marker: Any) -> None:
    """Write these files with the checksums that they have now."""
    values = json.loads(files[MARKER])
    values["checksums"] = {name: xxhash.xxh3_128_hexdigest(data) for name, data in files.items() if name != MARKER}
    folder = f"checkpoints/step-{STEP:08d}"
    for name, data in (files | {MARKER: json.dumps(values | marker).encode()}).items():
        store.write_bytes(f"{folder}/{name}", data)


def refuse(store: Store) -> MaskmillError:
    """Load the checkpoint into another model, which must not change, and return the error."""
    with torch.random.fork_rng():
        model, optimizer = build(seed=1)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        random = torch.get_rng_state()
        with pytest.raises((ConfigError, ShardCorruptError, StaleArtifactError)) as caught:
            load_checkpoint(store, find_checkpoint(store), model, optimizer)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert not optimizer.state_dict()["state"]
        assert torch.equal(random, torch.get_rng_state())
    assert "checkpoints/step-00000002" in str(caught.value.path)
    assert len(str(caught.value)) < 2000
    return caught.value


def change(file: str, name: str | None = None, tensor: Any = None, *, drop: bool = False) -> Any:
    def apply(files: dict[str, bytes]) -> dict[str, bytes]:
        tensors = load(files[file])
        if drop:
            tensors.pop(name) if name else tensors.clear()
        else:
            tensors[name] = tensor(tensors.get(name)) if callable(tensor) else tensor
        return files | {file: save(tensors)}

    return apply


def with_header(file: str, header: bytes, size: int | None = None, data: bytes = b"") -> Any:
    length = struct.pack("<Q", len(header) if size is None else size)
    return lambda files: files | {file: length + header + data}


HUGE = {"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 2**64 - 1]}}
TAMPERED: dict[str, tuple[Any, str]] = {
    "weights in another type": (change(MODEL, WEIGHT, lambda t: t.half()), "expected float32.*found float16"),
    "weights as integers": (change(MODEL, WEIGHT, lambda t: t.to(torch.int32)), "found int32"),
    "weights in double": (change(MODEL, WEIGHT, lambda t: t.double()), "found float64"),
    "weights in another shape": (change(MODEL, WEIGHT, lambda t: t[:-1].contiguous()), "another model"),
    "a weight too many": (change(MODEL, "more", torch.zeros(1)), "another model"),
    "a weight too few": (change(MODEL, WEIGHT, drop=True), "another model"),
    "no weights": (change(MODEL, drop=True), "another model"),
    "weights that are not numbers": (change(MODEL, WEIGHT, lambda t: t * float("nan")), "finite"),
    "infinite weights": (change(MODEL, WEIGHT, lambda t: t / 0), "finite"),
    "an empty optimizer": (change(OPTIMIZER, drop=True), "found none"),
    "an optimizer without a moment": (change(OPTIMIZER, f"{WEIGHT}/exp_avg", drop=True), f"{WEIGHT}/exp_avg.*none"),
    "a moment in another type": (change(OPTIMIZER, f"{WEIGHT}/exp_avg", lambda t: t.half()), "found float16"),
    "a moment in another shape": (change(OPTIMIZER, f"{WEIGHT}/exp_avg_sq", torch.zeros(3)), "shape"),
    "a moment below 0": (change(OPTIMIZER, f"{WEIGHT}/exp_avg_sq", lambda t: t - 1), "below 0"),
    "a moment that is not a number": (change(OPTIMIZER, f"{WEIGHT}/exp_avg", lambda t: t * float("nan")), "finite"),
    "a step that is not a number": (change(OPTIMIZER, f"{WEIGHT}/step", torch.tensor(float("nan"))), "finite"),
    "another step": (change(OPTIMIZER, f"{WEIGHT}/step", torch.tensor(7.0)), "expected step 2; found 7"),
    "a step with several values": (change(OPTIMIZER, f"{WEIGHT}/step", torch.zeros(2)), "shape"),
    "a moment of no parameter": (change(OPTIMIZER, "more/exp_avg", torch.zeros(1)), "expected none"),
    "a name without a key": (change(OPTIMIZER, "more", torch.zeros(1)), "expected none"),
    "no generator": (change(RNG, drop=True), "cpu"),
    "a short generator": (change(RNG, "cpu", torch.zeros(9, dtype=torch.uint8)), "shape"),
    "a generator of floats": (change(RNG, "cpu", torch.zeros(5056)), "found float32"),
    "a generator in another shape": (change(RNG, "cpu", lambda t: t.reshape(1, 1, -1)), "shape"),
    "a generator of zeros": (change(RNG, "cpu", torch.zeros(5056, dtype=torch.uint8)), "generator"),
    "a generator of ones": (change(RNG, "cpu", torch.full((5056,), 255, dtype=torch.uint8)), "generator"),
    "another generator": (change(RNG, "xpu", torch.zeros(9, dtype=torch.uint8)), "cpu"),
    "large generators": (change(RNG, "cuda", torch.zeros(1 << 17, dtype=torch.uint8)), "at most 65536 bytes"),
    "a header longer than its file": (with_header(MODEL, b"{}", size=2**63), "safetensors"),
    "a header that is none": (with_header(OPTIMIZER, b"[" * 5000), "safetensors"),
    "a header of huge tensors": (with_header(MODEL, json.dumps(HUGE).encode()), "safetensors"),
    "an unknown type": (
        with_header(MODEL, b'{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}', data=b"0"),
        "safetensors",
    ),
    "an empty file": (lambda files: files | {RNG: b""}, "safetensors"),
    "a huge file": (lambda files: files | {MODEL: bytes(3 << 20)}, "at most"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_tensors_are_refused_before_anything_is_changed(
    name: str, written: dict[str, bytes], tmp_path: Any
) -> None:
    tamper, words = TAMPERED[name]
    store = open_store(str(tmp_path))
    put(store, tamper(written))
    error = refuse(store)
    assert any(file in str(error.path) for file in FILES)
    with pytest.raises(type(error), match=f"(?s){words}"):
        raise error


def test_what_is_not_tampered_with_is_loaded(written: dict[str, bytes], tmp_path: Any) -> None:
    store = open_store(str(tmp_path))
    put(store, written)
    with torch.random.fork_rng():
        model, optimizer = build(seed=1)
        load_checkpoint(store, find_checkpoint(store), model, optimizer)
        weights = load(written[MODEL])
        assert all(torch.equal(weights[name], parameter) for name, parameter in model.named_parameters())
        assert len(optimizer.state_dict()["state"]) == len(weights)


MARKERS: dict[str, dict[str, Any]] = {
    "a step of text": {"step": "2"},
    "a step with a point": {"step": 2.5},
    "a step below 0": {"step": -1},
    "a step of another folder": {"step": 3},
    "a huge step": {"step": 10**30},
    "a loss that is not a number": {"last_loss": float("nan")},
    "a loss of text": {"first_loss": "1"},
    "no checksums of some": {"checksums": {MODEL: "0"}},
    "a file elsewhere": {"checksums": dict.fromkeys((*FILES, "../../model.safetensors"), "0")},
    "checksums as a list": {"checksums": []},
    "a configuration as a list": {"configuration": []},
    "a state of the loader as text": {"loader_state": "x"},
    "no fingerprint": {"dataset_fingerprint": None},
    "a key too many": {"more": 1},
    "a version that is none": {"schema_version": "x"},
    "a large one": {"configuration": {"a": "x" * MAX_MARKER_BYTES}},
}


@pytest.mark.parametrize("name", MARKERS)
def test_tampered_markers_are_refused(name: str, written: dict[str, bytes], tmp_path: Any) -> None:
    store = open_store(str(tmp_path))
    put(store, written, **MARKERS[name])
    assert MARKER in str(refuse(store).path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"[" * 10_000, b"\xff", b'{"step":1}'])
def test_markers_that_are_none_are_refused(content: bytes, tmp_path: Any) -> None:
    store = open_store(str(tmp_path))
    store.write_bytes(f"checkpoints/step-{STEP:08d}/{MARKER}", content)
    assert MARKER in str(refuse(store).path)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data(), file=st.sampled_from([*FILES, MARKER]))
def test_changed_bytes_give_an_error_of_ours_or_a_state(
    data: st.DataObject, file: str, written: dict[str, bytes]
) -> None:
    """Bytes of the header and of the values, with checksums that fit."""
    content = bytearray(written[file])
    header = 8 + struct.unpack("<Q", content[:8])[0] if file != MARKER else len(content)
    for _ in range(data.draw(st.integers(1, 4))):
        bound = data.draw(st.sampled_from([8, header, len(content)]))
        content[data.draw(st.integers(0, bound - 1))] = data.draw(st.integers(0, 255))
    store = open_store("memory://changed-checkpoint")
    put(store, written | ({file: bytes(content)} if file != MARKER else {}))
    if file == MARKER:
        store.write_bytes(f"checkpoints/step-{STEP:08d}/{MARKER}", bytes(content))
    with torch.random.fork_rng():
        model, optimizer = build(seed=1)
        refused: MaskmillError | None = None
        try:
            load_checkpoint(store, find_checkpoint(store), model, optimizer)
        except MaskmillError as error:
            refused = error
        if refused is None:
            assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
            take_steps(model, optimizer, 1)
        else:
            assert "step-00000002" in str(refused.path)
