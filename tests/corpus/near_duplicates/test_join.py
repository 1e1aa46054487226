"""Stars over partitions give the connected components, whatever the partitions and however little fits into memory."""

from __future__ import annotations

import random
import uuid
from itertools import pairwise
from unittest.mock import patch

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.corpus.near_duplicates import records
from maskmill.pipeline.corpus.near_duplicates.join_stage import CHANGED, JOIN
from maskmill.pipeline.corpus.near_duplicates.locate_stage import LARGEST_CLUSTERS, LOCATE, SHOWN_MEMBERS, Cluster
from maskmill.pipeline.corpus.near_duplicates.match_stage import MATCH, point_both_ways
from maskmill.pipeline.corpus.near_duplicates.plan import MatchUnit, plan_join_units, plan_locate_units, written_by
from maskmill.pipeline.corpus.near_duplicates.records import Partition, Written, records_path, write_records
from maskmill.pipeline.corpus.plan import SortUnit
from maskmill.pipeline.engine.local_engine import LocalEngine
from maskmill.pipeline.engine.receipts import write_receipt
from maskmill.pipeline.engine.stage import run_stage
from maskmill.pipeline.engine.units import UnitDescription, UnitOutcome
from maskmill.pipeline.storage.store import Store
from tests.corpus.run_stages import make_context

Edge = tuple[int, int]
PLACES = 7
"""Several documents have one place: then their numbers decide."""


def document_of(node: int) -> tuple[int, int]:
    """Place and number: not in the same order."""
    return node // PLACES, (node * 11 % 2**20) << 12 | node % PLACES


def write_edges(output: Store, edges: list[Edge], num_partitions: int) -> Written:
    pairs = [(*document_of(one), *document_of(other)) for one, other in edges if one != other]
    piece = point_both_ways(np.array(pairs, np.uint64).reshape(-1, 4), num_partitions)
    details = write_records(output, "match", 0, num_partitions, [piece])
    write_receipt(output, UnitDescription(stage="match", unit=0), UnitOutcome([], {}, details))
    return Written(stage="match", first_unit=0, stop_unit=1, num_partitions=num_partitions)


def join(
    edges: list[Edge], num_partitions: int, pass_records: int
) -> tuple[dict[tuple[int, int], tuple[int, int]], list[Cluster], int]:
    """Where each document leads, the largest clusters, and how many stars it took."""
    context = make_context({"a.txt": b"x"}, {"documents": {"near_duplicates": {}}}, f"memory://{uuid.uuid4().hex}")
    engine, output = LocalEngine(1), context.output
    found = {}
    with (
        patch.object(records, "MAX_PASS_RECORDS", pass_records),
        patch.object(records, "MAX_RUN_RECORDS", 2 * pass_records),
    ):
        written, still, step = write_edges(output, edges, num_partitions), 0, 0
        while still < 2 or step % 2:
            done = run_stage(engine, JOIN, context, output, plan_join_units(written, step), lambda _: None)
            still = 0 if sum(receipt.counts[CHANGED] for receipt in done) else still + 1
            written = written_by(done.units, num_partitions)
            step += 1
        for number in range(num_partitions):
            for chunk in Partition(output, written, number).read():
                for place, row, other_place, other_row in chunk.tolist():
                    if (other_place, other_row) < (place, row):
                        assert (place, row) not in found, "a document with two targets"
                        found[place, row] = other_place, other_row
        sort_unit = SortUnit(
            unit=0, held_out=False, num_shards=1, first_shard=0, stop_shard=1, buckets=(), num_buckets=1
        )
        units = plan_locate_units(written, [], [sort_unit])
        units = [unit.model_copy(update={"first_shards": (0,)}) for unit in units]
        located = run_stage(engine, LOCATE, context, output, units, lambda _: None)
        clusters = sorted((one for receipt in located for one in receipt.details.largest), key=lambda one: one.rank)
        assert sum(receipt.counts["near_duplicates"] for receipt in located) == len(found)
    return found, clusters[:LARGEST_CLUSTERS], step


def assert_components(edges: list[Edge], num_partitions: int, pass_records: int) -> int:
    found, clusters, steps = join(edges, num_partitions, pass_records)
    graph = nx.Graph((document_of(one), document_of(other)) for one, other in edges if one != other)
    components = [sorted(component) for component in nx.connected_components(graph)]
    assert found == {member: first for first, *members in components for member in members}
    expected = sorted((-len(component), *component[0], component) for component in components)[:LARGEST_CLUSTERS]
    assert [(-one.size, one.place, one.number) for one in clusters] == [one[:3] for one in expected]
    for cluster, (*_, component) in zip(clusters, expected, strict=True):
        assert cluster.members == [number for _, number in component[1:SHOWN_MEMBERS]]
    return steps


@settings(max_examples=60, deadline=None)
@given(
    edges=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60),
    num_partitions=st.integers(1, 4),
    pass_records=st.sampled_from([1, 3, 10, 1000]),
)
def test_components_are_those_of_networkx(edges: list[Edge], num_partitions: int, pass_records: int) -> None:
    assert_components(edges, num_partitions, pass_records)


@pytest.mark.parametrize("shape", ["chain", "shuffled chain", "star", "many pairs"])
def test_long_chains_and_large_stars_take_few_rounds(shape: str) -> None:
    nodes = list(range(1000))
    if shape == "shuffled chain":
        random.Random(0).shuffle(nodes)
    edges = {
        "star": [(500, node) for node in nodes],
        "many pairs": list(zip(nodes[::2], nodes[1::2], strict=True)),
    }.get(shape, list(pairwise(nodes)))
    assert assert_components(edges, 3, 200) <= 24


@settings(max_examples=60, deadline=None)
@given(
    keys=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=40),
    pass_records=st.sampled_from([1, 2, 7, 1000]),
)
def test_documents_with_equal_keys_are_matched(keys: list[tuple[int, int]], pass_records: int) -> None:
    """Also where the first word of two keys is equal and the second is not, and in whatever chunks they come."""
    context = make_context({"a.txt": b"x"}, {}, f"memory://{uuid.uuid4().hex}")
    output = context.output
    words = [(high << 62, low, *document_of(node)) for node, (high, low) in enumerate(keys)]
    table = np.array(words, np.uint64).reshape(-1, 4)
    with patch.object(records, "MAX_PASS_RECORDS", pass_records), patch.object(records, "MAX_RUN_RECORDS", 5):
        pieces = [(table[at : at + 2], np.zeros(len(table[at : at + 2]), np.int64)) for at in range(0, len(table), 2)]
        details = write_records(output, "sign", 0, 1, pieces)
        write_receipt(output, UnitDescription(stage="sign", unit=0), UnitOutcome([], {}, details))
        source = Written(stage="sign", first_unit=0, stop_unit=1, num_partitions=1)
        unit = MatchUnit(unit=0, source=source, partition=0, num_partitions=1)
        run_stage(LocalEngine(1), MATCH, context, output, [unit], lambda _: None)
        found = Partition(output, Written(stage="match", first_unit=0, stop_unit=1, num_partitions=1), 0)
        edges = [((a, b), (c, d)) for chunk in found.read() for a, b, c, d in chunk.tolist()]
    assert output.exists(records_path("match", 0))
    expected = nx.Graph()
    for key in set(keys):
        nx.add_path(expected, [document_of(node) for node, other in enumerate(keys) if other == key])
    connected = {frozenset(component) for component in nx.connected_components(nx.Graph(edges))}
    assert connected == {frozenset(one) for one in nx.connected_components(expected) if len(one) > 1}
