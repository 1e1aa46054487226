"""A small dataset as `maskmill prepare` writes it, for every test of training."""

from __future__ import annotations

import random

import pytest

from maskmill.pipeline.run.prepare import prepare
from maskmill.schemas.run_file import RunFile

WORDS = [f"{first}{last}" for first in ("al", "be", "ga", "del") for last in ("pha", "ta", "mma", "tau", "rho")]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    generator = random.Random(1)
    lines = [" ".join(generator.choices(WORDS, k=generator.randint(5, 60))) for _ in range(400)]
    (folder / "lines.txt").write_text("\n".join(lines))
    prepare(
        RunFile.model_validate(
            {
                "input": {"paths": [str(folder / "*.txt")], "text_document": "line"},
                "output": {"url": str(folder / "out")},
                "documents": {"held_out": 0.2},
                "tokenizer": {"vocab_size": 60},
                "pack": {"seq_len": 32, "min_segment": 4},
                "engine": {"workers": 1},
            }
        ),
        lambda _: None,
    )
    return str(folder / "out")
