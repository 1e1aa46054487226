"""Mutations of the files between stages: receipts, words and their counts, texts of a corpus."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from tests.hostile.arrow_messages import ArrowFile
from tests.hostile.blocks import STRUCTURE, mutate_block
from tests.hostile.trees import Tree
from tests.hostile.values import ESCAPES, TEXTS, draw_integer, mutate_json

Draw = random.Random
Mutator = Callable[[Tree, Draw], str]


def write_receipt(path: Path, receipt: dict[str, Any]) -> None:
    """A receipt with its checksum at its end."""
    body = json.dumps(receipt, separators=(",", ":")).encode()
    path.write_bytes(body[:-1] + b',"xxh3_128":"%s"}' % xxhash.xxh3_128_hexdigest(body).encode())


def read_receipt(path: Path) -> dict[str, Any]:
    receipt: dict[str, Any] = json.loads(path.read_bytes())
    del receipt["xxh3_128"]
    return receipt


def other_receipt(tree: Tree, draw: Draw) -> str:
    """Values of a receipt; its checksum is recomputed."""
    path = draw.choice(list(tree.iter_files("out/work/receipts")))
    receipt = read_receipt(path)
    description = receipt["description"]
    what = mutate_json(receipt, draw)
    if draw.random() < 0.9:
        receipt["description"] = description
    write_receipt(path, receipt)
    return f"{path.relative_to(tree.output)}: {what}"


def other_work(mutation: str, tree: Tree, draw: Draw) -> str:
    """A block of an Arrow file between stages, and what receipts say of it."""
    path = draw.choice(
        [path for path in tree.iter_files("out/work", "out/packed") if path.suffix == ".arrow"] or [None]
    )
    if path is None:
        return other_receipt(tree, draw)
    before = path.read_bytes()
    file = ArrowFile.parse(before)
    if not file.blocks:
        return other_receipt(tree, draw)
    number = draw.randrange(len(file.blocks))
    places = list(zip(file.offsets(), map(len, file.blocks), map(xxhash.xxh3_64_intdigest, file.blocks), strict=True))
    file.blocks[number], what = mutate_block(file.blocks[number], pa.ipc.open_file(path).schema, mutation, draw)
    data = file.pack()
    path.write_bytes(data)
    after = list(zip(file.offsets(), map(len, file.blocks), map(xxhash.xxh3_64_intdigest, file.blocks), strict=True))
    known: dict[Any, Any] = {xxhash.xxh3_128_hexdigest(before): xxhash.xxh3_128_hexdigest(data), len(before): len(data)}
    known |= {old[2]: new[2] for old, new in zip(places, after, strict=True)}
    lists = {
        tuple(column): list(now)
        for column, now in zip(zip(*places, strict=True), zip(*after, strict=True), strict=True)
    }
    for receipt_path in tree.iter_files("out/work/receipts"):
        write_receipt(receipt_path, _renamed(read_receipt(receipt_path), known, lists))
    return f"{path.relative_to(tree.output)} block {number}: {what}"


def _renamed(value: Any, known: dict[Any, Any], lists: dict[Any, Any]) -> Any:
    """A receipt that says of a file what now holds of it."""
    if isinstance(value, dict):
        return {key: _renamed(item, known, lists) for key, item in value.items()}
    if isinstance(value, list):
        if all(isinstance(item, int) for item in value) and tuple(value) in lists:
            return lists[tuple(value)]
        return [_renamed(item, known, lists) for item in value]
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return known.get(value, value)
    return value


def other_counts(tree: Tree, draw: Draw) -> str:
    """Rows of `word_counts.parquet`."""
    path = tree.output / "tokenizer" / "word_counts.parquet"
    table = pq.read_table(path)
    words, sources, counts = (table[name].to_pylist() for name in ("word", "source", "count"))
    at = draw.randrange(len(words))
    how = draw.choice(("count", "count", "word", "source", "null", "column", "type"))
    if how == "count":
        counts[at] = draw_integer(draw, 64, signed=True)
        counts[0] = draw.choice((counts[0], 2**63 - 1))
    elif how == "word":
        words[at] = draw.choice((*TEXTS, "a" * 300_000, "\U0010ffff", " ", "a b"))
    elif how == "source":
        sources[at] = draw.choice((*TEXTS, "s9"))
    elif how == "null":
        words[at] = None
    word_type = pa.large_binary() if how == "type" else pa.string()
    columns = {
        "word": pa.array(words, word_type),
        "source": pa.array(sources).dictionary_encode(),
        "count": pa.array(counts),
    }
    if how == "column":
        del columns[draw.choice(list(columns))]
    pq.write_table(pa.table(columns).replace_schema_metadata(table.schema.metadata), path)
    return f"{how} of row {at}: {words[at]!r:.40} {counts[at]}"


def other_parquet(tree: Tree, draw: Draw) -> str:
    """Bytes of `word_counts.parquet`, of its pages or of its footer."""
    path = tree.output / "tokenizer" / "word_counts.parquet"
    data = bytearray(path.read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    low, high = draw.choice(((4, footer), (footer, len(data) - 8), (footer, footer + 200), (len(data) - 8, len(data))))
    at = [draw.randrange(low, min(high, len(data))) for _ in range(draw.choice((1, 1, 2, 6)))]
    for position in at:
        data[position] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
    path.write_bytes(data)
    return f"bytes {at} of {len(data)}, footer at {footer}"


def other_metadata(tree: Tree, draw: Draw) -> str:
    """The JSON in the metadata of `word_counts.parquet`."""
    path = tree.output / "tokenizer" / "word_counts.parquet"
    table = pq.read_table(path)
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    name = draw.choice([name for name in metadata if name.startswith("maskmill")])
    if name in ("maskmill_normalisation", "maskmill_sources") and draw.random() < 0.7:
        value = json.loads(metadata[name])
        what = mutate_json(value, draw)
        metadata[name] = json.dumps(value)
    else:
        metadata[name] = what = draw.choice(("", "[" * 50_000, "7", "null", *TEXTS))
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return f"{name}: {what!r:.80}"


def other_lines(tree: Tree, draw: Draw) -> str:
    """Raw text: ids, sources, texts and lines that go to the terminal, to manifests and to the quarantine."""
    path = tree.root / "corpus" / "a.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    for _ in range(draw.choice((1, 5))):
        line = draw.choice(lines)
        line[draw.choice(("id", "source", "text", "source"))] = draw.choice((*TEXTS, 7, None, [], {}, 1e400, ["x"]))
    odd = [
        b"[" * 100_000,
        b'{"text": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b'{"text": "\\ud800", "source": "\\u001b[2J"}',
    ]
    data = "\n".join(json.dumps(line) for line in lines).encode() + b"\n" + draw.choice([b"", *odd])
    path.unlink()
    name = draw.choice(("a.jsonl", "a.jsonl", f"a{draw.choice(ESCAPES[:6])}.jsonl", "a.jsonl.gz", "a.jsonl.zst"))
    (path.parent / name).write_bytes(data)
    run = tree.root / "run.toml"
    run.write_text(run.read_text().replace("corpus/a.jsonl", "corpus/a*"))
    return f"{name!r}, {len(data)} bytes"


RECEIPTS: dict[str, Mutator] = {
    "receipt": other_receipt,
    "receipt again": other_receipt,
    **{name: partial(other_work, name) for name in STRUCTURE},
}
WORD_COUNTS: dict[str, Mutator] = {"rows": other_counts, "bytes": other_parquet, "metadata": other_metadata}
CORPUS: dict[str, Mutator] = {"lines": other_lines}
