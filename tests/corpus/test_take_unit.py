"""A unit of another output that is sealed but not what a map unit writes is refused with its path, whatever it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xxhash

from maskmill.pipeline.corpus import map_documents
from maskmill.pipeline.corpus.exchange import EXCHANGE_SCHEMA, exchange_path
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import prepare
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.documents import QUARANTINE_SCHEMA
from maskmill.schemas.errors import ShardCorruptError, StaleArtifactError
from tests.hostile.words import read_receipt, write_receipt

RECEIPT = "work/receipts/map/000000.json"
PART = "quarantine/inputs-000000-000.arrow"
Receipt = dict[str, Any]


def make_documents(folder: Path, output: str, deduplicate: bool = True, **reuse: str) -> None:
    run = {
        "input": {"paths": [f"{folder}/a.jsonl", f"{folder}/b.jsonl"], "max_quarantined": 1.0, **reuse},
        "output": {"url": str(folder / output)},
        "documents": {"held_out": 0.2, "deduplicate": deduplicate, "appendable": True},
        "engine": {"workers": 1},
    }
    prepare(run, str, Part.SHARD)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files, which are one unit of several runs, and an output over them."""
    folder = tmp_path_factory.mktemp("made")
    for name in "ab":
        lines = [json.dumps({"text": f"{name} {number} " * 9}) for number in range(40)] + ["broken", '{"text": ""}']
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_documents, "MAX_RUN_BYTES", 5000)
        make_documents(folder, "old")
    assert len(read_receipt(folder / "old" / RECEIPT)["details"]["kept"]["runs"]) > 3
    return folder


@pytest.fixture
def old(made: Path) -> Path:
    """That output, to be harmed."""
    shutil.rmtree(made / "old-of-test", ignore_errors=True)
    shutil.rmtree(made / "new", ignore_errors=True)
    return Path(shutil.copytree(made / "old", made / "old-of-test"))


def harm_details(change: Callable[[Receipt], None]) -> Callable[[Path], None]:
    def harm(old: Path) -> None:
        receipt = read_receipt(old / RECEIPT)
        change(receipt)
        write_receipt(old / RECEIPT, receipt)

    return harm


def rewrite(change: Callable[[list[pa.RecordBatch]], list[pa.RecordBatch]]) -> Callable[[Path], None]:
    """Write other record batches, as honestly as a map unit does."""

    def harm(old: Path) -> None:
        batches = change(read_batches(old / exchange_path(0)))
        written = write_blocks(open_store(str(old)), exchange_path(0), batches[0].schema, batches)
        receipt = read_receipt(old / RECEIPT)
        receipt["details"] |= {
            "offsets": written.block_offsets,
            "lengths": written.block_lengths,
            "checksums": written.block_checksums,
            "rows": [batch.num_rows for batch in batches],
        }
        write_receipt(old / RECEIPT, receipt)

    return harm


def read_batches(path: Path) -> list[pa.RecordBatch]:
    reader = pa.ipc.open_file(path.read_bytes())
    return [reader.get_batch(number) for number in range(reader.num_record_batches)]


