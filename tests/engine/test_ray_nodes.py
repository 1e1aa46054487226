"""On several nodes: units spread over them, and a node that does not see inputs and output is named before."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from maskmill.pipeline.engine.stage import run_stage
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError
from tests.engine import units
from tests.engine.foggy_store import NODE_VARIABLE, FoggyStore

pytest.importorskip("ray")


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Any, list[str]]]:
    """The engine on a head without cores and two nodes; the second one sees files of its own."""
    before = dict(os.environ)
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    from maskmill.pipeline.engine.ray_engine import RayEngine

    cluster = Cluster(
        initialize_head=True,
        connect=False,
        head_node_args={"num_cpus": 0, "include_dashboard": False},
    )
    clear = cluster.add_node(num_cpus=1)
    foggy = cluster.add_node(num_cpus=1, env_vars={NODE_VARIABLE: "-elsewhere"})
    engine = RayEngine(address=cluster.address)
    try:
        yield engine, [clear.node_id, foggy.node_id]
    finally:
        engine.close()
        assert not ray.is_initialized()
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


def test_nodes_that_see_everything_pass_the_probe(nodes: tuple[Any, list[str]], tmp_path: Path) -> None:
    engine, _ = nodes
    store = open_store(str(tmp_path / "out"))
    (tmp_path / "input.jsonl").write_text("{}")
    (tmp_path / "empty.jsonl").touch()
    engine.probe(store, [str(tmp_path / "input.jsonl")])
    engine.probe(store, [str(tmp_path / "empty.jsonl")])
    engine.probe(store, [])
    assert store.list() == []


def test_a_node_with_files_of_its_own_is_named(nodes: tuple[Any, list[str]], tmp_path: Path) -> None:
    engine, (clear, foggy) = nodes
    store = FoggyStore(str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="cannot do its work") as caught:
        engine.probe(store, [])
    assert foggy[:8] in str(caught.value)
    assert clear[:8] not in str(caught.value)
    assert caught.value.path == f"{store.display_url}-elsewhere"  # as that node calls it
    assert store.list() == []


def test_what_ends_by_itself_is_not_cancelled(
    nodes: tuple[Any, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray aborts its driver where a task is cancelled in the instant in which its answer arrives."""
    import ray

    engine, _ = nodes
    cancelled: list[Any] = []
    monkeypatch.setattr(ray, "cancel", lambda reference, **_: cancelled.append(reference))
    with pytest.raises(ConfigError, match="cannot do its work"):
        engine.probe(FoggyStore(str(tmp_path / "out")), [])
    pending = [units.Square(stage="square", unit=number, number=number) for number in range(8)]
    with contextlib.closing(engine.run(units.fail, str(tmp_path / "log"), open_store(str(tmp_path)), pending)) as run:
        next(run)
    assert not cancelled


def test_a_node_that_does_not_see_an_input_is_named_with_it(nodes: tuple[Any, list[str]], tmp_path: Path) -> None:
    engine, _ = nodes
    missing = str(tmp_path / "only-on-the-driver.jsonl")
    with pytest.raises(ConfigError, match="cannot do its work") as caught:
        engine.probe(open_store(str(tmp_path / "out")), [missing])
    assert caught.value.path == missing


def test_units_run_on_every_node(nodes: tuple[Any, list[str]], tmp_path: Path) -> None:
    engine, _ = nodes
    store = open_store(str(tmp_path / "out"))
    pending = [units.Square(stage="square", unit=number, number=number) for number in range(8)]
    stage = units.stage_of(units.tell_node)
    receipts = run_stage(engine, stage, str(tmp_path / "log"), store, pending, lambda _: None)
    seen = {receipt.details.node for receipt in receipts}
    assert seen == {"", "-elsewhere"}


def test_a_task_carries_the_name_of_its_stage_and_the_number_of_its_unit(
    nodes: tuple[Any, list[str]], tmp_path: Path
) -> None:
    engine, _ = nodes
    store = open_store(str(tmp_path / "out"))
    pending = [units.Square(stage="square", unit=number, number=number) for number in range(3)]
    stage = units.stage_of(units.tell_task_name)
    receipts = run_stage(engine, stage, str(tmp_path / "log"), store, pending, lambda _: None)
    names = [receipt.details.task for receipt in receipts]
    assert names == ["square-0", "square-1", "square-2"]
