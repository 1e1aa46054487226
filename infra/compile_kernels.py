"""Compile every module and, by sending a few documents through the whole of maskmill, every numba kernel once.

Both are compiled when they are first used and kept beside their source. Done at set-up, or while a container
image is built, the first real job does not spend its first seconds on it. From the repository's root:

    python infra/compile_kernels.py
"""

from __future__ import annotations

import compileall
import os
import tempfile
from importlib.util import find_spec
from typing import Any

import torch

from maskmill import jobs, pipeline, schemas
from maskmill.pipeline.loader import MaskedBatches, Masking
from maskmill.pipeline.loader.device.device_fields import BatchMaker
from maskmill.pipeline.run.prepare import prepare
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.verification.verify_output import verify_output

FILTERS: dict[str, Any] = {
    "gopher_repetition": {"max_top_ngrams": [[2, 2.0]], "max_duplicate_ngrams": [[5, 1.0]]},
    "gopher_quality": {"min_words": 0, "min_stop_words": 0},
    **({"language": {"keep": ["en"]}} if find_spec("py3langid") else {}),
}
WAYS_TO_PACK: tuple[dict[str, Any], ...] = (
    {"sequences": "full_sentences"},
    {"split": "fill", "max_waste": 0.0, "min_segment": 1, "cut": "sentence"},
    {},
    {"pairs": "nsp", "name": "pairs"},
    *([{"word_boundaries": "icu", "name": "words"}] if find_spec("icu4py") else []),
)
TOKENIZER: dict[str, Any] = {"vocab_size": 64, "min_frequency": 1, "max_words": 5}


def compile_kernels() -> None:
    """Prepare, verify and load a small dataset in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="maskmill-compile-") as folder:
        with open(os.path.join(folder, "text.txt"), "w", encoding="utf-8") as file:
            file.writelines(f"document {number} of a few words, {number * 'longer '}\n" for number in range(200))
        run = {
            "input": {"paths": [os.path.join(folder, "text.txt")], "text_document": "line"},
            "output": {"url": os.path.join(folder, "out")},
            "tokenizer": TOKENIZER,
            "pack": {"seq_len": 64},
            "mask": {"copies": 1},
            "engine": {"workers": 1},
        }
        beyond_uint16 = {**TOKENIZER, "vocab_size": 66_000, "unused": 1 << 16}
        wide = {**run, "tokenizer": beyond_uint16, "output": {"url": os.path.join(folder, "wide")}}
        for settings in (wide, *({**run, "pack": {"seq_len": 64, **pack}} for pack in WAYS_TO_PACK)):
            prepare(settings, replace="name" not in settings["pack"])
        brought = {"from": os.path.join(folder, "out", "tokenizer"), "extend": 3, "extend_into": "append"}
        with open(os.path.join(folder, "evaluation.txt"), "w", encoding="utf-8") as file:
            file.write("document 7 of a few words and some others, which no document has: so it is left out\n")
        compared = {"decontamination": {"paths": [file.name], "min_words": 1}}
        cleaned = {"filters": FILTERS | compared, "documents": {"near_duplicates": {}}}
        prepare({**run, **cleaned, "output": {"url": os.path.join(folder, "filtered")}}, up_to="shard")
        extended = {**run, "tokenizer": brought, "output": {"url": os.path.join(folder, "extended")}}
        prepare(extended, up_to="tokenizer")
        for name in ("out", "wide"):
            for _ in verify_output(open_store(os.path.join(folder, name)), progress=lambda *_: None):
                pass
            compile_loader(os.path.join(folder, name, "packed"))
        for name in ("packed-pairs", "packed-words"):
            if os.path.exists(os.path.join(folder, "out", name)):
                compile_loader(os.path.join(folder, "out", name))


def compile_loader(packed: str) -> None:
    """Load a packed dataset with stored masks in every way."""
    for masking in (Masking(), Masking(selection="bernoulli"), "static"):
        batches = MaskedBatches(packed, global_batch_rows=8, masking=masking)
        next(iter(batches.to_device("cpu")))
        maker = BatchMaker(
            batches.weigher, batches.most_predicted, batches.manifest.vocabulary.pad_id, torch.device("cpu")
        )
        rows = next(batches.iter_rows())  # what is sent to a GPU
        maker.write(rows, torch.empty(maker.lay_out(rows).capacity_bytes, dtype=torch.uint8))


if __name__ == "__main__":
    for package in (jobs, pipeline, schemas):
        compileall.compile_dir(package.__path__[0], quiet=1)
    compile_kernels()
