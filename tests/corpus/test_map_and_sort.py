"""Map and sort equal sorting all documents at once, whatever the sizes of runs, pieces, scratch files and shards."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import xxhash

from maskmill.pipeline.corpus import (
    exchange_index,
    map_documents,
    open_input,
    order_documents,
    quarantine,
    sort_documents,
)
from maskmill.pipeline.corpus.exchange import CorpusContext, MapDetails, exchange_path
from maskmill.pipeline.corpus.exchange_index import INDEX_PATH
from maskmill.pipeline.corpus.judge_quarantine import check_quarantined
from maskmill.pipeline.corpus.plan import Buckets
from maskmill.pipeline.corpus.plan_map_units import MapUnit, plan_map_units
from maskmill.pipeline.corpus.sort_documents import SortDetails
from maskmill.pipeline.engine.receipts import Receipts
from maskmill.schemas.documents import DOCUMENT_SCHEMA
from maskmill.schemas.errors import InputDataError, ShardCorruptError, StaleArtifactError
from maskmill.schemas.rows import BLOCK_BYTES
from tests.corpus.run_stages import Document, Ran, json_lines, list_files, make_context, run_both_stages

SEED = 3
HELD_OUT = 0.2


def make_files(num_files: int = 7, num_documents: int = 60) -> dict[str, bytes]:
    """Files with documents of all lengths, each of some texts many times, and broken lines between them."""
    draw = random.Random(5)
    texts = [f"text {number} ñ " * draw.choice([1, 3, 40, 400]) for number in range(num_files * num_documents // 2)]
    files: dict[str, bytes] = {}
    for number in range(num_files):
        lines = [json.dumps({"text": draw.choice(texts), "id": f"{number}/{line}"}) for line in range(num_documents)]
        lines[draw.randrange(num_documents)] = "broken"
        files[f"{number % 3}/{number}.jsonl"] = "\n".join(lines).encode()
    return files


def sort_at_once(files: dict[str, bytes], deduplicate: bool = True) -> dict[bool, list[Document]]:
    """The oracle: all documents in one list, sorted by Python's integers."""
    order_key = xxhash.xxh3_64_intdigest(f"maskmill order {SEED}".encode())
    held_out_key = xxhash.xxh3_64_intdigest(f"maskmill held out {SEED}".encode())
    seen: set[str] = set()
    found: dict[bool, list[tuple[int, Document]]] = {False: [], True: []}
    for path in sorted(files):
        for line in files[path].splitlines():
            try:
                value = json.loads(line)
            except ValueError:
                continue
            text = value["text"]
            if text in seen and deduplicate:
                continue
            seen.add(text)
            held_out = xxhash.xxh3_64_intdigest(text.encode(), held_out_key) < HELD_OUT * 2**64
            order = xxhash.xxh3_128_intdigest(text.encode(), order_key)
            found[held_out].append((order, (value["id"], "in", text)))
    # Python's sort is stable: of one hash the first by (path, line) comes first.
    return {key: [document for _, document in sorted(pairs, key=lambda pair: pair[0])] for key, pairs in found.items()}


def run(files: dict[str, bytes], url: str = "", **documents: Any) -> Ran:
    settings = {"shard_mb": 0.02, "held_out": HELD_OUT, "seed": SEED} | documents
    return run_both_stages(files, {"input": {"id_field": "id", "max_quarantined": 1.0}, "documents": settings}, url=url)


def check_counts(ran: Ran, files: dict[str, bytes]) -> None:
    counts = ran.counts
    assert counts["read"] == sum(len(data.splitlines()) for data in files.values())
    assert counts["read"] == sum(counts[name] for name in ("written", "held_out", "duplicates", "quarantined"))
    assert counts["quarantined"] == counts["quarantined: broken JSON"] == len(files)
    assert counts["written"] == len(ran.documents[False])
    assert counts["held_out"] == len(ran.documents[True])


@pytest.mark.parametrize("deduplicate", [True, False])
def test_documents_stand_in_the_order_of_their_hashes(deduplicate: bool) -> None:
    files = make_files()
    ran = run(files, deduplicate=deduplicate)
    assert ran.documents == sort_at_once(files, deduplicate)
    assert len(ran.documents[True]) > 5
    check_counts(ran, files)
    assert len(ran.map_units) > 3
    assert len([unit for unit in ran.sort_units if not unit.held_out]) > 5


