"""Words of Chinese and Japanese text from raw text to batches: found by ICU, stored with the rows, masked as wholes."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from icu4py.breakers import WordBreaker

from maskmill import MaskedBatches, Masking, Mixture, Source, mask, open_dataset, prepare, verify
from maskmill.pipeline.loader.device.device_fields import BatchMaker
from maskmill.pipeline.loader.fixed_rows import iter_fixed_batches
from maskmill.pipeline.masking.numba_masks import mask_rows
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.packing import pack_stage
from maskmill.pipeline.packing.words import segmenters
from maskmill.pipeline.packing.words.icu import IcuSegmenter
from maskmill.pipeline.run.describe_counts import packed_lines
from maskmill.schemas.errors import ConfigError, StaleArtifactError
from maskmill.schemas.manifest import PackedManifest
from tests.integration.runs import read_tree
from tests.integration.test_plain_readers import run_elsewhere
from tests.packing.words.texts import CHINESE, JAPANESE
from tests.wordpiece.texts import read_corpus

WHOLE_WORDS = {"strategy": "whole_word", "rate": 0.3}
BY_WORDS = [WHOLE_WORDS, {"strategy": "span"}, {"strategy": "ngram"}]
MORE = ["The library opens at nine; café prices rose 3.5 % in 2024.", "Библиотека открывается в девять часов утра."]


def write_text(path: Path) -> None:
    sentences = list(itertools.permutations([*CHINESE, *JAPANESE, *MORE], 2))
    with path.open("w") as file:
        for number in range(60):
            text = "".join(" ".join(pair) for pair in sentences[number : number + number % 4])
            file.write(json.dumps({"text": f"{number}。{text}"}) + "\n")


def make_settings(folder: Path, out: str, workers: int = 1, **pack: Any) -> dict[str, Any]:
    return {
        "input": {"paths": [str(folder / "text.jsonl")], "name": "text"},
        "output": {"url": str(folder / out)},
        "documents": {"shard_mb": 0.004, "held_out": 0.1},
        "tokenizer": {"vocab_size": 320, "min_frequency": 1},
        "pack": {"seq_len": 60, **pack},  # rows of the column of bits do not begin at whole bytes
        "mask": {**WHOLE_WORDS, "copies": 2},
        "engine": {"workers": workers},
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows with the words of ICU, and others of the same tokenizer with those of WordPiece."""
    folder = tmp_path_factory.mktemp("text")
    write_text(folder / "text.jsonl")
    prepare(make_settings(folder, "out", word_boundaries="icu", keep_encoded=True))
    prepare(make_settings(folder, "out", name="pieces", keep_encoded=True))
    return folder


def read_rows(folder: Path) -> list[dict[str, Any]]:
    tables = [pa.ipc.open_file(path.read_bytes()).read_all() for path in sorted(folder.glob("shard-*.arrow"))]
    return [row for table in tables for row in table.to_pylist()]


def read_manifest(folder: Path) -> PackedManifest:
    return open_dataset(folder).manifest


