"""Texts for the laws of this folder: generated ones, corpora where there are any, and small tokenizers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import strategies as st

from maskmill.pipeline.wordpiece.encoding.hostile_text import FRAGMENTS

hostile_texts = st.one_of(
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join),
    st.text(max_size=30),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4)), max_size=8).map(" ".join),
)

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "Caf\u00e9s na\u00efvely r\u00e9sum\u00e9d; the fox slept in the cafe \u2014 quickly.",
    "\u4e2d\u6587\u5b57\u7b26 and \u30c6\u30b9\u30c8 mix with \u0420\u0443\u0441\u0441\u043a\u0438\u0439 words.",
    "Foxes, dogs & cats: sleeping, jumping, leaping; 3.14 and 2.71!",
]


def read_corpus(name: str, num_documents: int) -> list[str]:
    """The first documents of a corpus in the folder MASKMILL_CORPORA, or skip the test."""
    folder = os.environ.get("MASKMILL_CORPORA")
    if not folder:
        pytest.skip(f"MASKMILL_CORPORA is not set: corpus {name}")
    path = Path(folder) / f"{name}.jsonl.zst"
    if not path.exists():
        pytest.skip(f"no corpus {path}")
    texts: list[str] = []
    with pa.CompressedInputStream(str(path), "zstd") as stream:
        pending = b""
        while len(texts) < num_documents and (data := stream.read(1 << 20)):
            *lines, pending = (pending + data).split(b"\n")
            texts += [json.loads(line)["text"] for line in lines if line]
    return texts[:num_documents]