@pytest.mark.parametrize("deduplicate", [True, False])
@pytest.mark.parametrize(
    ("run_bytes", "run_documents", "sort_bytes", "group_lines", "read_bytes"),
    [
        (1, 1, 1, 1, 7),
        (3000, 5, 1, 10, 1 << 18),
        (1 << 30, 7, 5000, 1 << 20, 1000),
        (20_000, 1 << 20, 30_000, 3, 1 << 18),
    ],
)
def test_no_bound_of_memory_changes_the_order(
    monkeypatch: pytest.MonkeyPatch,
    deduplicate: bool,
    run_bytes: int,
    run_documents: int,
    sort_bytes: int,
    group_lines: int,
    read_bytes: int,
) -> None:
    files = make_files(4, 40)
    monkeypatch.setattr(map_documents, "MAX_RUN_BYTES", run_bytes)
    monkeypatch.setattr(map_documents, "MAX_RUN_DOCUMENTS", run_documents)
    monkeypatch.setattr(sort_documents, "MAX_SORT_BYTES", sort_bytes)
    monkeypatch.setattr(exchange_index, "GROUP_LINES", group_lines)
    monkeypatch.setattr(open_input, "READ_BYTES", read_bytes)
    ran = run(files, deduplicate=deduplicate)
    assert ran.documents == sort_at_once(files, deduplicate)
    check_counts(ran, files)


def test_scratch_files_leave_the_bytes_of_shards_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    files = make_files()
    plain = run(files, deduplicate=False)
    monkeypatch.setattr(sort_documents, "MAX_SORT_BYTES", 2000)
    assert run(files, deduplicate=False).shards() == plain.shards()
    assert len(plain.shards()) > 10


@pytest.mark.parametrize("read_bytes", [1, 1000])
def test_how_reads_fall_changes_no_byte(monkeypatch: pytest.MonkeyPatch, read_bytes: int) -> None:
    files = make_files(2, 30)
    monkeypatch.setattr(map_documents, "MAX_RUN_BYTES", 5000)
    plain = run(files, shard_mb=0.002)
    monkeypatch.setattr(open_input, "READ_BYTES", read_bytes)
    again = run(files, shard_mb=0.002)
    assert again.shards() == plain.shards()
    for unit in plain.map_units:
        path = exchange_path(unit.unit)
        assert again.output.read_bytes(path) == plain.output.read_bytes(path)


def test_units_of_several_shards_write_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the corpus is larger than it was taken for, a bucket holds several shards."""
    files = {name: data * 8 for name, data in make_files(3, 20).items()}
    monkeypatch.setattr("maskmill.pipeline.corpus.plan.MAX_BUCKETS", 4)
    for sort_bytes in (1 << 30, 3000):
        monkeypatch.setattr(sort_documents, "MAX_SORT_BYTES", sort_bytes)
        ran = run(files, shard_mb=0.004, deduplicate=False)
        assert ran.documents == sort_at_once(files, deduplicate=False)
        assert max(unit.stop_shard - unit.first_shard for unit in ran.sort_units) > 3


@pytest.mark.parametrize("shard_mb", [0.002, 0.01, 1, 512])
def test_shard_mb_decides_the_cut_alone(shard_mb: float) -> None:
    files = make_files()
    ran = run(files, shard_mb=shard_mb)
    assert ran.documents == sort_at_once(files)
    check_counts(ran, files)


@pytest.mark.parametrize("store", ["local", "s3"])
def test_the_bytes_are_the_same_on_any_store(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = str(tmp_path) if store == "local" else str(request.getfixturevalue("moto_url"))
    files = make_files(3, 20)
    assert run(files, url=url).shards() == run(files).shards()


def test_a_text_that_stands_everywhere_is_written_once_or_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"text": "the same", "id": str(number)} for number in range(500)]
    files = {"a.jsonl": json_lines(lines[:250]), "b.jsonl": json_lines(lines[250:])}
    monkeypatch.setattr(map_documents, "MAX_RUN_DOCUMENTS", 9)
    monkeypatch.setattr(sort_documents, "MAX_SORT_BYTES", 500)
    once, always = run(files, shard_mb=0.001), run(files, shard_mb=0.001, deduplicate=False)
    assert [document[0] for part in once.documents.values() for document in part] == ["0"]
    assert once.counts["duplicates"] == 499
    assert [document[0] for part in always.documents.values() for document in part] == [line["id"] for line in lines]


def test_texts_of_one_hash_are_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file from others may contain constructed collisions; here every text collides with every other."""

    class Constant:
        @staticmethod
        def __call__(*_: object) -> bytes:
            return bytes(16)

    monkeypatch.setattr(xxhash, "xxh3_128_digest", Constant())
    lines = [{"text": f"text {number % 40}", "id": str(number)} for number in range(100)]
    files = {"a.jsonl": json_lines(lines)}
    for sort_bytes, run_documents in ((1 << 30, 1000), (1, 7)):
        monkeypatch.setattr(sort_documents, "MIN_SORT_BYTES", 1)
        monkeypatch.setattr(sort_documents, "MAX_SORT_BYTES", sort_bytes)
        monkeypatch.setattr(map_documents, "MAX_RUN_DOCUMENTS", run_documents)
        ran = run(files, held_out=0.0)
        assert [document[0] for document in ran.documents[False]] == [str(number) for number in range(40)]
        assert ran.counts["duplicates"] == 60


