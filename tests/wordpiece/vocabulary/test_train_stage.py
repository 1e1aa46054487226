"""The stage after counting writes a tokenizer from the existing word counts, and measures it on each source."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
import xxhash

from maskmill.pipeline.engine.stage import execute_unit
from maskmill.pipeline.engine.units import UnitOutcome
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.files.brought_files import read_brought_files
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import build_tokenizer, load_tokenizer
from maskmill.pipeline.wordpiece.vocabulary.extend_vocabulary import extend_tokenizer
from maskmill.pipeline.wordpiece.vocabulary.measure_tokenizer import measure_texts
from maskmill.pipeline.wordpiece.vocabulary.select_words import select_words
from maskmill.pipeline.wordpiece.vocabulary.train import train_wordpiece
from maskmill.pipeline.wordpiece.vocabulary.train_stage import (
    BringUnit,
    TokenizerDetails,
    TrainContext,
    TrainUnit,
    bring_tokenizer,
    train_vocabulary,
)
from maskmill.pipeline.wordpiece.vocabulary.weigh_sources import weigh_sources
from maskmill.schemas.documents import DOCUMENT_SCHEMA
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.run_file import TokenizerSection
from maskmill.schemas.tokenizer.tokenizer_file import SPECIAL_TOKENS
from tests.wordpiece.count_files import count_by_tokenizers, write_rows
from tests.wordpiece.texts import SENTENCES
from tests.wordpiece.vocabulary.test_train import train_words_by_tokenizers

UNIT = TrainUnit(unit=0, model_max_length=128, word_counts="counted")
TEXTS = {"a": SENTENCES * 3, "b": ["the dog [MASK] sleeps \u4e2d", "q" * 101]}
FILES = ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]


def make_store() -> Store:
    return Store(f"memory://{uuid.uuid4().hex}")


def make_rows() -> dict[tuple[str, str], int]:
    return {
        (word, source): count
        for source, texts in TEXTS.items()
        for word, count in count_by_tokenizers(texts, Normalisation()).items()
    }


def train(**settings: Any) -> tuple[Store, UnitOutcome[TokenizerDetails]]:
    store = make_store()
    write_rows(make_rows(), store=store)
    brought = settings.pop("brought", {})
    return store, train_vocabulary(TrainContext(store, TokenizerSection(**settings), brought), UNIT)


def read_pieces(store: Store) -> list[str]:
    return store.read_bytes("tokenizer/vocab.txt").decode().split("\n")[:-1]


def test_the_vocabulary_is_that_of_the_weighted_words_with_every_setting() -> None:
    store, outcome = train(
        vocab_size=100,
        min_frequency=4,
        limit_alphabet=25,
        initial_alphabet="\u00df",
        unused=3,
        size_multiple=64,
        alpha=0.5,
        max_words=40,
    )
    counts = write_rows(make_rows())
    selected = select_words(counts, 40, weigh_sources(counts.sources, 500), max_characters=100)
    trained = train_wordpiece(
        selected.words,
        100,
        min_frequency=4,
        limit_alphabet=25,
        initial_alphabet="\u00df",
        unused=3,
        size_multiple=64,
    )
    assert read_pieces(store) == trained.pieces
    assert outcome.details.vocab_size == len(trained.pieces) == 128
    rows = make_rows()
    assert outcome.counts["words"] == sum(rows.values())
    assert outcome.counts["distinct_words"] == len({word for word, _ in rows})
    assert outcome.counts["words_too_long"] == outcome.counts["word_occurrences_too_long"] == 1
    assert outcome.counts["words_cut"] == outcome.counts["distinct_words"] - 1 - 40
    assert outcome.counts["num_words"] == 40
    assert all(type(count) is int for count in outcome.counts.values())
    assert TokenizerDetails.model_validate_json(outcome.details.model_dump_json()) == outcome.details


def test_words_too_long_for_the_encoder_are_as_if_they_were_not_there() -> None:
    """The pieces are those of the text without them, and those of `WordPieceTrainer` given that text."""
    rows = {**make_rows(), ("\u0436" * 101, "a"): 50, ("acgt" * 300, "b"): 9, ("\u00e9" * 100, "b"): 7}
    without = {row: count for row, count in rows.items() if len(row[0]) <= 100}
    stores = [make_store() for _ in range(3)]
    for store, counted in zip(stores, (rows, without, rows), strict=True):
        write_rows(counted, store=store)
    settings = TokenizerSection(vocab_size=150)
    outcomes = [train_vocabulary(TrainContext(store, settings, {}), UNIT) for store in stores[:2]]
    assert read_pieces(stores[0]) == read_pieces(stores[1])
    by_word = Counter[str]()
    for (word, _), count in without.items():
        by_word[word] += count
    assert read_pieces(stores[0]) == train_words_by_tokenizers(by_word, 150, settings.min_frequency, 1000)
    found = [(outcome.counts["words_too_long"], outcome.counts["word_occurrences_too_long"]) for outcome in outcomes]
    assert found == [(3, 60), (0, 0)]
    reports = outcomes[0].details.sources
    assert [report.words_too_long for report in reports] == [50, 10]
    assert [report.characters_too_long for report in reports] == [50 * 101, 9 * 1200 + 101]
    asked = train_vocabulary(TrainContext(stores[2], TokenizerSection(vocab_size=150, long_words="train"), {}), UNIT)
    assert "\u0436" in read_pieces(stores[2])
    assert asked.counts["words_too_long"] == 0
    assert asked.details.sources[0].words_too_long == 50


def test_a_brought_tokenizer_says_which_words_are_too_long() -> None:
    description = json.loads(make_brought()["tokenizer.json"])
    description["model"]["max_input_chars_per_word"] = 3
    brought = {"tokenizer.json": json.dumps(description).encode()}
    store, outcome = train(brought=brought, **{"from": "tokenizer.json"}, extend=3)
    assert outcome.details.max_word_characters == 3
    assert outcome.counts["num_words"] == len({word for word, _ in make_rows() if len(word) <= 3})
    assert all(len(piece.removeprefix("##")) <= 3 for piece in read_pieces(store) if "[" not in piece)


def test_the_folder_is_described_by_its_checksums_and_sources() -> None:
    store, outcome = train(vocab_size=150)
    assert outcome.details.checksums == {
        name: xxhash.xxh3_128_hexdigest(store.read_bytes(f"tokenizer/{name}")) for name in FILES
    } | {"word_counts.parquet": "counted"}
    config = json.loads(store.read_bytes("tokenizer/tokenizer_config.json"))
    assert config["model_max_length"] == 128
    tokenizer = load_tokenizer(store.read_bytes("tokenizer/tokenizer.json"), Normalisation())
    reports = outcome.details.sources
    for found, expected in zip(reports, measure_texts(tokenizer, TEXTS), strict=True):
        # The bytes and letters of these word counts are made up.
        made_up = {
            "text_bytes": 10 * found.words,
            "letters": 4 * found.words,
            "letters_changed": found.words,
            "words_changed": found.words,
        }
        assert found == expected.model_copy(update=made_up)


def test_the_unit_runs_as_a_unit_and_twice_to_the_same_bytes() -> None:
    store, _ = train(vocab_size=150)
    files = {name: store.read_bytes(f"tokenizer/{name}") for name in FILES}
    other = make_store()
    write_rows(make_rows(), num_partitions=5, seed=1, store=other)
    execute_unit(train_vocabulary, TrainContext(other, TokenizerSection(vocab_size=150), {}), other, UNIT)
    assert {name: other.read_bytes(f"tokenizer/{name}") for name in FILES} == files


def make_brought() -> dict[str, bytes]:
    pieces = [*SPECIAL_TOKENS, *(f"[unused{number}]" for number in range(9)), *"thedogsfx", "##e", "##o", "##s"]
    return {"tokenizer.json": build_tokenizer(pieces, Normalisation()).to_str().encode()}


@pytest.mark.parametrize("into", ["unused", "append"])
def test_a_brought_tokenizer_is_extended_from_the_word_counts(into: Literal["unused", "append"]) -> None:
    settings = {"from": "tokenizer.json", "extend": 9, "extend_into": into, "min_frequency": 3, "limit_alphabet": 4}
    store, outcome = train(brought=make_brought(), **settings, alpha=0.5, max_words=40)
    counts = write_rows(make_rows())
    words = select_words(counts, 40, weigh_sources(counts.sources, 500), max_characters=100).words
    brought = load_tokenizer(make_brought(), Normalisation())
    extended, extension = extend_tokenizer(brought, words, 9, into, min_frequency=3, limit_alphabet=4)
    ids = extended.get_vocab()
    assert read_pieces(store) == sorted(ids, key=ids.__getitem__)
    assert outcome.counts["pieces_added"] == len(extension.pieces) == 8
    assert outcome.counts["num_characters"] == 4
    assert outcome.counts["tokens_after"] == extension.tokens_after
    assert outcome.counts["words_cut"] > 0
    assert outcome.details.vocab_size == len(ids)
    assert sum(source.unknown for source in outcome.details.sources) > 0


def test_a_brought_tokenizer_is_written_and_measured_on_a_sample() -> None:
    store = make_store()
    rows = [(source, text) for source in sorted(TEXTS) for text in TEXTS[source]]
    columns = {"doc_id": ["id"] * len(rows)}
    columns |= {"source": [source for source, _ in rows], "text": [text for _, text in rows]}
    batch = pa.RecordBatch.from_pydict(columns, schema=DOCUMENT_SCHEMA)
    shard = write_blocks(store, "documents/shard-00000.arrow", DOCUMENT_SCHEMA, [batch])
    context = TrainContext(store, TokenizerSection(special_in_text="special"), make_brought())
    outcome = bring_tokenizer(context, BringUnit(unit=0, model_max_length=64, path=shard.path, checksum=shard.checksum))
    assert outcome.counts == {}
    assert sorted(store.list("tokenizer")) == [f"tokenizer/{name}" for name in FILES]
    assert outcome.details.checksums.keys() == set(FILES)
    reports = outcome.details.sources
    # dog, [MASK], sleeps and so on: a special token where the run says so.
    assert [report.source for report in reports] == ["a", "b"]
    assert reports[1].words == 6
    assert outcome.details.vocab_size == load_tokenizer(make_brought(), Normalisation()).get_vocab_size()
    assert json.loads(store.read_bytes("tokenizer/tokenizer_config.json"))["model_max_length"] == 64


@pytest.mark.parametrize("character", ["\n", " ", "\u200b", "\u2028", "\ue000"])
def test_an_initial_character_that_is_in_no_word_is_refused(character: str) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer.initial_alphabet: this character is in no word"):
        train(initial_alphabet=f"a{character}")


def test_brought_files_are_found_by_path_or_folder_and_missed_in_words(tmp_path: Any) -> None:
    for name, content in make_brought().items():
        (tmp_path / name).write_bytes(content)
    assert read_brought_files(str(tmp_path)) == make_brought()
    assert read_brought_files(str(tmp_path / "tokenizer.json")) == make_brought()
    with pytest.raises(ConfigError, match="there is no tokenizer here"):
        read_brought_files(str(tmp_path / "vocab.txt"))


@pytest.mark.parametrize(("alpha", "second"), [(1.0, "ab"), (0.0, "cd")])
def test_a_small_source_weighs_more_with_a_smaller_alpha(alpha: float, second: str) -> None:
    # 10,000 words against 100: evened out, cd counts 60 * 100 times, between aq and ab.
    rows = {("aq", "large"): 9100, ("ab", "large"): 900, ("cd", "small"): 60, ("ef", "small"): 40}
    store = make_store()
    write_rows(rows, store=store)
    settings = TokenizerSection(vocab_size=len(SPECIAL_TOKENS) + 11 + 2, alpha=alpha)
    train_vocabulary(TrainContext(store, settings, {}), UNIT)
    assert read_pieces(store)[-2:] == ["aq", second]


def test_a_folder_whose_vocabulary_is_of_other_text_is_refused(tmp_path: Path) -> None:
    """`AutoTokenizer` of that folder goes by its tokenizer_config.json, so ids would differ and nobody be told."""
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    config = tmp_path / "tokenizer_config.json"
    config.write_text('{"do_lower_case": false, "tokenize_chinese_chars": false}')
    expected = "tokenizer.lowercase = false, tokenizer.strip_accents = false, tokenizer.handle_chinese_chars = false"
    with pytest.raises(ConfigError, match=f"normalise text differently; expected {expected}"):
        read_brought_files(str(tmp_path), Normalisation())
    as_told = Normalisation(lowercase=False, handle_chinese_chars=False)
    assert list(read_brought_files(str(tmp_path), as_told)) == ["vocab.txt"]
    assert list(read_brought_files(str(tmp_path / "vocab.txt"), Normalisation())) == ["vocab.txt"]
    config.write_text('{"do_lower_case": true, "model_max_length": 512}')
    assert list(read_brought_files(str(tmp_path), Normalisation())) == ["vocab.txt"]
    config.write_text("[]")
    with pytest.raises(ConfigError, match=r"tokenizer_config.json: not the settings"):
        read_brought_files(str(tmp_path), Normalisation())


@pytest.mark.parametrize("name", ["vocab", "vocab.TXT", "vocab.txt.gz"])
def test_a_file_of_unknown_kind_is_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[PAD]\n")
    with pytest.raises(ConfigError, match="unknown kind of tokenizer file"):
        read_brought_files(str(tmp_path / name))
