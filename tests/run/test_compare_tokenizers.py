"""Tokenizers to compare with: what is wrong with one of them is said with its own name."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmill.pipeline.run.compare_tokenizers import load_compared
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.run_file import RunFile

GOOD = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [("vocab.txt", GOOD + "a\n"), ("other.txt", GOOD.replace("[MASK]", "b")), ("tokenizer.json", "{}")],
)
def test_a_tokenizer_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: str) -> None:
    settings = RunFile.model_validate({"input": {"paths": ["x"]}, "output": {"url": str(tmp_path / "out")}})
    (tmp_path / "good.txt").write_text(GOOD)
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_compared(settings, [str(tmp_path / "good.txt"), str(tmp_path / name)])
    assert caught.value.path == str(tmp_path / name)
