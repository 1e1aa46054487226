"""The reference pages are what the schemas and the command line say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from maskmill.schemas.run_file import RunFile

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "infra" / "write_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written: dict[str, str] = module.write_pages()
    return written


def test_the_pages_are_those_that_are_written(pages: dict[str, str]) -> None:
    for path, text in pages.items():
        assert (ROOT / path).read_text() == text, f"python infra/write_reference.py writes another {path}"


def test_every_key_of_the_run_file_has_its_place(pages: dict[str, str]) -> None:
    headings = re.findall(r"^### `(.+)`$", pages["docs/reference/run-file.md"], re.MULTILINE)
    keys = {
        f"{section}.{field.alias or name}"
        for section, kind in RunFile.model_fields.items()
        for name, field in kind.annotation.model_fields.items()
    }
    assert set(headings) == keys
    assert len(headings) == len(keys)
