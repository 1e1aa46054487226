"""Text to token ids on one core, against `tokenizers` on one thread."""

from __future__ import annotations

import os

from maskmill.pipeline.wordpiece.encoding.load_encoders import SpecialInText, load_fast_encode, load_law
from tests.benchmarks.measuring import Figure, find_text, read_texts, seconds_of, train_tokenizer

PEER_BYTES = 16_000_000


def measure(scratch: str) -> list[Figure]:
    """Every text of a corpus with an encoder that has met no word yet; the peer on its first 16 MB."""
    path, name = find_text("eltec-eng", scratch)
    tokenizer_json = train_tokenizer([path], os.path.join(scratch, "packing"))
    texts = read_texts(path)
    text_bytes = sum(len(text.encode()) for text in texts)

    def encode_cold() -> None:
        load_fast_encode(tokenizer_json, SpecialInText.TEXT)(texts)

    ours = text_bytes / 1e6 / seconds_of(encode_cold, repeats=3)
    law = load_law(tokenizer_json, SpecialInText.TEXT)
    some = read_texts(path, PEER_BYTES)
    seconds = seconds_of(lambda: law.encode_batch_fast(some, add_special_tokens=False), repeats=2)
    theirs = sum(len(text.encode()) for text in some) / 1e6 / seconds
    work = f"encode, cold, {name}, {text_bytes / 1e6:.0f} MB"
    return [Figure(work, ours, "tokenizers encode_batch_fast, ids not read out", theirs, "MB/s")]
