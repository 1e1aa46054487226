"""The exported folder's tokenizer is the dataset's, settings included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.training.build_model import build_model
from maskmill.pipeline.training.export_model import export_model
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import build_tokenizer, tokenizer_files
from tests.training.small_runs import PAD, SPECIAL_TOKENS, make_config

PIECES = [*SPECIAL_TOKENS, "café", "cafe", "Café", "Cafe", "中", "文", "中文", "x", "##y"]
TEXT = "Café café 中文 xy [MASK]"


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [
        (Normalisation(), ["cafe", "cafe", "中", "文", "x", "##y", "[MASK]"]),
        (Normalisation(strip_accents=False), ["café", "café", "中", "文", "x", "##y", "[MASK]"]),
        (Normalisation(False, True, False), ["Cafe", "cafe", "中文", "x", "##y", "[MASK]"]),
        (Normalisation(False, None, True), ["Café", "café", "中", "文", "x", "##y", "[MASK]"]),
    ],
)
def test_the_exported_tokenizer_is_the_prepared_one(tmp_path, normalisation, expected):
    files = tokenizer_files(build_tokenizer(PIECES, normalisation), model_max_length=12)
    model = build_model(make_config("o").model, vocab_size=len(PIECES), seq_len=12, pad_id=PAD, seed=0)
    url = export_model(open_store(str(tmp_path)), model, tokenizer_json=files["tokenizer.json"], seq_len=12)
    exported = json.loads((Path(url) / "tokenizer_config.json").read_bytes())
    assert exported == json.loads(files["tokenizer_config.json"])
    assert AutoTokenizer.from_pretrained(url).tokenize(TEXT) == expected
