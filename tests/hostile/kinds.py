"""The table of kinds: what is mutated, in which trees, by whom it is read, how often in the fixed set."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.checkpoints import CHECKPOINTS, STATES, STRICT
from tests.hostile.files import RUN_FILES, SPECIAL_FILES, TRAIN_FILES
from tests.hostile.manifests import manifests_of
from tests.hostile.oracle import find_invalid_block
from tests.hostile.readers import READERS, REFUSED, SERVED, WRONG, Outcome
from tests.hostile.rows import values_of
from tests.hostile.sandbox import Begin, Result
from tests.hostile.shards import structure_of, structure_of_table, tables_of
from tests.hostile.tokenizers import BROUGHT, STORED
from tests.hostile.trees import STOPPED_BEHIND, Tree, copy_tree
from tests.hostile.word_pages import PAGES
from tests.hostile.words import CORPUS, RECEIPTS, WORD_COUNTS

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
        without: By reader, what is deleted before it reads, so that a job makes it from what is mutated.
        strict: Mutations that must be refused by the last reader.
        verified_by: The reader whose word binds the others: what it calls clean they must serve.
        goes_on: Whether that reader must tell of what is mutated among its findings, and go on with the next shard.
        part: The folder whose blocks no command may take unless Arrow does.
        below: The folder that is all they read.
    """

    mutators: Mapping[str, Mutator]
    readers: tuple[str, ...]
    count: int
    bases: tuple[str, ...] = ("plain", "zstd", "lz4")
    without: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    strict: tuple[str, ...] = ()
    verified_by: str | None = None
    goes_on: bool = False
    part: str | None = None
    below: str = "."


_PACKED = ("loader", "static", "cached", "verify packed")
_TABLES = ("loader", "cached", "verify packed")
"""Who reads stored masks reads the same table in the same way."""
_MADE_OF_DOCUMENTS = ("out/tokenizer", "out/encoded", "out/encoded-heldout", "out/packed", "out/packed-heldout")
_ROWS = ("out/packed", "out/packed-heldout")
SHARE_NOT_CACHED = 0.85
"""Of mutations that are not read through the cache too: the blocks are checked by the same code."""
COMMANDS = ("verify", "verify packed", "prepare")
_ANEW = {"prepare shown": ("out",)}
_STOPPED = tuple(f"stopped-{stage}" for stage in STOPPED_BEHIND)


def _packed(
    mutators: Mapping[str, Mutator], count: int, goes_on: bool = False, readers: tuple[str, ...] = _PACKED
) -> Kind:
    return Kind(
        mutators, readers, count, verified_by="verify packed", goes_on=goes_on, part="packed", below="out/packed"
    )


def _made(part: str, mutators: Mapping[str, Mutator], count: int, without: tuple[str, ...]) -> Kind:
    readers = ("verify", "prepare")
    return Kind(mutators, readers, count, ("plain",), {"prepare": without}, verified_by="verify", part=part)