@pytest.mark.parametrize("half", ["high", "low"])
def test_hashes_that_share_a_half_are_sorted_by_the_other(half: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = xxhash.xxh3_128_digest

    def digest(text: bytes, key: int) -> bytes:
        whole = bytes(real(text, key))
        return whole[:8] + bytes(8) if half == "low" else bytes(8) + whole[8:]

    monkeypatch.setattr(xxhash, "xxh3_128_digest", digest)
    monkeypatch.setattr(sort_documents, "MAX_SORT_BYTES", 300)
    lines = [{"text": f"text {number}", "id": ""} for number in range(200)]
    ran = run({"a.jsonl": json_lines(lines)}, held_out=0.0)
    key = xxhash.xxh3_64_intdigest(f"maskmill order {SEED}".encode())
    expected = sorted((str(line["text"]) for line in lines), key=lambda text: digest(text.encode(), key))
    assert [document[2] for document in ran.documents[False]] == expected


def test_blocks_are_cut_by_the_documents_alone() -> None:
    draw = random.Random(1)
    others = 4 + 3 + len("in")  # number, id and source
    half, whole = BLOCK_BYTES // 2 - others, BLOCK_BYTES - others
    lengths = [draw.choice([1, 60_000, half, half, half, half, whole, whole + 1]) for _ in range(60)]
    lines = [{"text": f"{number:04d}" + "x" * length, "id": f"{number:03d}"} for number, length in enumerate(lengths)]
    ran = run({"a.jsonl": json_lines(lines)}, shard_mb=512, held_out=0.0)
    (path,) = ran.shards()
    reader = open_arrow(ran.output.read_bytes(path))
    assert reader.schema.equals(DOCUMENT_SCHEMA, check_metadata=True)
    blocks = [reader.get_batch(number).to_pylist() for number in range(reader.num_record_batches)]
    sizes = [
        [sum(len(str(row[name]).encode()) for name in ("doc_id", "source", "text")) for row in block]
        for block in blocks
    ]
    assert len(sizes) > 20
    assert any(sum(block) == BLOCK_BYTES and len(block) == 2 for block in sizes)
    for block, following in itertools.pairwise(sizes):
        assert sum(block) <= BLOCK_BYTES or len(block) == 1
        assert sum(block) + following[0] > BLOCK_BYTES
    (receipt,) = Receipts(ran.output, ran.sort_units, SortDetails)
    assert len(receipt.shards[0].block_offsets) == len(sizes)


def open_arrow(data: bytes) -> Any:
    import pyarrow as pa

    return pa.ipc.open_file(pa.BufferReader(data))


def test_a_shard_without_documents_stands_all_the_same() -> None:
    ran = run({"a.jsonl": json_lines([{"text": "x" * 100_000, "id": "a"}])}, shard_mb=0.01, held_out=0.4)
    rows = [ran.read_table(path).num_rows for path in ran.shards()]
    assert sum(rows) == 1
    assert rows.count(0) > 5


@pytest.mark.parametrize("kind", ["flip", "cut", "gone", "index gone"])
def test_a_damaged_exchange_is_noticed(kind: str) -> None:
    context = make_context(make_files(2, 10), {"input": {"id_field": "id", "max_quarantined": 1.0}})
    ran = run_both_stages(
        {}, {"input": {"paths": [file.url for file in list_files(context.run)], "max_quarantined": 1.0}}
    )
    path = INDEX_PATH if kind == "index gone" else exchange_path(0)
    data = ran.output.read_bytes(path)
    if kind.endswith("gone"):
        ran.output.delete(path)
    else:
        middle = len(data) // 2
        ran.output.write_bytes(path, data[:middle] + (b"" if kind == "cut" else b"\0\1" + data[middle + 2 :]))
    again = type(context)(ran.output, context.run, context.assumed_text_bytes)
    with pytest.raises(StaleArtifactError if kind.endswith("gone") else ShardCorruptError) as refused:
        _ = [sort_documents.sort_documents(again, unit) for unit in ran.sort_units]
    assert str(refused.value.path).endswith(path)
    assert refused.value.action


def test_every_rejected_line_is_in_quarantine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "PART_BYTES", 600)
    rejected = {number: f"broken {number}".encode() for number in range(2, 40, 3)}
    lines = [rejected.get(number, b'{"text": "a"}') for number in range(1, 41)]
    ran = run({"a.jsonl": b"\n".join(lines), "b.jsonl": b'{"text": ""}'})
    parts = ran.output.list("quarantine")
    rows = [row for path in parts for row in ran.read_table(path).to_pylist()]
    assert len(parts) > 3
    assert rows == [
        {"path": path, "line": line, "first_byte": 0, "reason": reason, "size_bytes": len(content), "content": content}
        for path, line, reason, content in [
            *(("a.jsonl", line, "broken JSON", content) for line, content in rejected.items()),
            ("b.jsonl", 1, "empty text", b'{"text": ""}'),
        ]
    ]
    assert ran.counts["quarantined"] == len(rows)


