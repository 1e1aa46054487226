"""The trees that are mutated, made once: finished runs in every form of storage, and runs stopped behind a stage."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import maskmill.schemas.rows
from maskmill.jobs.train import train
from maskmill.pipeline.loader import MaskedBatches
from maskmill.pipeline.run.prepare import prepare
from maskmill.pipeline.settings import read_toml
from maskmill.schemas.events import RunEvent
from maskmill.schemas.run_file import RunFile
from tests.hostile.trees import STOPPED_BEHIND, copy_tree

BLOCK_BYTES = 512
"""Of packed blocks here, so that a shard of a few rows has several."""
CHECKPOINT_STEP = 2

RUN = """
[input]
paths = ["corpus/a.jsonl", "corpus/b.txt"]
id_field = "id"
source_field = "source"
max_quarantined = 0.5
text_document = "line"
[output]
url = "out"
[documents]
shard_mb = 0.003
held_out = 0.15
[tokenizer]
vocab_size = 120
[pack]
seq_len = 32
min_segment = 4
keep_encoded = true
compression = "{compression}"
[mask]
rate = 0.2
copies = {copies}
[engine]
kind = "local"
workers = 1
"""
TRAIN = """
[data]
dataset = "out/packed"
held_out = "out/packed-heldout"
global_batch_rows = 4
[mask]
rate = 0.2
[model]
hidden_size = 8
num_layers = 1
num_heads = 2
[optimizer]
warmup_steps = 1
[run]
output = "training"
steps = {steps}
log_every = 1
device = "cpu"
"""
FORMS: dict[str, dict[str, Any]] = {
    "plain": {"compression": "none", "copies": 2},
    "zstd": {"compression": "zstd", "copies": 1},
    "lz4": {"compression": "lz4", "copies": 0},
}


def make_bases(folder: Path) -> None:
    """Write every base below a folder."""
    maskmill.schemas.rows.BLOCK_BYTES = BLOCK_BYTES
    for name, settings in FORMS.items():
        _make(folder / name, settings, stopped=folder if name == "plain" else None)
    (folder / "plain" / "train.toml").write_text(TRAIN.format(steps=CHECKPOINT_STEP))
    with contextlib.redirect_stdout(io.StringIO()):
        assert _inside(folder / "plain", lambda: train("train.toml", [], True)) == 0
    for name in FORMS:
        (folder / name / "train.toml").write_text(TRAIN.format(steps=CHECKPOINT_STEP + 1))
    batches = MaskedBatches(str(folder / "plain" / "out" / "packed"), global_batch_rows=8, partitions=2, seed=3)
    next(iter(batches))
    (folder / "plain" / "state.json").write_text(json.dumps(batches.state_dict()))


def _make(root: Path, settings: dict[str, Any], stopped: Path | None) -> None:
    """Write a base, and below the folder `stopped` what a run that is killed behind each stage would leave."""
    corpus = root / "corpus"
    corpus.mkdir(parents=True)
    draw = random.Random(5)
    words = ["".join(draw.choices("abcdefgh", k=draw.randrange(2, 7))) for _ in range(80)]
    texts = [" ".join(draw.choices(words, k=draw.randrange(1, 60))) for _ in range(70)]
    lines = [json.dumps({"id": f"d{n}", "source": f"s{n % 3}", "text": text}) for n, text in enumerate(texts[:50])]
    (corpus / "a.jsonl").write_text("\n".join([*lines, '{"bad', ""]))
    (corpus / "b.txt").write_text("\n".join(texts[50:]))
    (root / "run.toml").write_text(RUN.format(**settings))

    def listen(event: RunEvent) -> None:
        if stopped and event.event == "stage_done" and event.stage in STOPPED_BEHIND:
            copy_tree(root, stopped / f"stopped-{event.stage}")

    _inside(root, lambda: prepare(read_toml(RunFile, "run.toml", []), listen))


def _inside(root: Path, call: Callable[[], Any]) -> Any:
    before = os.getcwd()
    os.chdir(root)
    try:
        return call()
    finally:
        os.chdir(before)
