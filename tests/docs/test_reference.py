"""The reference pages are what the schemas and the command line say."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from maskmill.schemas.explain_values import fields_of, section_of
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


def iter_keys(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """The keys of a file with the sections that they are in; of a section that the file has too, only its name."""
    for key, field in fields_of(model).items():
        section = section_of(field)
        if section is None or (above and section in map(section_of, RunFile.model_fields.values())):
            yield f"{above}{key}"
        else:
            yield from iter_keys(section, f"{above}{key}.")


def test_every_key_of_the_run_file_has_its_place(pages: dict[str, str]) -> None:
    headings = re.findall(r"^### `(.+)`$", pages["docs/reference/run-file.md"], re.MULTILINE)
    keys = set(iter_keys(RunFile))
    assert set(headings) == keys
    assert len(headings) == len(keys)