KINDS: dict[str, Kind] = {
    "manifests": _packed(manifests_of("packed"), 120),
    "blocks": _packed(structure_of("packed"), 216, goes_on=True),
    "rows": _packed(values_of("packed"), 110, goes_on=True),
    "tables": _packed(tables_of("packed"), 96, readers=_TABLES),
    "table-blocks": _packed(structure_of_table("packed"), 216, readers=_TABLES),
    "parts": Kind(
        manifests_of("documents", "documents-heldout", "encoded", "encoded-heldout", "tokenizer", "packed-heldout"),
        ("verify", "report", "prepare", "train"),
        18,
    ),
    "documents": _made("documents", structure_of("documents") | values_of("documents"), 21, _MADE_OF_DOCUMENTS),
    "document-tables": _made(
        "documents", structure_of_table("documents") | tables_of("documents"), 24, _MADE_OF_DOCUMENTS
    ),
    "encoded": _made("encoded", structure_of("encoded") | values_of("encoded"), 20, _ROWS),
    "encoded-tables": _made("encoded", structure_of_table("encoded") | tables_of("encoded"), 24, _ROWS),
    "word-counts": Kind(
        WORD_COUNTS,
        ("verify", "prepare"),
        9,
        ("plain",),
        {"prepare": ("out/tokenizer/manifest.json", *_MADE_OF_DOCUMENTS[1:])},
    ),
    "word-pages": Kind(PAGES, ("word counts",), 70, ("plain",), below="out/tokenizer"),
    "receipts": Kind(RECEIPTS, ("prepare", "verify"), 32, _STOPPED),
    "tokenizers": Kind(
        STORED,
        ("verify", "train", "prepare"),
        27,
        ("plain",),
        {"train": ("training",), "prepare": ("out/encoded", *_ROWS)},
        verified_by="verify",
    ),
    "brought": Kind(BROUGHT, ("prepare shown",), 18, ("plain",), _ANEW),
    "corpora": Kind(CORPUS, ("prepare shown", "verify", "report"), 3, ("plain",), _ANEW),
    "run-files": Kind(RUN_FILES, ("prepare shown",), 40, ("plain",), _ANEW),
    "train-files": Kind(TRAIN_FILES, ("train",), 80, ("plain",)),
    "checkpoints": Kind(CHECKPOINTS, ("train",), 110, ("plain",), strict=STRICT),
    "states": Kind(STATES, ("state",), 110, ("plain",)),
    "special-files": Kind(
        SPECIAL_FILES,
        ("loader", "static", "verify", "report", "train", "prepare"),
        7,
        ("plain",),
        {"prepare": ("out/packed-heldout",)},
    ),
}


def run_case(case: str, begin: Begin, bases: Path) -> Result:
    """Mutate a tree as a case says and let everyone read it."""
    name, _, number = case.partition(":")
    kind = KINDS[name]
    draw = random.Random(case)
    mutation = list(kind.mutators)[int(number) % len(kind.mutators)]
    root = Path(tempfile.mkdtemp(dir=bases.parent))
    result = Result(case)
    try:
        tree = Tree(copy_tree(bases / draw.choice(kind.bases), root, kind.below))
        result.what = f"{mutation}: {kind.mutators[mutation](tree, draw)}".encode("unicode_escape").decode()
        os.chdir(root)
        begin(result.what)
        outcomes = {}
        for reader in kind.readers:
            if reader == "cached" and draw.random() < SHARE_NOT_CACHED:
                continue
            _drop(root, kind.without.get(reader, ()))
            outcomes[reader] = outcome = READERS[reader](root)
            if kind.part and reader in COMMANDS and outcome.how == SERVED:
                invalid = find_invalid_block(tree.output, kind.part)
                outcome.faults += [f"took what Arrow refuses: {invalid}"] if invalid else []
    finally:
        os.chdir("/")
        shutil.rmtree(root, ignore_errors=True)
    result.outcomes = {reader: outcome.how for reader, outcome in outcomes.items()}
    for reader, outcome in outcomes.items():
        result.faults += [f"{reader}: {fault}" for fault in outcome.faults]
    result.faults += _contradictions(kind, outcomes)
    if mutation in kind.strict and outcomes[kind.readers[-1]].how == SERVED:
        result.faults.append(f"{kind.readers[-1]}: taken silently")
    result.detail = "\n".join(f"{reader}: {outcome.detail}" for reader, outcome in outcomes.items() if outcome.detail)
    return result


def _drop(root: Path, paths: tuple[str, ...]) -> None:
    """Delete what a job then makes of what is mutated."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()


def _contradictions(kind: Kind, outcomes: Mapping[str, Outcome]) -> list[str]:
    """What one reader calls clean and another does not take."""
    if kind.verified_by is None:
        return []
    verified = outcomes[kind.verified_by]
    if kind.goes_on and verified.how == REFUSED:
        return [f"{kind.verified_by} stops at the first fault: {verified.detail[:200]}"]
    if verified.how != SERVED:
        return []
    return [
        f"{kind.verified_by} says clean, {reader}: {outcome.detail[:200]}"
        for reader, outcome in outcomes.items()
        if outcome.how in (REFUSED, WRONG) and not (reader == "static" and "no stored masks" in outcome.detail)
    ]
