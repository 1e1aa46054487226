"""The two stages of the corpus run over small files in memory, and what they left."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import pyarrow as pa
import xxhash

from maskmill.pipeline.corpus.exchange import CorpusContext
from maskmill.pipeline.corpus.exchange_index import write_index
from maskmill.pipeline.corpus.input_files import InputFiles
from maskmill.pipeline.corpus.list_inputs import list_inputs
from maskmill.pipeline.corpus.map_documents import MAP
from maskmill.pipeline.corpus.plan import SortUnit, plan_buckets, plan_shard_bytes, plan_sort_units
from maskmill.pipeline.corpus.plan_map_units import MapUnit, plan_map_units
from maskmill.pipeline.corpus.sort_documents import SORT
from maskmill.pipeline.engine.local_engine import LocalEngine
from maskmill.pipeline.engine.stage import run_stage
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.run_file import RunFile

Document = tuple[str, str, str]
"""Id, source, text."""


@dataclass
class Ran:
    """The output of the stages: documents of both datasets as stored, counts, units and files."""

    documents: dict[bool, list[Document]]
    counts: Counter[str]
    map_units: Sequence[MapUnit]
    sort_units: list[SortUnit]
    output: Store

    def shards(self) -> dict[str, bytes]:
        paths = [path for path in self.output.list() if path.startswith("documents")]
        return {path: self.output.read_bytes(path) for path in paths}

    def read_table(self, path: str) -> pa.Table:
        return pa.ipc.open_file(pa.BufferReader(self.output.read_bytes(path))).read_all()


def json_lines(values: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def make_context(files: Mapping[str, bytes], sections: Mapping[str, dict[str, Any]], url: str = "") -> CorpusContext:
    url = url or f"memory://{uuid.uuid4().hex}"
    for name, data in files.items():
        with fsspec.open(f"{url}/in/{name}", "wb", auto_mkdir=True) as file:
            file.write(data)
    whole: dict[str, dict[str, Any]] = {"input": {"paths": [f"{url}/in/**"]}, "output": {"url": f"{url}/out"}}
    for section, values in sections.items():
        whole[section] = whole.get(section, {}) | values
    run = RunFile.model_validate(whole)
    return CorpusContext(open_store(run.output.url), run, list_files(run).assumed_text_bytes)


def list_files(run: RunFile) -> InputFiles:
    return list_inputs(run.input[0].paths, run.input[0].name)


def run_both_stages(
    files: Mapping[str, bytes],
    sections: Mapping[str, dict[str, Any]] | None = None,
    url: str = "",
    range_bytes: int | None = None,
) -> Ran:
    context = make_context(files, sections or {}, url)
    output, engine = context.output, LocalEngine(1)
    buckets = plan_buckets(context.assumed_text_bytes, context.shard_bytes, context.run.documents.held_out)
    map_units = plan_map_units(
        list_files(context.run), context.shard_bytes, buckets, context.run.input, range_bytes=range_bytes
    )
    mapped = run_stage(engine, MAP, context, output, map_units, lambda _: None)
    totals = write_index(output, mapped)
    documents = context.run.documents
    shard_bytes = plan_shard_bytes(sum(totals.text_bytes), documents.shard_mb)
    sort_units = plan_sort_units(totals.text_bytes, shard_bytes, buckets, documents.held_out)
    done = run_stage(engine, SORT, context, output, sort_units, lambda _: None)
    counts = Counter(totals.counts)
    ran = Ran({False: [], True: []}, counts, map_units, sort_units, output)
    for unit, receipt in done.pairs():
        counts["duplicates"] += receipt.counts["duplicates"]
        counts["held_out" if unit.held_out else "written"] += receipt.counts["written"]
        assert len(receipt.shards) == unit.stop_shard - unit.first_shard
        for shard in receipt.shards:
            table = ran.read_table(shard.path)
            documents = [tuple(row.values()) for row in table.to_pylist()]
            ran.documents[unit.held_out] += documents  # type: ignore[arg-type]
            assert shard.rows == len(documents)
            assert shard.text_bytes == sum(len(row["text"].encode()) for row in table.to_pylist())
            assert shard.size_bytes == output.size(shard.path)
            assert shard.checksum == xxhash.xxh3_128_hexdigest(output.read_bytes(shard.path))
        assert receipt.counts["text_bytes"] == sum(shard.text_bytes for shard in receipt.shards)
    return ran