def list_arrays(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, numbers and word starts of the rows of a dataset."""
    rows = list(open_dataset(folder))
    ids, row_ids = np.array([row.input_ids for row in rows]), np.array([row.row_id for row in rows], np.uint64)
    return ids, row_ids, np.array([row.word_starts for row in rows])


def list_units(row: dict[str, Any]) -> list[list[int]]:
    """The words of a row as lists of positions, read off its stored flags."""
    units, position = [], 0
    sequence_starts = set(itertools.accumulate(row["sequence_lengths"], initial=0))
    for length in row["segment_lengths"]:
        begin = position + (position in sequence_starts)
        for place in range(begin, position + length - 1):
            if row["word_starts"][place]:
                units.append([])
            units[-1].append(place)
        position += length
    return units


def test_rows_are_those_of_other_words_and_say_where_words_start(corpus: Path) -> None:
    ours, theirs = (read_rows(corpus / "out" / name) for name in ("packed", "packed-pieces"))
    kept = ("input_ids", "sequence_lengths", "segment_lengths", "segment_document", "segment_offset")
    assert [[row[name] for name in kept] for row in ours] == [[row[name] for name in kept] for row in theirs]
    documents = {}
    for path in sorted((corpus / "out" / "documents").glob("shard-*.arrow")):
        shard = int(re.findall("[0-9]+", path.name)[0])
        for number, row in enumerate(pa.ipc.open_file(path.read_bytes()).read_all().to_pylist()):
            documents[shard << 32 | number] = row["text"]
    tokenizer = open_dataset(corpus / "out" / "packed").tokenizer
    joined = 0
    for row in ours:
        expected, position = [False] * 60, 0
        for segment, (length, document, offset) in enumerate(
            zip(row["segment_lengths"], row["segment_document"], row["segment_offset"], strict=True)
        ):
            text = documents[document]
            boundaries = set(itertools.accumulate(map(len, WordBreaker(text, "und")), initial=0))
            found = tokenizer.encode(text, add_special_tokens=False)
            for place, (token, (start, _)) in enumerate(zip(found.tokens, found.offsets, strict=True)):
                if offset <= place < offset + length - 2:
                    by_icu = start in boundaries
                    is_letter = text[start] >= "\u3041" and not re.match("[、。]", text[start])
                    after_letter = start > 0 and text[start - 1] >= "\u3041"
                    by_piece = not token.startswith("##") or (after_letter and by_icu)
                    starts = place == offset or (by_icu if is_letter else by_piece)
                    expected[position + 1 + place - offset] = starts
                    joined += is_letter and not starts
            position += length
            assert segment < len(row["sequence_lengths"])
        assert row["word_starts"] == expected
    assert joined > 100
    manifests = [read_manifest(corpus / "out" / name) for name in ("packed", "packed-pieces", "packed-heldout")]
    assert [manifest.schema_version for manifest in manifests] == ["2.3", "2.1", "2.3"]
    assert [manifest.vocabulary.segmenter for manifest in manifests] == ["icu 78.3", None, "icu 78.3"]
    assert verify(str(corpus / "out")).findings == ()
    shown = [dict(packed_lines(manifest)).get("  word boundaries") for manifest in manifests[:2]]
    assert shown == ["in Chinese and Japanese by icu 78.3", None]


def test_datasets_reads_word_starts_as_booleans(corpus: Path, tmp_path: Path) -> None:
    program = """
from datasets import load_dataset, disable_progress_bars
disable_progress_bars()
print(json.dumps(load_dataset("arrow", data_files=sys.argv[1], split="train")["word_starts"][:]))
"""
    found = run_elsewhere(program, str(corpus / "out" / "packed" / "shard-*.arrow"), tmp_path)
    assert found == [row["word_starts"] for row in read_rows(corpus / "out" / "packed")]


def test_a_word_is_masked_as_a_whole_or_not_at_all(corpus: Path) -> None:
    whole = 0
    for row in read_rows(corpus / "out" / "packed"):
        for copy in (0, 1):
            masked = set(row[f"mask_{copy}_positions"])
            assert masked
            for unit in list_units(row):
                assert masked.issuperset(unit) or not masked.intersection(unit)
                whole += len(unit) > 1 and masked.issuperset(unit)
    assert whole > 50


@pytest.mark.parametrize("settings", [*BY_WORDS, {"strategy": "token"}])
def test_stored_masks_are_those_that_the_loader_draws(corpus: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """By `mask`, by `prepare`, on the host, for a device, and once more on top of others."""
    shutil.copytree(corpus / "out", tmp_path / "out")
    packed, masking = tmp_path / "out" / "packed", Masking(**settings, seed=5)
    mask(packed, masking, copies=2)
    assert verify(str(packed)).findings == ()
    ids, row_ids, starts = list_arrays(packed)
    tables = MaskTables.build(read_manifest(packed).vocabulary)
    expected = {
        (int(row), epoch): (shown, label)
        for epoch in (0, 1)
        for row, shown, label in zip(row_ids, *mask_rows(ids, row_ids, epoch, masking, tables, starts), strict=True)
    }
    other = mask_rows(ids, row_ids, 0, masking, tables)
    assert (settings["strategy"] == "token") == np.array_equal(other[1], [expected[int(row), 0][1] for row in row_ids])
    for way in (masking, "static"):
        batches = MaskedBatches(packed, global_batch_rows=8, masking=way)
        for batch in batches.epochs(2):
            for row, epoch, shown, label in zip(
                batch.row_ids.tolist(), batch.row_epochs.tolist(), batch.input_ids, batch.labels, strict=True
            ):
                assert np.array_equal(shown, expected[row, epoch][0])
                assert np.array_equal(label, expected[row, epoch][1])
    drawing = MaskedBatches(packed, global_batch_rows=8, masking=masking)
    maker = BatchMaker(drawing.weigher, drawing.most_predicted, drawing.manifest.vocabulary.pad_id, torch.device("cpu"))
    rows = next(drawing.iter_rows())
    buffer = torch.zeros(maker.lay_out(rows).capacity_bytes, dtype=torch.uint8)
    num_bytes, make = maker.write(rows, buffer)
    sent, on_host = make(buffer[:num_bytes].clone()), next(iter(drawing))
    assert torch.equal(sent.labels, on_host.labels)
    assert torch.equal(sent.input_ids, on_host.input_ids)
    first = next(iter(MaskedBatches(packed, global_batch_rows=8, masking=Masking(seed=9))))
    again = MaskedBatches(packed, global_batch_rows=8, masking=Masking(seed=9)).another_mask(masking)(first)
    assert torch.equal(again.labels, on_host.labels)
    for batch in iter_fixed_batches(str(packed), masking, 8):
        for row, label in zip(batch.row_ids.tolist(), batch.labels, strict=True):
            assert np.array_equal(label, expected[row, 0][1])


def test_masking_again_writes_the_bytes_of_packing(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus / "out", tmp_path / "out")
    packed = tmp_path / "out" / "packed"
    mask(packed, Masking(strategy="span", seed=3), copies=1)
    (folder,) = packed.glob("masks-*")
    settings = make_settings(corpus, "span", word_boundaries="icu")
    prepare(settings | {"mask": {"strategy": "span", "seed": 3, "copies": 1}})
    shards = sorted(path.name for path in folder.glob("shard-*.arrow"))
    assert len(shards) > 1
    for name in shards:
        assert (folder / name).read_bytes() == (corpus / "span" / "packed" / name).read_bytes()


def test_a_mixture_masks_the_rows_of_each_dataset_by_its_own_words(corpus: Path) -> None:
    folders = [str(corpus / "out" / name) for name in ("packed", "packed-pieces")]
    masking = Masking(**WHOLE_WORDS)
    batches = MaskedBatches(Mixture([Source(url) for url in folders]), global_batch_rows=8, masking=masking)
    expected = {}
    for number, folder in enumerate(folders):
        ids, row_ids, starts = list_arrays(Path(folder))
        tables = MaskTables.build(read_manifest(Path(folder)).vocabulary)
        drawn = mask_rows(ids, row_ids, 0, masking, tables, starts if number == 0 else None)[1]
        expected |= {(number, int(row)): label for row, label in zip(row_ids, drawn, strict=True)}
    seen = set()
    for batch in batches.steps(3):
        for number, row, label in zip(batch.datasets.tolist(), batch.row_ids.tolist(), batch.labels, strict=True):
            assert np.array_equal(label, expected[number, row])
            seen.add(number)
    assert seen == {0, 1}


@pytest.mark.parametrize("pack", [{"pairs": "sop"}, {"sequences": "full_sentences"}, {"cut": "token", "seq_len": 32}])
def test_every_way_to_pack_is_verified(corpus: Path, tmp_path: Path, pack: dict[str, Any]) -> None:
    shutil.copy(corpus / "text.jsonl", tmp_path)
    settings = make_settings(tmp_path, "out", word_boundaries="icu", compression="zstd", **pack)
    prepare(settings)
    assert verify(str(tmp_path / "out")).findings == ()
    test_a_word_is_masked_as_a_whole_or_not_at_all(tmp_path)


def test_two_workers_and_kept_ids_give_the_same_bytes(corpus: Path) -> None:
    prepare(make_settings(corpus, "two", 2, word_boundaries="icu", keep_encoded=True))
    prepare(make_settings(corpus, "two", word_boundaries="icu", keep_encoded=True, name="again"))
    for folder in ("packed", "packed-heldout"):
        assert read_tree(corpus / "two" / folder) == read_tree(corpus / "out" / folder)
    for path in (corpus / "out" / "packed").glob("shard-*.arrow"):
        assert path.read_bytes() == (corpus / "two" / "packed-again" / path.name).read_bytes()


@pytest.mark.parametrize("place", [0, 1, 59])
def test_word_starts_that_packing_does_not_write_are_found(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    assemble = pack_stage.assemble_rows

    def change(*args: Any) -> Any:
        rows = assemble(*args)
        assert rows.word_starts is not None
        rows.word_starts[-1, place] ^= True
        return rows

    monkeypatch.setattr(pack_stage, "assemble_rows", change)
    shutil.copy(corpus / "text.jsonl", tmp_path)
    prepare(make_settings(tmp_path, "out", word_boundaries="icu"))
    findings = verify(str(tmp_path / "out" / "packed")).findings
    shards = len(list((tmp_path / "out" / "packed").glob("shard-*.arrow")))
    assert len(findings) == shards
    assert all("does not start a word at the first token of every segment" in finding.what for finding in findings)


def test_a_library_that_is_not_installed_is_named_with_the_command(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("icu4py", "maskmill.pipeline.packing.words.icu"))]:
        monkeypatch.setitem(sys.modules, name, None)
    segmenters.load_segmenter.cache_clear()
    with pytest.raises(
        ConfigError, match=r"pack\.word_boundaries: .* not installed; .*pip install \"maskmill\[cjk\]\""
    ):
        prepare(make_settings(corpus, "never", word_boundaries="icu"))
    assert not os.path.exists(corpus / "never")
    segmenters.load_segmenter.cache_clear()


def test_another_version_finishes_no_rows_that_were_begun(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(corpus / "text.jsonl", tmp_path)
    shutil.copytree(corpus / "out", tmp_path / "out")
    settings = make_settings(tmp_path, "out", word_boundaries="icu", keep_encoded=True)
    monkeypatch.setattr(IcuSegmenter, "version", "icu 99")
    prepare(settings)  # what is finished stays
    os.remove(tmp_path / "out" / "packed" / "manifest.json")
    with pytest.raises(StaleArtifactError, match=r"begun with another segmenter; expected segmenter icu 78.3.*icu 99"):
        prepare(settings)


def test_a_machine_with_another_version_packs_nothing() -> None:
    with pytest.raises(ConfigError, match=r"another version of the library that finds words.*expected icu 1.0; found"):
        segmenters.require_version(segmenters.WordBoundaries.ICU, "icu 1.0")
    assert segmenters.require_version(segmenters.WordBoundaries.WORDPIECE, None) is None


@pytest.mark.long
@pytest.mark.parametrize("name", ["tf-docs-zh", "tf-docs-ja"])
def test_a_corpus_is_packed_and_verified(tmp_path: Path, name: str) -> None:
    with (tmp_path / "text.jsonl").open("w") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in read_corpus(name, 150))
    settings = make_settings(tmp_path, "out", word_boundaries="icu", seq_len=512)
    prepare(settings | {"tokenizer": {"vocab_size": 8000}, "documents": {}})
    assert verify(str(tmp_path / "out")).findings == ()
    test_a_word_is_masked_as_a_whole_or_not_at_all(tmp_path)
