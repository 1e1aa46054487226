"""`maskmill mask`: other static copies of finished rows, as if the rows had been packed with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from maskmill.pipeline.loader import MaskedBatches, Masking
from maskmill.schemas.errors import ConfigError, StaleArtifactError
from tests.integration.conftest import Undisturbed
from tests.integration.runs import (
    Ended,
    list_leftovers,
    prepare,
    read_tree,
    run_maskmill,
    set_options,
    units_done,
    write_run_file,
)
from tests.integration.shards import read_manifest, read_shards
from tests.loader.streams import hash_batches

SETTINGS = {
    "span": ["mask.strategy=span", "mask.rate=0.2", "mask.copies=3"],
    "protected": ["mask.protect=['e', '[UNK]']", "mask.copies=1"],
    "bernoulli": ["mask.selection=bernoulli", "mask.copies=2"],
    "none": ["mask.copies=0"],
}
QUICK = ("span",)
VERSION = {"shards_folder", "rows_fingerprint", "run_fingerprint", "fingerprint"}


def mask(dataset: Path, *sets: str, workers: int = 1) -> Ended:
    """`maskmill mask`; fails unless it ends well."""
    options = [one for one in sets if one.startswith("--")]
    settings = [one for one in sets if not one.startswith("--")]
    ended = run_maskmill("mask", dataset, *set_options([*settings, f"engine.workers={workers}"]), *options)
    assert ended.status == 0, ended.stderr
    return ended


def versions_of(dataset: Path) -> list[Path]:
    return sorted(dataset.glob("masks-*"))


@pytest.fixture
def output(undisturbed: Undisturbed, tmp_path: Path) -> Path:
    """A copy of an output whose rows have two static copies of the strategy `token`."""
    return Path(shutil.copytree(undisturbed.output, tmp_path / "out"))


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one in QUICK else pytest.mark.long) for one in SETTINGS]
)
def test_the_rows_are_those_that_packing_with_these_settings_writes(
    undisturbed: Undisturbed, output: Path, tmp_path: Path, name: str
) -> None:
    mask(output / "packed", *SETTINGS[name], workers=2)
    anew = write_run_file(tmp_path / "anew.toml", undisturbed.corpus_folder, tmp_path / "anew")
    prepare(anew, *SETTINGS[name])
    found, expected = read_manifest(output / "packed"), read_manifest(tmp_path / "anew" / "packed")
    version = output / "packed" / found["shards_folder"]
    assert read_shards(version) == read_shards(tmp_path / "anew" / "packed")
    packed = read_tree(tmp_path / "anew", ["packed"])
    assert read_tree(version.parent, [version.name]) == {
        f"{version.name}/{Path(path).name}": data for path, data in packed.items() if path.endswith(".arrow")
    }
    assert {key: value for key, value in found.items() if key not in VERSION} == {
        key: value for key, value in expected.items() if key not in VERSION
    }
    assert list_leftovers(output) == []
    for place in (output, output / "packed"):
        verified = run_maskmill("verify", place)
        assert verified.status == 0, verified.stdout


def test_a_loader_reads_the_new_copies(output: Path) -> None:
    mask(output, "mask.strategy=ngram")
    stored = MaskedBatches(str(output / "packed"), global_batch_rows=8, masking="static").epochs(2)
    drawn = MaskedBatches(str(output / "packed"), global_batch_rows=8).epochs(2)
    assert drawn.masking == Masking(strategy="ngram")
    assert hash_batches(stored) == hash_batches(drawn)
