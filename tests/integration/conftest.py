"""A corpus and an undisturbed run over it, made once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.runs import Events, prepare, read_tree, write_run_file
from tests.integration.synthetic_corpus import Corpus, make_corpus


@dataclass(frozen=True)
class Undisturbed:
    """What one worker wrote without a disturbance; nobody may change it.

    Attributes:
        corpus: What it was made from.
        corpus_folder: Where that lies.
        run_file: With which settings.
        output: The run's output.
        events: What the run said.
        tree: Every file of it.
    """

    corpus: Corpus
    corpus_folder: Path
    run_file: Path
    output: Path
    events: Events
    tree: dict[str, bytes]


@pytest.fixture(scope="session", autouse=True)
def _import_from_here() -> Iterator[None]:
    """What is started in another folder finds maskmill too."""
    with pytest.MonkeyPatch.context() as patch:
        given = os.environ.get("PYTHONPATH")  # an empty part of it would stand for the working folder
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), *([given] if given else [])]))
        yield


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The synthetic corpus, prepared by the local engine with one worker."""
    folder = tmp_path_factory.mktemp("undisturbed")
    corpus = make_corpus()
    corpus_folder = corpus.write(folder / "corpus")
    run_file = write_run_file(folder / "run.toml", corpus_folder, folder / "out")
    ended = prepare(run_file)
    return Undisturbed(corpus, corpus_folder, run_file, folder / "out", ended.events, read_tree(folder / "out"))
