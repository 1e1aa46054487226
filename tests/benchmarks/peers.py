"""Other programs, each in a Python environment of its own, on the rows or documents that we read.

An environment is built on first use with `venv` and pip under the user's cache folder, from pinned versions; nothing
of ours is in it. A peer measures itself in a process of its own and prints one line of JSON (see `peer_reading`), so
that its imports, threads and shared memory never meet ours. What pip cannot install gives a row that says so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

TIMEOUT_SECONDS = 600
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Peer:
    """A program that somebody would use instead.

    Attributes:
        name: Of its environment's folder.
        title: As the table shows it.
        script: The module beside this one that measures it.
        requirements: For pip, with what they depend on.
        alone: For pip without what they ask for, because they ask for what cannot be had or is never imported.
    """

    name: str
    title: str
    script: str
    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()


LITDATA = Peer(
    name="litdata",
    title="litdata 0.2.76",
    script="peer_litdata",
    requirements=(TORCH, "litdata==0.2.76"),
)
MOSAICML = Peer(
    name="mosaicml-streaming",
    title="MosaicML Streaming 0.13.0",
    script="peer_mosaicml",
    # What the package imports when it starts. It asks for the clients of four clouds too, and for torchvision, of
    # which `peer_mosaicml` stands in the few names that are touched.
    requirements=(
        TORCH,
        "numpy<2.2",
        "transformers>=4.21.3,<5",
        "xxhash<4",
        "Brotli",
        "catalogue",
        "filelock",
        "pillow",
        "python-snappy",
        "tqdm",
        "zstd",
    ),
    alone=("mosaicml-streaming==0.13.0",),
)


DATATROVE = Peer(
    name="datatrove",
    title="datatrove 0.10.1",
    script="peer_datatrove",
    requirements=(
        "datatrove==0.10.1",
        "ftfy==6.3.1",
        "nltk==3.10.4",
        "orjson",
        "pyarrow",
        "regex",
        "spacy==3.8.18",
        "tokenizers==0.23.3",
        "xxhash<4",
        "zstandard",
    ),
)


class PeerUnavailableError(Exception):
    """A peer could not be installed, or ended without a figure; the message says why."""


def measure_peer(peer: Peer, rows_path: str, scratch: str, seconds: float) -> dict[str, float]:
    """Million tokens a second of a peer on the rows of a file, by the way they are stored and read.

    Args:
        peer: Whom.
        rows_path: From `save_rows`.
        scratch: A folder for the peer's own copy of the rows, in its own format; kept for a second call.
        seconds: How long it reads, three times.

    Raises:
        PeerUnavailableError: There is no figure.
        AssertionError: It did not read these rows.
    """
    data = os.path.join(scratch, f"peer-{peer.name}")
    os.makedirs(data, exist_ok=True)
    found = ask_peer(peer, rows_path, data, str(seconds), TMPDIR=data)  # some leave locks there
    expected = int(np.load(rows_path, mmap_mode="r").sum(dtype=np.int64))
    assert set(found["token_sums"]) == {expected}, (
        f"{peer.name} read tokens of sum {found['token_sums']}, not {expected}"
    )
    return {way: float(pace) for way, pace in found["million_tokens_per_second"].items()}


def ask_peer(peer: Peer, *arguments: str, **variables: str) -> dict[str, Any]:
    """Run a peer's script in its environment; returns what its last line says.

    Args:
        peer: Whom.
        arguments: Of the script.
        variables: Of its process.

    Raises:
        PeerUnavailableError: There is no answer.
    """
    python = open_environment(peer)
    script = os.path.join(os.path.dirname(__file__), f"{peer.script}.py")
    answer: dict[str, Any] = json.loads(_run([python, "-u", script, *arguments], peer, **variables).splitlines()[-1])
    return answer


def save_rows(packed: str, path: str, batch_rows: int) -> None:
    """Every token row of a local packed dataset as one uint16 `.npy` file, a multiple of `batch_rows` of them."""
    parts: list[npt.NDArray[np.uint16]] = []
    for name in sorted(os.listdir(packed)):
        if name.startswith("shard-"):
            with pa.memory_map(os.path.join(packed, name)) as file:
                column = pa.ipc.open_file(file).read_all().column("input_ids").combine_chunks()
                parts.append(column.values.to_numpy().reshape(-1, column.type.list_size).copy())
    rows = np.concatenate(parts)
    np.save(path, rows[: len(rows) // batch_rows * batch_rows])


def open_environment(peer: Peer) -> str:
    """The Python of a peer's environment, built unless one with the same requirements exists.

    Raises:
        PeerUnavailableError: pip did not install it.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(cache, "maskmill", "bench-peers", peer.name)
    python = os.path.join(folder, "bin", "python")
    wanted = "\n".join((sys.version, *peer.requirements, *peer.alone))
    ready = os.path.join(folder, "requirements.txt")
    if os.path.exists(ready):
        with open(ready, encoding="utf-8") as file:
            if file.read() == wanted:
                return python
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", folder], peer)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*install, *peer.requirements], peer)
    if peer.alone:
        _run([*install, "--no-deps", *peer.alone], peer)
    with open(ready, "w", encoding="utf-8") as file:  # last: what is half built is built again
        file.write(wanted)
    return python


def _run(command: list[str], peer: Peer, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= variables
    try:
        finished = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        raise PeerUnavailableError(f"{peer.name}: no answer within {TIMEOUT_SECONDS} s") from None
    if finished.returncode:
        lines = finished.stderr.strip().splitlines() or ["no message"]
        raise PeerUnavailableError(f"{peer.name}: {lines[-1]}")
    return finished.stdout
