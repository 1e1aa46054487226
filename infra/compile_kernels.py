"""Compile every numba kernel once, by sending a few documents through the whole of maskmill.

Kernels are compiled when they are first called and kept beside their source. Done at set-up, or while a container
image is built, the first real job does not spend its first seconds on it. From the repository's root:

    python infra/compile_kernels.py
"""

from __future__ import annotations

import os
import tempfile

from jobs.prepare import prepare
from pipeline.loader import MaskedBatches, Masking
from pipeline.storage.store import open_store
from pipeline.verification.verify_output import verify_output
from schemas.run_file import RunFile


def compile_kernels() -> None:
    """Prepare, verify and load a small dataset in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="maskmill-compile-") as folder:
        with open(os.path.join(folder, "text.txt"), "w", encoding="utf-8") as file:
            file.writelines(f"document {number} of a few words, {number * 'longer '}\n" for number in range(200))
        settings = RunFile.model_validate(
            {
                "input": {"paths": [os.path.join(folder, "text.txt")], "text_document": "line"},
                "output": {"url": os.path.join(folder, "out")},
                "tokenizer": {"vocab_size": 64, "min_frequency": 1},
                "pack": {"seq_len": 64},
                "mask": {"copies": 1},
                "engine": {"workers": 1},
            }
        )
        prepare(settings, listen=str)
        for _ in verify_output(open_store(settings.output.url), progress=lambda *_: None):
            pass
        packed = os.path.join(folder, "out", "packed")
        for masking in (Masking(), "static"):
            next(iter(MaskedBatches(packed, global_batch_rows=8, masking=masking)))


if __name__ == "__main__":
    compile_kernels()
