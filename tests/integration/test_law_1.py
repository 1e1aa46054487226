"""Laws 1, 3 and 5 from end to end: nothing is lost, ids are those of `tokenizers`, rows are full."""

from __future__ import annotations

from collections import Counter, defaultdict
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from maskmill.pipeline.packing.fitting.lower_bound import lower_bound_l2
from tests.integration.conftest import Undisturbed
from tests.integration.runs import (
    SEQ_LEN,
    engine_options,
    prepare,
    read_tree,
    run_maskmill,
    set_options,
    write_run_file,
)
from tests.integration.shards import Row, iter_segments, read_manifest, read_shards
from tests.integration.synthetic_corpus import MAX_DOCUMENT_MB, SOURCE, SPECIAL, Entry

DATASETS = [("documents", "packed"), ("documents-heldout", "packed-heldout")]


@pytest.fixture(scope="module")
def written(undisturbed: Undisturbed) -> dict[str, list[list[Row]]]:
    """The rows of every shard of every dataset."""
    return {folder: read_shards(undisturbed.output / folder) for pair in DATASETS for folder in pair}


@pytest.fixture(scope="module")
def law(undisturbed: Undisturbed) -> Tokenizer:
    """Hugging Face's tokenizer as it was written, special strings in raw text being text."""
    tokenizer = Tokenizer.from_file(str(undisturbed.output / "packed" / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return tokenizer


def test_every_document_is_somewhere_once(undisturbed: Undisturbed, written: dict[str, list[list[Row]]]) -> None:
    entries = undisturbed.corpus.entries
    documents = [row for folder, _ in DATASETS for shard in written[folder] for row in shard]
    assert sorted(map(_describe_row, documents)) == sorted(map(_describe_entry, undisturbed.corpus.kept()))

    rejects = [row for part in read_shards(undisturbed.output / "quarantine", "*.arrow") for row in part]
    found = sorted((r["path"], r["line"], r["reason"], r["size_bytes"], r["content"]) for r in rejects)
    bad = [entry for entry in entries if entry.reason is not None]
    # Of a plain text that is too large, no more is kept than a document may hold.
    kept_bytes = {"d-0.txt": int(MAX_DOCUMENT_MB * 2**20)}
    expected = [(e.path, e.line, e.reason, len(e.raw), e.raw[: kept_bytes.get(e.path, 2**20)]) for e in bad]
    assert found == sorted(expected)

    good = [entry for entry in entries if entry.text is not None]
    counts = read_manifest(undisturbed.output / "documents")["counts"]
    sources = counts.pop("sources")
    assert counts == {
        "read": len(entries),
        "written": sum(map(len, written["documents"])),
        "held_out": sum(map(len, written["documents-heldout"])),
        "duplicates": len(good) - len({entry.text for entry in good}),
        "quarantined": len(bad),
        "quarantined_by_reason": undisturbed.corpus.reasons(),
    }
    assert counts["duplicates"] >= 50
    assert read_manifest(undisturbed.output / "documents-heldout")["counts"] == counts | {"sources": sources}
    texts_of = {name: [row["text"] for row in documents if row["source"] == name] for name in ("books", SOURCE, "web")}
    assert [source["source"] for source in sources] == sorted(texts_of)
    for source in sources:
        texts = texts_of[source["source"]]
        named = [entry for entry in good if entry.source == source["source"]]
        rejected = len(bad) if source["source"] == SOURCE else 0  # their own is not known
        assert source["quarantined"] == rejected
        assert source["read"] == len(named) + rejected
        assert source["written"] + source["held_out"] == len(texts) == len(named) - source["duplicates"]
        assert source["text_bytes"] == sum(len(text.encode()) for text in texts)
        assert source["characters"] == sum(map(len, texts))
    for folder, _ in DATASETS:
        manifest = read_manifest(undisturbed.output / folder)
        texts = [row["text"] for shard in written[folder] for row in shard]
        assert manifest["documents"] == len(texts)
        assert manifest["text_bytes"] == sum(len(text.encode()) for text in texts)


def test_without_deduplication_every_good_line_is_written(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    options = ["documents.deduplicate=false", "documents.held_out=0.0"]
    ended = run_maskmill("shard", run_file, *engine_options("local", 1), *set_options(options))
    assert ended.status == 0, ended.stderr
    documents = [row for shard in read_shards(tmp_path / "out" / "documents") for row in shard]
    good = [entry for entry in undisturbed.corpus.entries if entry.text is not None]
    assert sorted(map(_describe_row, documents)) == sorted(map(_describe_entry, good))
    assert not (tmp_path / "out" / "documents-heldout").exists()
    # Equal texts stand side by side, in the order of (path, line).
    places: dict[tuple[str, str, str], list[tuple[bytes, int]]] = {}
    for entry in sorted(good, key=lambda entry: (entry.path.encode(), entry.line)):
        places.setdefault(_describe_entry(entry), []).append((entry.path.encode(), entry.line))
    in_order = [(row["text"], places[_describe_row(row)].pop(0)) for row in documents]
    for before, after in pairwise(in_order):
        assert before[0] != after[0] or before[1] < after[1]


def test_rows_hold_exactly_the_ids_of_tokenizers(
    undisturbed: Undisturbed, written: dict[str, list[list[Row]]], law: Tokenizer
) -> None:
    cls_id, sep_id, pad_id = (law.token_to_id(token) for token in ("[CLS]", "[SEP]", "[PAD]"))
    for folder, packed in DATASETS:
        assert len(written[folder]) == len(written[packed])
        totals: Counter[str] = Counter()
        for number, (documents, rows) in enumerate(zip(written[folder], written[packed], strict=True)):
            ids = [
                encoding.ids
                for encoding in law.encode_batch([row["text"] for row in documents], add_special_tokens=False)
            ]
            pieces: dict[int, dict[int, list[int]]] = defaultdict(dict)
            for row in rows:
                used = sum(row["segment_lengths"])
                assert len(row["input_ids"]) == SEQ_LEN
                assert set(row["input_ids"][used:]) <= {pad_id}
                totals["padding"] += SEQ_LEN - used
                for document, offset, segment in iter_segments(row):
                    assert document >> 32 == number
                    assert (segment[0], segment[-1]) == (cls_id, sep_id)
                    pieces[document & 0xFFFFFFFF][offset] = segment[1:-1]
            rebuilt = {document: _lay_end_to_end(segments) for document, segments in pieces.items()}
            assert rebuilt == {index: tokens for index, tokens in enumerate(ids) if tokens}
            segments = sum(map(len, pieces.values()))
            totals.update(
                documents=len(ids),
                packed=len(pieces),
                without_tokens=sum(not tokens for tokens in ids),
                tokens_encoded=sum(map(len, ids)),
                tokens_in_rows=sum(map(len, ids)),
                rows=len(rows),
                segments=segments,
                special_tokens=2 * segments,
                cuts=segments - len(pieces),
                special_in_text=sum(row["text"].count(token) for row in documents for token in SPECIAL),
            )
        counts = read_manifest(undisturbed.output / packed)["counts"]
        assert {name: counts[name] for name in totals} == dict(totals)
        assert counts["quarantined"] == 0
        assert counts["fallback_shards"] == 0 or find_spec("nanotoken") is None
        assert totals["special_in_text"] > 0
    assert read_manifest(undisturbed.output / "packed")["counts"]["cuts"] > 100


def test_rows_are_next_to_as_few_as_can_be(written: dict[str, list[list[Row]]]) -> None:
    import numpy as np

    for _, packed in DATASETS:
        for rows in written[packed]:
            lengths = np.array([length for row in rows for length in row["segment_lengths"]])
            bound = lower_bound_l2(lengths, SEQ_LEN)
            assert bound <= len(rows) <= bound + max(1, bound // 1000)


def test_special_tokens_in_text_are_special_only_on_request(undisturbed: Undisturbed, tmp_path: Path) -> None:
    corpus = tmp_path / "in.txt"
    corpus.write_text("[MASK] one [SEP] two\n" * 3 + "\nthree four\n")
    tokenizer = undisturbed.output / "tokenizer"
    run_file = write_run_file(tmp_path / "run.toml", "", tmp_path / "out", [str(corpus)])
    options = [f"tokenizer.from={tokenizer}", "tokenizer.special_in_text=special", "documents.held_out=0.0"]
    prepare(run_file, *options)
    whole = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    assert whole.encode_special_tokens is False
    expected = {
        tuple(whole.encode(text, add_special_tokens=False).ids)
        for text in ("\n".join(["[MASK] one [SEP] two"] * 3), "three four")
    }
    rows = [row for shard in read_shards(tmp_path / "out" / "packed") for row in shard]
    assert {tuple(segment[1:-1]) for row in rows for _, _, segment in iter_segments(row)} == expected
    assert read_manifest(tmp_path / "out" / "packed")["counts"]["special_in_text"] == 6
    assert read_tree(tmp_path / "out", ["tokenizer"])["tokenizer/vocab.txt"] == (tokenizer / "vocab.txt").read_bytes()


def _describe_row(row: Row) -> tuple[str, str, str]:
    return row["doc_id"], row["source"], row["text"]


def _describe_entry(entry: Entry) -> tuple[str, str, str]:
    return entry.doc_id, entry.source, str(entry.text)


def _lay_end_to_end(segments: dict[int, list[int]]) -> list[int]:
    tokens: list[int] = []
    for offset in sorted(segments):
        assert offset == len(tokens)
        tokens += segments[offset]
    return tokens
