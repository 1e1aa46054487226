"""What differs between two run files is found by its key, whichever of them has it."""

from __future__ import annotations

from typing import Any

from maskmill.pipeline.run.describe_run import find_differing
from maskmill.schemas.run_file import RunFile


def make_run_file(**pack: Any) -> RunFile:
    return RunFile.model_validate({"input": {"paths": ["a.txt"]}, "output": {"url": "out"}, "pack": pack})


def test_keys_of_pairs_differ_from_a_file_without_pairs() -> None:
    plain, pairs = make_run_file(), make_run_file(pairs="nsp", duplicates=3)
    assert find_differing(pairs, plain) == {"pack.pairs": ("nsp", None), "pack.duplicates": (3, 1)}
    assert find_differing(plain, pairs) == {"pack.pairs": (None, "nsp"), "pack.duplicates": (1, 3)}
    assert find_differing(pairs, pairs) == {}
    assert find_differing(make_run_file(pairs="sop"), pairs) == {
        "pack.pairs": ("sop", "nsp"),
        "pack.duplicates": (1, 3),
    }


def test_keys_of_tables_of_input_differ_from_a_file_without_them() -> None:
    one, two = {"paths": ["a.txt"], "share": 0.5}, {"paths": ["b.txt"], "format": "txt"}
    changed = {**one, "share": 0.4}
    alone, both = (
        RunFile.model_validate({"input": tables, "output": {"url": "out"}}) for tables in ([one], [changed, two])
    )
    found = find_differing(both, alone)
    assert (found["input.share"], found["input.2.paths"], found["input.2.format"]) == (
        (0.4, 0.5),
        (["b.txt"], None),
        ("txt", None),
    )
    assert find_differing(alone, both) == {key: (theirs, ours) for key, (ours, theirs) in found.items()}
