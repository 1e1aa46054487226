"""What version 0.2 wrote and served is written and served by every later version, byte for byte.

A digest that differs here means: datasets of earlier versions no longer equal those made now, or a training run that
resumes sees other batches. Where that is wanted, the changelog says so, and `python -m tests.integration.record_bytes`
records again; nothing else is a reason to run it. What the digests leave out, and why, is said there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.record_bytes import (
    RECORDED,
    RUNS,
    STREAMS,
    Digests,
    digest_fixed_batches,
    digest_output,
    digest_stream,
    list_versions,
    write_outputs,
)

pytestmark = pytest.mark.long
pytest.importorskip("nanotoken", reason="recorded with nanotoken: manifests count which documents it encoded")


@pytest.fixture(scope="module")
def recorded() -> Any:
    """What was recorded."""
    return json.loads(RECORDED.read_bytes())


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory, whole_proofs: None) -> Path:
    """The folder of the outputs of all runs."""
    return write_outputs(tmp_path_factory.mktemp("bytes"))


@pytest.mark.parametrize("run", RUNS)
def test_files_stay(run: str, outputs: Path, recorded: Any) -> None:
    assert_same(digest_output(outputs / run), recorded["outputs"][run], recorded)


@pytest.mark.parametrize("name", STREAMS)
def test_batches_stay(name: str, outputs: Path, recorded: Any) -> None:
    """The second half of them is read from the recorded state: one that a user may have kept."""
    state = recorded["states"][name]
    digests, left_with = digest_stream(STREAMS[name], outputs, state)
    assert left_with == state
    assert_same(digests, recorded["batches"][name], recorded)


def test_batches_for_evaluation_stay(outputs: Path, recorded: Any) -> None:
    assert_same(digest_fixed_batches(outputs), recorded["fixed batches"], recorded)


def assert_same(found: Digests, expected: Digests, recorded: Any) -> None:
    """Fail unless digests are equal, naming only what differs, and libraries that are not those of the record."""
    different = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    was, now = recorded["libraries"], list_versions()
    libraries = [f"{name} {was[name]}, now {now[name]}" for name in was if was[name] != now[name]]
    assert not different, f"these differ: {', '.join(different)}; recorded with {', '.join(libraries) or 'the same'}"
