"""Weights that put rare tokens first, from the words of an output: what counting its text token by token gives."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from maskmill import MaskedBatches, Masking, find_rare_first, mask, open_dataset, train, verify
from maskmill.pipeline.settings import load_settings
from maskmill.pipeline.wordpiece.vocabulary.weigh_pieces import weigh_rare_first
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.events import TrainEvent, TrainStarted
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.token_weights import RARE
from tests.integration.conftest import Undisturbed
from tests.integration.runs import assert_same_tree, prepare, read_tree, units_done, write_run_file
from tests.integration.shards import read_shards


def test_an_outputs_tokens_weigh_what_its_text_says(undisturbed: Undisturbed) -> None:
    folder = undisturbed.output
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    counts: Counter[int] = Counter()
    for path in sorted((folder / "documents").glob("shard-*.arrow")):
        for text in pa.ipc.open_file(path.read_bytes()).read_all().column("text").to_pylist():
            counts.update(tokenizer.encode(text, add_special_tokens=False).ids)
    size = json.loads((folder / "packed" / "manifest.json").read_bytes())["vocabulary"]["vocab_size"]
    weights = find_rare_first(f"{folder}/tokenizer")
    assert weights == weigh_rare_first(np.array([counts[token] for token in range(size)], np.int64))
    assert max(weights) == 255 > min(weights)
    masking = Masking(token_weights=weights)
    batch = next(iter(MaskedBatches(f"{folder}/packed", global_batch_rows=4, masking=masking)))
    assert (batch.labels != -100).any()
    with pytest.raises(ConfigError, match=f"expected {size}, one for each id.*found {size - 1}"):
        MaskedBatches(f"{folder}/packed", global_batch_rows=4, masking=Masking(token_weights=weights[1:]))


def test_a_folder_without_counts_is_refused(undisturbed: Undisturbed) -> None:
    with pytest.raises(ConfigError, match=r"no counts of words.*word_counts\.parquet"):
        find_rare_first(f"{undisturbed.output}/packed")
    with pytest.raises(ConfigError, match="not a path or URL"):
        find_rare_first(7)


@pytest.fixture(scope="module")
def rare(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run file and an output that was prepared with "rare" and one static copy."""
    folder = tmp_path_factory.mktemp("rare")
    ended = prepare(write_run_file(folder / "run.toml", undisturbed.corpus_folder, folder / "out"), *RARE_COPY)
    assert not [event for event in ended.events if "token_weights" in event.get("message", "")]
    return folder


RARE_COPY = ("mask.token_weights=rare", "mask.copies=1")


def test_rare_in_a_run_file_is_what_the_words_of_its_vocabulary_say(
    undisturbed: Undisturbed, rare: Path, tmp_path: Path
) -> None:
    masking = Masking(token_weights=find_rare_first(f"{rare}/out/tokenizer"))
    found = open_dataset(rare / "out" / "packed").manifest
    assert (found.masking, found.copies) == (masking, 1)
    assert verify(rare / "out").findings == ()
    by_hand = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    prepare(by_hand, f"mask.token_weights={masking.token_weights}", "mask.copies=1")
    assert read_shards(tmp_path / "out" / "packed") == read_shards(rare / "out" / "packed")
    before = read_tree(rare / "out")
    again = prepare(rare / "run.toml", *RARE_COPY)
    assert units_done(again.events) == set()
    assert not [event for event in again.events if event["event"] in ("note", "warning")]
    assert_same_tree(read_tree(rare / "out"), before)


def test_rare_as_the_default_of_loaders_is_resolved_too(undisturbed: Undisturbed, tmp_path: Path) -> None:
    run_file = write_run_file(tmp_path / "run.toml", undisturbed.corpus_folder, tmp_path / "out")
    prepare(run_file, "mask.copies=0")
    (note,) = [one["message"] for one in prepare(run_file, "mask.copies=0", RARE_COPY[0]).events if "message" in one]
    assert "token_weights = of" in note
    assert len(note) < 200
    masking = Masking(token_weights=find_rare_first(f"{tmp_path}/out/tokenizer"))
    assert MaskedBatches(f"{tmp_path}/out/packed", global_batch_rows=4).masking == masking
    assert verify(tmp_path / "out").findings == ()
    assert not [one for one in prepare(run_file, "mask.copies=0", RARE_COPY[0]).events if "message" in one]
    mask(tmp_path / "out" / "packed", Masking(strategy="span", token_weights=RARE), 1, engine={"workers": 1})
    assert open_dataset(tmp_path / "out" / "packed").manifest.masking == Masking(
        strategy="span", token_weights=masking.token_weights
    )
    assert verify(tmp_path / "out").findings == ()


def test_rare_in_a_train_file_is_fingerprinted_by_its_weights(rare: Path, tmp_path: Path) -> None:
    weights = find_rare_first(f"{rare}/out/tokenizer")

    def describe(dataset: Path, token_weights: object, steps: int) -> dict[str, dict[str, object]]:
        return {
            "data": {"dataset": str(dataset), "global_batch_rows": 4},
            "mask": {"rate": 0.2, "token_weights": token_weights},
            "model": {"hidden_size": 16, "num_layers": 1, "num_heads": 2},
            "run": {"output": str(tmp_path / "training"), "steps": steps, "device": "cpu"},
        }

    events: list[TrainEvent] = []
    train(describe(rare / "out/packed", "rare", 1), events.append)
    (started,) = [event for event in events if isinstance(event, TrainStarted)]
    assert started.masking == Masking(rate=0.2, token_weights=weights)
    assert train(describe(rare / "out/packed", list(weights), 2)).resumed_from == 1
    copied = shutil.copytree(rare / "out/packed", tmp_path / "packed")
    with pytest.raises(ConfigError, match=r"no counts of words.*run\.json"):
        train(describe(copied, "rare", 3))
    moved = Path(shutil.copytree(rare / "out", tmp_path / "moved"))
    words = (moved / "tokenizer" / "word_counts.parquet").read_bytes()
    (moved / "tokenizer" / "word_counts.parquet").unlink()
    with pytest.raises(ConfigError, match="no counts of words"):
        train(describe(moved / "packed", "rare", 3))
    (moved / "tokenizer" / "word_counts.parquet").write_bytes(words)
    with (moved / "tokenizer" / "tokenizer.json").open("a") as file:
        file.write("\n")
    with pytest.raises(ConfigError, match=r"no counts of words.*another tokenizer"):
        train(describe(moved / "packed", "rare", 3))


def test_rare_is_refused_where_there_are_no_words(rare: Path) -> None:
    run = {"input": {"paths": ["a"]}, "output": {"url": "o"}, "mask": {"token_weights": "rare"}}
    with pytest.raises(ConfigError, match=r'token_weights = "rare".*tokenizer\.from'):
        load_settings(RunFile, run | {"tokenizer": {"from": "vocab.txt"}}, "run")
    assert load_settings(RunFile, run | {"tokenizer": {"from": "vocab.txt", "extend": 9}}, "run")
    with pytest.raises(ConfigError, match="find_rare_first"):
        MaskedBatches(f"{rare}/out/packed", global_batch_rows=4, masking=Masking(token_weights=RARE))
