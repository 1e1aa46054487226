"""Arrow files are read in one place, record batches in another: no other module reads them, or looks at buffers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READERS = {
    "pipeline/corpus/formats/arrow_ipc.py",  # raw text of others; each column it takes is validated
    "pipeline/storage/arrow_batches.py",
    "pipeline/storage/arrow_reader.py",
}
READS = {
    "open_file",
    "open_stream",
    "read_message",
    "read_record_batch",
    "read_schema",
    "read_tensor",
    "RecordBatchFileReader",
    "RecordBatchStreamReader",
    "MessageReader",
    "read_feather",
    "read_table",
}
VIEWS = {
    "pipeline/storage/arrow_views.py",
    "pipeline/wordpiece/counting/pack_words.py",
    "pipeline/wordpiece/counting/word_arrays.py",
}
"""Modules that look at buffers: those of words are given arrays that the reader validated, or that Arrow made here."""
MODULES = sorted(
    str(path.relative_to(ROOT)) for folder in ("schemas", "pipeline", "jobs") for path in (ROOT / folder).rglob("*.py")
)


def attributes_of(module: str) -> set[str]:
    """Every attribute that a module names, and every name that it imports from pyarrow."""
    tree = ast.parse((ROOT / module).read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyarrow")
        for alias in node.names
    }
    return imported | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("module", [module for module in MODULES if module not in READERS])
def test_no_other_module_reads_arrow_files(module: str) -> None:
    used = attributes_of(module)
    assert not used & READS
    assert "buffers" not in used or module in VIEWS


def test_the_readers_are_found_by_this_test() -> None:
    assert {"open_file", "read_record_batch", "read_message"} <= set.union(*map(attributes_of, READERS))