def replace_column(name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[Path], None]:
    def change_first(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        first = batches[0]
        place = EXCHANGE_SCHEMA.get_field_index(name)
        arrays = [
            pa.array(change(column.to_pylist()), column.type) if number == place else column
            for number, column in enumerate(first.columns)
        ]
        return [pa.record_batch(arrays, schema=EXCHANGE_SCHEMA), *batches[1:]]

    return rewrite(change_first)


def lose_column(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    return [batch.drop_columns(["hash_low"]) for batch in batches]


def drop_row(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    return [batches[0].slice(0, batches[0].num_rows - 1), *batches[1:]]


def take_no_document(old: Path) -> None:
    """One run, of an honest record batch without a row."""
    rewrite(lambda batches: [batches[0].slice(0, 0)])(old)

    def count_none(receipt: Receipt) -> None:
        details = receipt["details"]
        details |= {"buckets": [0], "text_bytes": [0, 0]}
        details["kept"] |= {"runs": [1], "quarantined": []}
        receipt["counts"] = dict.fromkeys((name for name in receipt["counts"] if ":" not in name), 0)

    harm_details(count_none)(old)


def invent_duplicates(number: int) -> Callable[[Path], None]:
    def invent(receipt: Receipt) -> None:
        receipt["counts"]["read"] += number
        receipt["counts"]["duplicates"] = receipt["counts"].get("duplicates", 0) + number

    return harm_details(invent)


def claim_sources(change: Callable[[dict[str, dict[str, int]]], object]) -> Callable[[Path], None]:
    return harm_details(lambda receipt: change(receipt["details"]["sources"]["counts"]))


def claim_odd(name: str, count: int, key: str, first: str) -> Callable[[Path], None]:
    def claim(receipt: Receipt) -> None:
        receipt["counts"][name] = count
        receipt["details"][key] = first

    return harm_details(claim)


def swap_reason(old: Path) -> None:
    """Quarantine for a reason that nobody rejects for, in a part that its receipt vouches for."""
    batches = read_batches(old / PART)
    columns = [
        pa.array(["<b>"] * batches[0].num_rows) if name == "reason" else batches[0][name]
        for name in QUARANTINE_SCHEMA.names
    ]
    write_blocks(open_store(str(old)), PART, QUARANTINE_SCHEMA, [pa.record_batch(columns, schema=QUARANTINE_SCHEMA)])
    receipt = read_receipt(old / RECEIPT)
    receipt["details"]["kept"]["quarantined"] = [xxhash.xxh3_128_hexdigest((old / PART).read_bytes())]
    counts = {name: count for name, count in receipt["counts"].items() if not name.startswith("quarantined: ")}
    receipt["counts"] = counts | {"quarantined: <b>": counts["quarantined"]}
    write_receipt(old / RECEIPT, receipt)


def swap_parts(old: Path) -> None:
    shutil.copy(old / exchange_path(0), old / PART)
    receipt = read_receipt(old / RECEIPT)
    receipt["details"]["kept"]["quarantined"] = [xxhash.xxh3_128_hexdigest((old / PART).read_bytes())]
    write_receipt(old / RECEIPT, receipt)


OBJECT = "work/exchange/000000.arrow"


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (harm_details(lambda r: r["details"]["kept"].update(runs=[])), f"{RECEIPT}: .*its runs are not made of"),
        (harm_details(lambda r: r["details"]["kept"]["runs"].append(0)), f"{RECEIPT}: .*its runs are not made of"),
        (
            harm_details(lambda r: r["details"]["kept"]["runs"].__setitem__(0, 2**32 - 1)),
            f"{RECEIPT}: .*its runs are not",
        ),
        (
            harm_details(lambda r: r["details"]["kept"].pop("runs")),
            rf"{RECEIPT}: .*details\.kept\.runs: Field required",
        ),
        (harm_details(lambda r: r["details"]["rows"].pop()), f"{RECEIPT}: .*differ in length"),
        (harm_details(lambda r: r["details"]["kept"].update(key=7)), f"{RECEIPT}: .*key"),
        (harm_details(lambda r: r["details"]["kept"].update(key="0" * 33)), f"{RECEIPT}: .*key: .*at most 32"),
        (
            harm_details(lambda r: r["details"]["offsets"].__setitem__(0, 2**62)),
            f"{OBJECT}: .*which is larger than any",
        ),
        (harm_details(lambda r: r["details"]["lengths"].__setitem__(0, 2**31 + 8)), f"{OBJECT}: .*larger than any"),
        (harm_details(lambda r: r["details"]["lengths"].__setitem__(0, 0)), f"{OBJECT}: .*do not follow each other"),
        (harm_details(lambda r: r["details"]["offsets"].__setitem__(0, 0)), f"{OBJECT}: .*do not follow each other"),
        (harm_details(lambda r: r["details"]["offsets"].__setitem__(-1, 2**40)), f"{OBJECT}: .*(follow|bytes from)"),
        (harm_details(lambda r: r["details"]["checksums"].__setitem__(0, 1)), f"{OBJECT}, block 0: the bytes"),
        (harm_details(lambda r: r["details"]["rows"].__setitem__(0, 0)), f"{OBJECT}: .*documents in block 0, not 0"),
        (harm_details(lambda r: r["details"]["kept"].update(quarantined=[])), f"{OBJECT}: .*0 rejected ones"),
        (
            harm_details(lambda r: r["details"]["kept"].update(quarantined=["x", "y"])),
            f"{PART}: the bytes of a file have",
        ),
        (harm_details(lambda r: r["counts"].update(read=5)), f"{OBJECT}: .*where it counts"),
        (harm_details(lambda r: r["counts"].update(other=5)), f"{OBJECT}: .*where it counts"),
        (harm_details(lambda r: r["counts"].update({"quarantined: empty text": 3})), f"{OBJECT}: .*where it counts"),
        (
            harm_details(lambda r: r["details"]["text_bytes"].__setitem__(0, 10**6)),
            f"{OBJECT}: .*bytes, where it counts",
        ),
        (harm_details(lambda r: r["details"]["text_bytes"].pop()), f"{RECEIPT}: .*text_bytes"),
        (harm_details(lambda r: r.update(counts={})), f"{OBJECT}: .*where it counts"),
        (rewrite(lose_column), f"{OBJECT}, block 0: the record batch is invalid"),
        (rewrite(drop_row), f"{OBJECT}: .*where it counts"),
        (replace_column("text", lambda texts: ["other"] * len(texts)), f"{OBJECT}: .*not those of their texts"),
        (replace_column("hash_low", lambda low: [0] * len(low)), f"{OBJECT}: .*not those of their texts"),
        (replace_column("hash_high", lambda high: [0] * len(high)), f"{OBJECT}: .*not those of their texts"),
        (replace_column("file", lambda files: [2] * len(files)), f"{OBJECT}: .*none of the unit's"),
        (take_no_document, f"{OBJECT}: .*no document in block 0"),
        (invent_duplicates(10**15), f"{OBJECT}: .*1,000,000,000,000,000 duplicates in files of"),
        (claim_sources(dict.clear), f"{OBJECT}: .*counts of 0 sources that do not add up"),
        (claim_sources(lambda own: own.setdefault("x", {"read": 1})), f"{OBJECT}: .*sources that do not add up"),
        (claim_sources(lambda own: own.setdefault("x", {"written": 1})), f"{OBJECT}: .*sources that do not add up"),
        (claim_sources(lambda own: own.update({f"s{n}": {} for n in range(1001)})), f"{OBJECT}: .*do not add up"),
        (claim_odd("empty files", 1, "first_empty", "\x1b[31m" * 10_000), f"{OBJECT}: .*1 empty files of 2, the first"),
        (claim_odd("empty files", 3, "first_empty", "a.jsonl"), f"{OBJECT}: .*3 empty files of 2"),
        (claim_odd("empty files", 1, "first_empty", ""), f"{OBJECT}: .*1 empty files of 2"),
        (claim_odd("misnamed files", 1, "first_misnamed", "a.jsonl is evil"), f"{OBJECT}: .*1 misnamed files of 2"),
        (swap_reason, f"{OBJECT}: .*where it counts"),
        (swap_parts, PART),
    ],
)
def test_a_hostile_unit_is_refused_by_name(made: Path, old: Path, harm: Callable[[Path], None], words: str) -> None:
    harm(old)
    with pytest.raises(ShardCorruptError, match=rf"{words}.*or drop input\.reuse"):
        make_documents(made, "new", reuse=str(old))
    assert not (made / "new" / exchange_path(0)).exists()


def test_without_deduplication_no_duplicate_is_taken(made: Path, old: Path) -> None:
    shutil.rmtree(old)
    make_documents(made, old.name, deduplicate=False)
    make_documents(made, "new", deduplicate=False, reuse=str(old))
    shutil.rmtree(made / "new")
    invent_duplicates(1)(old)
    with pytest.raises(ShardCorruptError, match=rf"{OBJECT}: .*1 duplicate, where none are left out"):
        make_documents(made, "new", deduplicate=False, reuse=str(old))


def test_a_unit_that_has_become_another_since_the_driver_saw_it_is_refused(
    made: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = map_documents.take_runs

    def become_another(*arguments: Any) -> Any:
        harm_details(lambda receipt: receipt["details"]["kept"].update(key="0" * 32))(old)
        return take(*arguments)

    monkeypatch.setattr(map_documents, "take_runs", become_another)
    with pytest.raises(StaleArtifactError, match=rf"{OBJECT}: the reused output has become .* or drop input\.reuse"):
        make_documents(made, "new", reuse=str(old))


def test_the_unit_is_taken_where_nothing_is_wrong(made: Path, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_documents, "OpenInput", None)
    make_documents(made, "new", reuse=str(old))
    for path in (RECEIPT, OBJECT, PART):
        assert (made / "new" / path).read_bytes() == (old / path).read_bytes()
