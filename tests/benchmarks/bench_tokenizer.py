"""The tokenizer part of a run with two workers, against `WordPieceTrainer` with two threads."""

from __future__ import annotations

import functools
import os

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import prepare
from maskmill.schemas.tokenizer.tokenizer_file import SPECIAL_TOKENS
from tests.benchmarks.measuring import Figure, find_text, make_run_file, read_texts, seconds_of

VOCAB_SIZE = 30_522


def measure(scratch: str) -> list[Figure]:
    """Words counted and merged, pieces trained, the report made; from document shards to a tokenizer folder."""
    path, name = find_text("eltec-eng", scratch)
    settings = make_run_file([path], os.path.join(scratch, "tokenizer"), workers=2)
    text_bytes = prepare(settings, str, Part.TOKENIZER).documents[0].text_bytes  # compiles, and proves the encoder
    seconds = []
    for repeat in range(2):
        fresh = make_run_file([path], os.path.join(scratch, f"tokenizer-{repeat}"), workers=2)
        prepare(fresh, str, Part.SHARD)
        seconds.append(seconds_of(functools.partial(prepare, fresh, str, Part.TOKENIZER)))
    texts = read_texts(path)

    def train_theirs() -> None:
        tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL_TOKENS[1]))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=VOCAB_SIZE, special_tokens=list(SPECIAL_TOKENS), show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer, length=len(texts))

    theirs = seconds_of(train_theirs)
    work = f"count words and train {VOCAB_SIZE:,} pieces, two workers, {name}, {text_bytes / 1e6:.0f} MB"
    megabytes = text_bytes / 1e6
    return [Figure(work, megabytes / min(seconds), "WordPieceTrainer, two threads", megabytes / theirs, "MB/s")]