def lines_with_faults(num_lines: int, one_in: int) -> bytes:
    lines = [b'{"text": "%011d"}    \n' % number for number in range(num_lines)]
    lines[::one_in] = [b"broken.................\n"] * len(lines[::one_in])
    return b"".join(lines)


def units_of(context: CorpusContext, group_bytes: int = 0) -> Sequence[MapUnit]:
    """A unit for each file, or for as many as come to some bytes."""
    return plan_map_units(list_files(context.run), group_bytes, Buckets(4, 1), context.run.input)


def test_the_guard_stops_a_unit_before_its_end_and_says_why() -> None:
    data = lines_with_faults(100_000, 20)
    context = make_context({"a.jsonl": data}, {"input": {"max_quarantined": 0.01}, "documents": {"shard_mb": 1}})
    (unit,) = units_of(context)
    with pytest.raises(InputDataError, match="too much of the input is bad") as stopped:
        map_documents.map_documents(context, unit)
    error = stopped.value
    assert error.place == "first at a.jsonl line 1"
    assert error.expected == "at most 0.01 of all documents quarantined"
    found, read = str(error.found).split(": ")[0].split(" of the first ")
    assert int(found) <= int(read) // 19
    assert int(read) < 90_000  # from 4/5 on, even a rest of 16 times as many documents cannot bring it within
    assert "broken JSON" in str(error.found)
    kept = context.output.list("quarantine")
    assert kept
    assert not context.output.exists(exchange_path(0))


