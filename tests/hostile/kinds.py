"""The table of kinds: what is mutated, in which trees, by whom it is read, how often in the fixed set."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.manifests import manifests_of
from tests.hostile.readers import READERS, REFUSED, SERVED, WRONG, Outcome
from tests.hostile.rows import values_of
from tests.hostile.sandbox import Result
from tests.hostile.shards import structure_of, structure_of_table, tables_of
from tests.hostile.trees import OUTPUT, Tree, link_tree

Draw = random.Random
Mutator = Callable[[Tree, Draw], str]


@dataclass(frozen=True)
class Kind:
    """One kind of mutation.

    Attributes:
        mutators: By name; seed n takes number n modulo their number.
        bases: The trees, drawn from.
        readers: Who reads the mutated tree, in this order.
        count: Mutations of the fixed set.
        without: What is deleted first, so that a job makes it from what is mutated.
        verified_by: The reader whose word binds the others: what it calls clean they must serve.
    """

    mutators: Mapping[str, Mutator]
    readers: tuple[str, ...]
    count: int
    bases: tuple[str, ...] = ("plain", "zstd", "lz4")
    without: tuple[str, ...] = ()
    verified_by: str | None = None


_PACKED = ("loader", "static", "cached", "verify packed")
_PREPARED = ("verify", "prepare")
KINDS: dict[str, Kind] = {
    "manifests": Kind(manifests_of("packed"), _PACKED, 300, verified_by="verify packed"),
    "blocks": Kind(structure_of("packed"), _PACKED, 500, verified_by="verify packed"),
    "rows": Kind(values_of("packed"), _PACKED, 300, verified_by="verify packed"),
    "tables": Kind(tables_of("packed"), _PACKED, 200, verified_by="verify packed"),
    "table-blocks": Kind(structure_of_table("packed"), _PACKED, 300, verified_by="verify packed"),
}


def run_case(case: str, bases: Path) -> Result:
    """Mutate a tree as a case says and let everyone read it."""
    name, _, number = case.partition(":")
    kind = KINDS[name]
    draw = random.Random(case)
    mutation = list(kind.mutators)[int(number) % len(kind.mutators)]
    root = Path(tempfile.mkdtemp(dir=bases.parent))
    result = Result(case)
    try:
        tree = Tree(link_tree(bases / draw.choice(kind.bases), root))
        for folder in kind.without:
            shutil.rmtree(tree.output / folder, ignore_errors=True)
        result.what = f"{mutation}: {kind.mutators[mutation](tree, draw)}".encode("unicode_escape").decode()
        os.chdir(root)
        outcomes = {reader: READERS[reader](root) for reader in kind.readers}
    finally:
        os.chdir("/")
        shutil.rmtree(root, ignore_errors=True)
    result.outcomes = {reader: outcome.how for reader, outcome in outcomes.items()}
    for reader, outcome in outcomes.items():
        result.faults += [f"{reader}: {fault}" for fault in outcome.faults]
    result.faults += _contradictions(kind, outcomes)
    result.detail = "\n".join(f"{reader}: {outcome.detail}" for reader, outcome in outcomes.items() if outcome.detail)
    return result


def _contradictions(kind: Kind, outcomes: Mapping[str, Outcome]) -> list[str]:
    """What one reader calls clean and another does not take."""
    if kind.verified_by is None or outcomes[kind.verified_by].how != SERVED:
        return []
    return [
        f"{kind.verified_by} says clean, {reader}: {outcome.detail[:200]}"
        for reader, outcome in outcomes.items()
        if outcome.how in (REFUSED, WRONG) and not (reader == "static" and "no stored masks" in outcome.detail)
    ]


__all__ = ["KINDS", "OUTPUT", "Kind", "run_case"]
