"""Pairs from raw text to batches: those of the plain builders, the same bytes for any number of workers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from maskmill import MaskedBatches, Masking, prepare, verify
from maskmill.jobs.report import report
from maskmill.jobs.verify import verify as print_verified
from maskmill.pipeline.packing.cutting.sentences import split_sentences
from maskmill.schemas.errors import InputDataError
from tests.integration.runs import read_tree
from tests.packing.sequences.pair_oracle import make_pairs

SEQ_LEN, SEED, DUPLICATES = 64, 7, 2
NAMES = ("Ada", "Bo", "Cy", "Di", "Ed", "Flo")
VERBS = ("met", "saw", "called", "thanked")


def write_text(path: Path, documents: int) -> None:
    """Documents of none to some thirty sentences, one of them of 400 words."""
    turns = itertools.cycle(itertools.product(NAMES, VERBS, NAMES))
    with path.open("w") as file:
        for document in range(documents):
            sentences = [" ".join(next(turns)) + f" {'again ' * (document * k % 7)}." for k in range(document % 32)]
            if document == 40:
                sentences.append("so " * 400 + "it went.")
            file.write(json.dumps({"text": f"Day {document}. " * (document % 5 > 0) + " ".join(sentences)}) + "\n")


def make_settings(folder: Path, out: str, workers: int = 1, **pack: Any) -> dict[str, Any]:
    return {
        "input": {"paths": [str(folder / "text.jsonl")]},
        "output": {"url": str(folder / out)},
        "documents": {"shard_mb": 0.02, "held_out": 0.05, "seed": SEED},
        "tokenizer": {"vocab_size": 90, "min_frequency": 1},
        "pack": {"seq_len": SEQ_LEN, "duplicates": DUPLICATES, **pack},
        "mask": {"copies": 1},
        "engine": {"workers": workers},
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    write_text(folder / "text.jsonl", 150)
    return folder


@pytest.fixture(scope="module")
def nsp(corpus: Path) -> Path:
    """An output of one process."""
    prepare(make_settings(corpus, "nsp", pairs="nsp", keep_encoded=True))
    return corpus / "nsp"


def read_shard(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.ipc.open_file(path.read_bytes()).read_all().to_pylist()
    return rows


def list_pairs(rows: list[dict[str, Any]]) -> list[tuple[list[int], list[int], int]]:
    """The token ids and labels of all pairs."""
    found = []
    for row in rows:
        ends = list(itertools.accumulate(row["segment_lengths"], initial=0))
        segments = [row["input_ids"][a:b] for a, b in itertools.pairwise(ends)]
        for a, b, label in zip(segments[::2], segments[1::2], row["sequence_labels"], strict=True):
            found.append((a[1:-1], b[:-1], label))
    return found


@pytest.mark.parametrize(("which", "single"), [("nsp", False), ("sop", False), ("sop", True)])
def test_rows_are_those_of_the_plain_builders(corpus: Path, nsp: Path, which: str, single: bool) -> None:
    """They are packed again from the ids that were kept."""
    pack = {"pairs": which, "sop_random_single": single, "keep_encoded": True}
    prepare(make_settings(corpus, "nsp", **pack, name=f"{which}{int(single)}"))
    packed = nsp / f"packed-{which}{int(single)}"
    assert verify(str(packed)).findings == ()
    tokenizer = Tokenizer.from_file(str(nsp / "tokenizer" / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    num_pairs = 0
    shards = sorted((nsp / "documents").glob("shard-*.arrow"))
    assert len(shards) > 1
    for shard, path in enumerate(shards):
        texts = [row["text"] for row in read_shard(path)]
        ids = [[tokenizer.encode(one, add_special_tokens=False).ids for one in split_sentences(t)] for t in texts]
        longest = SEQ_LEN - 3
        # One sentence is longer than a pair; every word of it but the last two is one token.
        cut = [
            [piece for one in document for piece in ([one] if len(one) <= longest else cut_long(one, 8))]
            for document in ids
        ]
        documents = [
            [[(number, token) for token in sentence] for sentence in document if sentence]
            for number, document in enumerate(cut)
        ]
        made = make_pairs(documents, which, longest, SEED, shard, DUPLICATES, single)
        expected = [([t for _, t in a], [t for _, t in b], label) for a, b, label in made.pairs]
        found = list_pairs(read_shard(packed / path.name))
        assert sorted(found) == sorted(expected)
        num_pairs += len(found)
    counts = json.loads((packed / "manifest.json").read_text())["counts"]
    assert counts["pairs"] == num_pairs > 100
    if which == "nsp":
        for path in packed.glob("shard-*.arrow"):
            assert path.read_bytes() == (nsp / "packed" / path.name).read_bytes()


def cut_long(ids: list[int], most: int) -> list[list[int]]:
    return [ids[start : start + most] for start in range(0, len(ids), most)]


def test_two_workers_write_the_same_bytes(corpus: Path, nsp: Path) -> None:
    prepare(make_settings(corpus, "two", 2, pairs="nsp", keep_encoded=True))
    assert verify(str(corpus / "two")).findings == ()
    for folder in ("packed", "packed-heldout", "encoded"):
        assert read_tree(corpus / "two" / folder) == read_tree(nsp / folder)
    batches = MaskedBatches(str(nsp / "packed"), global_batch_rows=8, masking=Masking())
    batches.require_pairs("nsp")
    assert {label for batch in batches.steps(9) for label in batch.sequence_labels.tolist()} == {0, 1}


@pytest.mark.parametrize(
    ("which", "single", "text", "label"),
    [
        ("nsp", False, "One number {n}", 1),  # of one sentence: every B is another document's
        ("sop", True, "One number {n}", 1),
        ("nsp", False, "One number {n} came. It went. It sat. It left.", 0),  # one document
    ],
)
def test_labels_that_are_all_equal_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str, single: bool, text: str, label: int
) -> None:
    documents = 40 if label else 1
    (tmp_path / "text.jsonl").write_text(
        "".join(json.dumps({"text": text.format(n=n)}) + "\n" for n in range(documents))
    )
    settings = make_settings(tmp_path, "out", pairs=which, sop_random_single=single)
    settings["documents"] = {"held_out": 0.0, "seed": SEED}
    events: list[Any] = []
    prepare(settings, events.append)
    (said,) = [event.message for event in events if event.event == "warning" and "label" in event.message]
    assert said.startswith("packed: ")
    assert f"the label {label}, so a model learns nothing from it" in said
    (part, *_) = [part for part in verify(str(tmp_path / "out")).parts if part.path.endswith("packed")]
    assert [f"packed: {one}" for one in part.warnings] == [said]
    assert part.findings == []
    for command in (report, lambda path: print_verified(path, as_json=False)):
        assert command(str(tmp_path / "out")) == 0
        assert said.removeprefix("packed: ").partition(":")[0] in " ".join(capsys.readouterr().out.split())


def test_labels_that_differ_are_no_reason_to_warn(nsp: Path) -> None:
    report = verify(str(nsp))
    assert [part.warnings for part in report.parts if part.path.endswith("packed")] == [[]]


def test_text_without_pairs_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": f"One number {n}"}) + "\n" for n in range(40)))
    with pytest.raises(InputDataError, match=r"there is no row to train on.*\d+ of one sentence"):
        prepare(make_settings(tmp_path, "out", pairs="sop"))
