"""Mutations of a checkpoint of training, its checksums recomputed, and of the states of loaders."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors.torch import load, save

from tests.hostile.trees import TRAINING, Json, Tree, dump
from tests.hostile.values import INTEGERS, TEXTS, deep_json, draw_value, mutate_json

Draw = random.Random
Mutator = Callable[[Tree, Draw], str]
FILES = ("model.safetensors", "optimizer.safetensors", "rng.safetensors")
_DTYPES = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8)


def _folder(tree: Tree) -> Path:
    return max((tree.root / TRAINING / "checkpoints").iterdir())


def _write(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    marker = json.loads((folder / "checkpoint.json").read_bytes())
    marker["checksums"][name] = xxhash.xxh3_128_hexdigest(data)
    (folder / "checkpoint.json").write_text(dump(marker))


def other_header(tree: Tree, draw: Draw) -> str:
    """The header of a safetensors file: its JSON, or its length."""
    folder, name = _folder(tree), draw.choice(FILES)
    data = (folder / name).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + length], data[8 + length :]
    how = draw.choice(("length", "value", "value", "bytes", "deep", "offsets"))
    if how == "length":
        new = draw.choice((0, 1, length - 1, length + 1, len(data), 2**31, 2**40, 2**63, 2**64 - 1))
        _write(folder, name, struct.pack("<Q", new) + header + body)
        return f"{name}: a header of {new} bytes"
    value: Json = json.loads(header)
    if how == "bytes":
        header = draw.choice((b"", b"{}", b"[]", b"\xff" * 8, header[:-5]))
    elif how == "deep":
        header = deep_json(50_000).encode()
    else:
        if how == "offsets":
            tensor = draw.choice([item for item in value.values() if isinstance(item, dict)])
            tensor["data_offsets"] = draw.choice(([0, 2**63], [2**64 - 1, 0], [8, 4], [0, 0], [0, len(body) * 2]))
            tensor["shape"] = draw.choice((tensor["shape"], [2**32, 2**32], [2**63], [], [0]))
        else:
            mutate_json(value, draw)
        header = json.dumps(value).encode()
    _write(folder, name, struct.pack("<Q", len(header)) + header + body)
    return f"{name}: header, {how} {header[:60]!r}"


def other_bytes(tree: Tree, draw: Draw) -> str:
    folder, name = _folder(tree), draw.choice(FILES)
    data = bytearray((folder / name).read_bytes())
    for _ in range(draw.choice((1, 4))):
        data[draw.randrange(min(len(data), 1500))] = draw.randrange(256)
    _write(folder, name, bytes(data))
    return f"{name}: other bytes"


def other_dtype(tree: Tree, draw: Draw) -> str:
    """Tensors of another type: of the weights or of the optimizer."""
    folder, name = _folder(tree), draw.choice(FILES)
    tensors = load((folder / name).read_bytes())
    dtype = draw.choice([dtype for dtype in _DTYPES if dtype is not torch.uint8 or name != "rng.safetensors"])
    for key in draw.sample(sorted(tensors), draw.choice((1, len(tensors)))):
        tensors[key] = tensors[key].to(dtype)
    _write(folder, name, save(tensors))
    return f"{name}: {dtype}"


def other_shape(tree: Tree, draw: Draw) -> str:
    folder, name = _folder(tree), draw.choice(FILES)
    tensors = load((folder / name).read_bytes())
    key = draw.choice(sorted(tensors))
    tensor = tensors[key]
    flat = tensor.reshape(-1)
    tensors[key] = draw.choice((flat[:0], torch.cat([flat, flat]), tensor[None, None], flat[: len(flat) // 2])).clone()
    _write(folder, name, save(tensors))
    return f"{name}: {key} of shape {tuple(tensors[key].shape)}, was {tuple(tensor.shape)}"


def other_keys(tree: Tree, draw: Draw) -> str:
    """Tensors that are missing, renamed, or too many."""
    folder, name = _folder(tree), draw.choice(FILES)
    tensors = load((folder / name).read_bytes())
    key = draw.choice(sorted(tensors))
    how = draw.choice(("empty", "gone", "renamed", "more"))
    if how == "empty":
        tensors = {}
    elif how == "gone":
        del tensors[key]
    elif how == "renamed":
        tensors[draw.choice(("x", "x/exp_avg", "/", "", f"{key}/x", "cpu\x1b[2J"))] = tensors.pop(key)
    else:
        tensors[draw.choice((f"{key}/more", "more", "exp_avg"))] = torch.zeros(3)
    _write(folder, name, save(tensors))
    return f"{name}: {how}, {key}"


def other_numbers(tree: Tree, draw: Draw) -> str:
    """Weights and moments that are no numbers, steps that are negative, states of generators that are noise."""
    folder, name = _folder(tree), draw.choice(FILES)
    tensors = load((folder / name).read_bytes())
    for key in draw.sample(sorted(tensors), draw.choice((1, len(tensors)))):
        if tensors[key].dtype is torch.uint8:
            tensors[key] = torch.tensor([draw.randrange(256) for _ in range(len(tensors[key]))], dtype=torch.uint8)
        else:
            tensors[key] = torch.full_like(tensors[key], draw.choice((float("nan"), float("inf"), -1.0, 1e30, 0.0)))
    _write(folder, name, save(tensors))
    return f"{name}: other numbers"


def other_marker(tree: Tree, draw: Draw) -> str:
    folder = _folder(tree)
    path = folder / "checkpoint.json"
    value = json.loads(path.read_bytes())
    if draw.random() < 0.3:
        how = draw.choice(("none", "fewer", "more", "path", "version", "step", "deep", "bytes"))
        checksums: Json = value["checksums"]
        if how == "none":
            value["checksums"] = {}
        elif how == "fewer":
            del checksums[draw.choice(FILES)]
        elif how == "more":
            checksums[draw.choice(("x", "../../../run.toml", "checkpoint.json"))] = "0" * 32
        elif how == "path":
            checksums[draw.choice(("../../../../../etc/passwd", "/etc/passwd", "/dev/zero"))] = "0" * 32
        elif how in ("version", "step"):
            value["schema_version" if how == "version" else "step"] = draw_value(
                draw, value[how] if how == "step" else ""
            )
        path.write_text(dump(value))
        if how in ("deep", "bytes"):
            path.write_bytes(deep_json(100_000).encode() if how == "deep" else draw.choice((b"", b"[]", b"\xff", b"7")))
        return f"checkpoint.json: {how}"
    what = mutate_json(value, draw)
    path.write_text(dump(value))
    return f"checkpoint.json: {what}"


def other_state(tree: Tree, draw: Draw) -> str:
    """The state of the loader in the marker."""
    path = _folder(tree) / "checkpoint.json"
    value = json.loads(path.read_bytes())
    what = mutate_json(value["loader_state"], draw)
    path.write_text(dump(value))
    return f"loader_state: {what}"


def loader_state(tree: Tree, draw: Draw) -> str:
    """A state of its own, as a trainer saves it."""
    state: Any = json.loads((tree.root / "state.json").read_bytes())
    if draw.random() < 0.1:
        state = draw.choice(([], 7, None, "x", {}))
        what = repr(state)
    elif draw.random() < 0.3:
        name = draw.choice(("epoch", "step", "rows_served", "share_rows"))
        state[name] = draw.choice((*INTEGERS, *TEXTS[:3]))
        what = f"{name} = {state[name]!r:.40}"
    else:
        what = mutate_json(state, draw)
    (tree.root / "state.json").write_text(dump(state))
    return what


STRICT = ("dtype", "shape", "keys")
"""What must be refused: a run that goes on with it is another one."""
CHECKPOINTS: dict[str, Mutator] = {
    "header": other_header,
    "header again": other_header,
    "bytes": other_bytes,
    "dtype": other_dtype,
    "shape": other_shape,
    "keys": other_keys,
    "numbers": other_numbers,
    "marker": other_marker,
    "marker again": other_marker,
    "state": other_state,
}
STATES: dict[str, Mutator] = {"state": loader_state}
