"""Special files where regular ones should be, and mutations of run files and train files."""

from __future__ import annotations

import os
import random
import socket
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.hostile.trees import Tree
from tests.hostile.values import ESCAPES, INTEGERS, OTHERS, at_place, deep_json, list_places, set_place

Draw = random.Random
Mutator = Callable[[Tree, Draw], str]
URLS = (
    "ftp://127.0.0.1:1/x", "data:,x", "data:", "zip::x", "zip://x::out/x.zip", "hf://x/y", "hdfs://127.0.0.1:1/x",
    "http://127.0.0.1:9/x", "s3://", "s3://a", "://", "file://", "memory://", "a\x00b", "simplecache::x", "::",
    "blockcache::", "reference://x", "git://x", "github://x:y@z/", "libarchive://x", "tar://x::y",
    "sftp://127.0.0.1:1/x", "nosuch://x", "smb://127.0.0.1/x", "dbfs://x/y", "x" * 5000, "", " ", ".", "..", "~",
    "*", "[", "**/*", "out/\x1b[2J", "out/\u202ex", "corpus", "corpus/a.jsonl", "dir://x::y", "generic://x",
    "local://", "file:///dev/null", "/dev/null/x",
)  # fmt: skip
_HARMLESS = ("engine",)
"""Sections that would start Ray, or other processes."""
_FEW_STEPS = (1, 2, 3, 0, -1, 1 << 63, 1 << 64, 0.5, True, "x")
"""A training of many steps is no fault, and takes as long as they do."""
_PLACES = ("url", "paths", "dataset", "held_out", "output", "from")


def _of_run(path: str) -> Mutator:
    return partial(_mutate_toml, path)


def _mutate_toml(path: str, tree: Tree, draw: Draw) -> str:
    file = tree.root / path
    text = file.read_text()
    if draw.random() < 0.15:
        name, data = draw.choice(
            (
                ("deep", (text + "\n[extra]\nx = " + deep_json(50_000)).encode()),
                ("deep table", (text + "\n[" + ".".join("a" * 3000) + "]").encode()),
                ("deep keys", (text + "\n" + ".".join("a" * 20_000) + " = 1").encode()),
                ("no UTF-8", b"\xff" + text.encode()),
                ("NUL", text.encode() + b"\0"),
                ("long number", text.encode() + b"\n[x]\ny = " + b"9" * 5000),
                ("empty", b""),
                ("date", text.encode() + b"\n[mask]\nrate = 9999-99-99"),
                ("escapes", (text + f'\n["\\u001b[2J"]\n"{ESCAPES[3]}" = "\\u001b"').encode()),
            )
        )
        file.write_bytes(data)
        return f"{path}: {name}"
    value: Any = tomllib.loads(text)
    places = [place for place in list_places(value) if len(place) > 1 and place[0] not in _HARMLESS]
    place = draw.choice(places)
    old = at_place(value, place)
    is_url = any(part in _PLACES for part in place if isinstance(part, str)) and isinstance(old, (str, list))
    new: Any = (
        draw.choice(URLS) if is_url and draw.random() < 0.9 else draw.choice((*INTEGERS, *OTHERS, 0.5, 1e-9, "x"))
    )
    if place == ("run", "steps"):
        new = draw.choice(_FEW_STEPS)
    if is_url and isinstance(old, list):
        new = [new, *old]
    set_place(value, place, new)
    file.write_bytes(_dump_toml(value).encode())
    return f"{path}: {'.'.join(map(str, place))} = {new!r:.80}"


def _dump_toml(value: dict[str, dict[str, Any]]) -> str:
    return "\n".join(
        f"[{name}]\n" + "\n".join(f"{key} = {_say(item)}" for key, item in keys.items()) for name, keys in value.items()
    )


def _say(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_say, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_say(item)}" for key, item in value.items()) + "}"
    return '"none"' if value is None else repr(value)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(target: str, path: Path) -> None:
    path.symlink_to(target)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(path.parent)  # its path would be too long
        listener.bind(path.name)


SPECIAL: dict[str, Callable[[Path], None]] = {
    "FIFO": _fifo,
    "link to an endless device": partial(_link, "/dev/zero"),
    "folder": Path.mkdir,
    "socket": _socket,
    "link to nothing": partial(_link, "/nowhere/x"),
    "link to itself": lambda path: path.symlink_to(path),
    "null device": partial(_link, "/dev/null"),
}


def _replace(name: str, tree: Tree, draw: Draw) -> str:
    """Put something else in the place of a file."""
    below = draw.choice(("out/packed", "out", "training/checkpoints", "corpus", "run.toml", "train.toml"))
    files = [tree.root / below] if below.endswith(".toml") else list(tree.iter_files(below))
    path = draw.choice(files)
    path.unlink()
    SPECIAL[name](path)
    return f"{path.relative_to(tree.root)} is a {name}"


SPECIAL_FILES: dict[str, Mutator] = {name: partial(_replace, name) for name in SPECIAL}
RUN_FILES: dict[str, Mutator] = {"value": _of_run("run.toml")}
TRAIN_FILES: dict[str, Mutator] = {"value": _of_run("train.toml")}