@pytest.mark.parametrize(("one_in", "limit"), [(101, 0.01), (20, 0.05), (2, 0.5), (1, 1.0)])
def test_the_guard_does_not_stop_what_is_within_the_limit(one_in: int, limit: float) -> None:
    files = {f"{number}.jsonl": lines_with_faults(one_in * 300 // (number + 1), one_in) for number in range(3)}
    context = make_context(files, {"input": {"max_quarantined": limit}, "documents": {"shard_mb": 0.05}})
    for unit in units_of(context):
        map_documents.map_documents(context, unit)


def test_all_files_of_a_unit_count_in_the_guard() -> None:
    files = {name: lines_with_faults(20_000, 20) for name in ("a.jsonl", "b.jsonl")}
    context = make_context(files, {"input": {"max_quarantined": 0.04}, "documents": {"shard_mb": 512}})
    (unit,) = units_of(context, 1 << 30)
    assert len(unit.inputs) == 2
    with pytest.raises(InputDataError, match="too much of the input is bad"):
        map_documents.map_documents(context, unit)


@pytest.mark.parametrize("deduplicate", [True, False])
def test_a_piece_holds_documents_of_one_bucket_and_one_run_as_they_were_read(
    monkeypatch: pytest.MonkeyPatch, deduplicate: bool
) -> None:
    monkeypatch.setattr(map_documents, "MAX_RUN_BYTES", 20_000)
    ran = run(make_files(2, 60), shard_mb=0.05, deduplicate=deduplicate)
    for unit, receipt in zip(ran.map_units, Receipts(ran.output, ran.map_units, MapDetails), strict=True):
        reader = open_arrow(ran.output.read_bytes(exchange_path(unit.unit)))
        assert reader.num_record_batches == len(receipt.details.buckets) > unit.num_buckets
        places, text_bytes = [], list[int]()
        for number in range(reader.num_record_batches):
            rows = reader.get_batch(number).to_pylist()
            assert len(rows) == receipt.details.rows[number]
            text_bytes.append(sum(len(row["text"].encode()) for row in rows))
            assert text_bytes[-1] <= 20_000
            places.append([(row["file"], row["line"]) for row in rows])
        assert all(place == sorted(place) for place in places)
        # Buckets ascend within a run: where they do not, a new run began.
        numbers = receipt.details.buckets
        run_of = list(itertools.accumulate((b <= a for a, b in itertools.pairwise(numbers)), initial=0))
        run_bytes = Counter[int]()
        for number, of_piece in zip(run_of, text_bytes, strict=True):
            run_bytes[number] += of_piece
        assert max(run_bytes.values()) <= 20_000
        assert len({place for piece in places for place in piece}) == sum(receipt.details.rows)


def test_the_index_is_written_in_groups_of_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_index, "GROUP_LINES", 3)
    ran = run(make_files())
    num_buckets = ran.map_units[0].num_buckets + ran.map_units[0].num_held_out_buckets
    batches = open_arrow(ran.output.read_bytes(INDEX_PATH)).num_record_batches
    assert batches == num_buckets * len(ran.map_units) > num_buckets


def test_a_scratch_file_is_gone_once_it_is_read(tmp_path: Path) -> None:
    ran = run(make_files(1, 20), held_out=0.0)
    reader = open_arrow(ran.output.read_bytes(exchange_path(0)))
    pieces = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    parts = order_documents.spread_over_scratch(
        pieces, lambda piece: piece.column("line").to_numpy().astype("int64") % 3, 4, str(tmp_path)
    )
    assert len(list(tmp_path.iterdir())) == 3
    lines = [[line for batch in part.read() for line in batch.column("line").to_pylist()] for part in parts]
    assert [{line % 3 for line in part} for part in lines] == [{0}, {1}, {2}, set()]
    assert sum(map(len, lines)) == sum(piece.num_rows for piece in pieces)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("read", "quarantined", "bytes_read", "stops"),
    [
        (1000, 10, 100, False),
        (1000, 11, 100, True),
        (1000, 100, 10, False),
        (1000, 101, 10, False),  # the rest may hold more documents a byte
        (1000, 500, 10, False),
        (1000, 501, 10, True),
        (1000, 49, 80, False),
        (1000, 51, 80, True),
        (100, 19, 10, False),
        (100, 20, 90, True),
        (20, 20, 1, False),
        (20, 20, 2, True),
        (10, 1, 100, True),
        (0, 0, 0, False),
    ],
)
def test_the_limit_is_a_share_of_the_documents_to_expect(
    read: int, quarantined: int, bytes_read: int, stops: bool
) -> None:

    counts = Counter({"read": read, "quarantined": quarantined, "quarantined: broken JSON": quarantined})
    if not stops:
        check_quarantined(counts, bytes_read, 100, 0.01)
        return
    with pytest.raises(InputDataError, match=f"{quarantined} broken JSON"):
        check_quarantined(counts, bytes_read, 100, 0.01)


def test_a_limit_of_nothing_stops_at_the_first_rejected_document() -> None:
    counts = Counter({"read": 1000, "quarantined": 1, "quarantined: broken JSON": 1})
    with pytest.raises(InputDataError):
        check_quarantined(counts, 1, 100, 0.0)
    check_quarantined(Counter({"read": 1000}), 1, 100, 0.0)


def test_the_scratch_folder_is_empty_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sort_documents, "MAX_SORT_BYTES", 2000)
    spilled: list[str] = []
    real = order_documents.spread_over_scratch

    def watch(*arguments: Any) -> Any:
        spilled.append(arguments[3])
        return real(*arguments)

    monkeypatch.setattr(order_documents, "spread_over_scratch", watch)
    run(make_files(2, 30))
    assert spilled
    assert all(Path(folder).parent == tmp_path for folder in spilled)
    assert list(tmp_path.iterdir()) == []
