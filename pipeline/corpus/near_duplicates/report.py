"""`near_duplicates.json`: the largest clusters, with an excerpt of each document that is shown."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence

from maskmill.pipeline.corpus.near_duplicates.keep_stage import Excerpt
from maskmill.pipeline.corpus.near_duplicates.locate_stage import LARGEST_CLUSTERS, Cluster
from maskmill.schemas.near_duplicates import NearDuplicatesSection


def choose_largest(clusters: Iterable[Cluster]) -> list[Cluster]:
    """The largest of all, in order, holding no more than these."""
    return heapq.nsmallest(LARGEST_CLUSTERS, clusters, key=lambda cluster: cluster.rank)


def list_shown(clusters: Iterable[Cluster]) -> tuple[int, ...]:
    """Numbers of the documents of which the report has excerpts, rising."""
    return tuple(sorted(number for cluster in clusters for number in (cluster.number, *cluster.members)))


def describe_clusters(
    settings: NearDuplicatesSection,
    counts: Mapping[str, int],
    clusters: Sequence[Cluster],
    excerpts: Mapping[int, Excerpt],
) -> bytes:
    """The report as JSON in ASCII: whatever control characters texts have are escaped."""
    whole = {
        "settings": settings.fingerprinted(),
        **counts,
        "largest_clusters": [
            {
                "documents": cluster.size,
                "kept": _describe(excerpts[cluster.number]),
                "dropped": [_describe(excerpts[number]) for number in cluster.members],
            }
            for cluster in clusters
        ],
    }
    return (json.dumps(whole, indent=2) + "\n").encode()


def _describe(excerpt: Excerpt) -> dict[str, str]:
    return {"doc_id": excerpt.doc_id, "source": excerpt.source, "text": excerpt.text}
