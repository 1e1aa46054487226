"""Document shards to packed shards on one core, against the `run_mlm.py` way with `datasets.map`; pairs beside them."""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa

from maskmill.pipeline.packing import prepare_encoder
from maskmill.pipeline.run.make_rows import make_rows
from maskmill.pipeline.run.open_run import open_run
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import Prepared, prepare
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.layout import DataSplit, packed_folders
from maskmill.schemas.run_file import Cut, Pairs, RunFile
from tests.benchmarks.measuring import Figure, find_text, make_run_file, seconds_of

PEER_BYTES = 16_000_000
SEQ_LEN = 512
OTHER_WAYS: dict[str, dict[str, Any]] = {
    "cut at sentences": {"cut": Cut.SENTENCE},
    "NSP pairs": {"pairs": Pairs.NSP},
    "SOP pairs": {"pairs": Pairs.SOP},
    "NSP pairs, 10 duplicates": {"pairs": Pairs.NSP, "duplicates": 10},
}


def measure(scratch: str) -> list[Figure]:
    """The pack stage, encoding and its proof by sample included."""
    path, name = find_text("eltec-eng", scratch)
    output = os.path.join(scratch, "packing")
    settings = make_run_file([path], output, workers=1)
    prepared = prepare(settings, str, Part.TOKENIZER)
    ours, ratio = _pack(settings, prepared), {}
    for number, (way, pack) in enumerate(OTHER_WAYS.items()):
        named = settings.pack.model_copy(update={"name": f"way{number}", **pack})
        ratio[way] = _pack(settings.model_copy(update={"pack": named}), prepared)
    theirs = _measure_run_mlm(output)
    work = f"documents to rows of {SEQ_LEN}, {name}, {prepared.documents[0].text_bytes / 1e6:.0f} MB"
    lines = [Figure(work, ours, "datasets.map, the run_mlm.py way", theirs, "MB/s")]
    return lines + [Figure(f"the same, {way}", found, "single segments", ours, "MB/s") for way, found in ratio.items()]


def _pack(settings: RunFile, prepared: Prepared) -> float:
    """MB/s of the pack stage."""
    assert prepared.tokenizer is not None
    tokenizer, text_bytes = prepared.tokenizer, prepared.documents[0].text_bytes
    with open_run(settings, str) as run:

        def pack_again() -> None:
            prepare_encoder._load_fast.cache_clear()  # a cold encoder: its cache of words makes a second pass quicker
            run.output.delete_tree(packed_folders(settings.pack, DataSplit.TRAIN)[SEQ_LEN])
            make_rows(run, prepared.documents, tokenizer)

        pack_again()  # compiles
        return text_bytes / 1e6 / seconds_of(pack_again, repeats=3)


def _measure_run_mlm(output: str) -> float:
    """Tokenise with `return_special_tokens_mask`, concatenate, cut into rows: what `run_mlm.py` does by default."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(os.path.join(output, "tokenizer"))
    store = open_store(os.path.join(output, "documents"))
    with pa.memory_map(store.full("shard-00000.arrow")) as file:
        texts = pa.ipc.open_file(file).read_all().column("text").to_pylist()
    taken, text_bytes = [], 0
    for text in texts:
        if text_bytes >= PEER_BYTES:
            break
        taken.append(text)
        text_bytes += len(text.encode())
    dataset = Dataset.from_dict({"text": taken})

    def tokenize(examples: dict[str, Any]) -> Any:
        return tokenizer(examples["text"], return_special_tokens_mask=True)

    def group(examples: dict[str, Any]) -> dict[str, Any]:
        joined = {key: [value for row in rows for value in row] for key, rows in examples.items()}
        total = len(joined["input_ids"]) // SEQ_LEN * SEQ_LEN
        return {key: [values[i : i + SEQ_LEN] for i in range(0, total, SEQ_LEN)] for key, values in joined.items()}

    def work() -> None:
        tokenized = dataset.map(tokenize, batched=True, remove_columns=["text"], load_from_cache_file=False)
        tokenized.map(group, batched=True, load_from_cache_file=False)

    return text_bytes / 1e6 / seconds_of(work)
