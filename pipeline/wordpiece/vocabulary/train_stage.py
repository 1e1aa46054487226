"""The step after counting: train, bring or extend the vocabulary, measure it, and write the tokenizer folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

import xxhash
from pydantic import model_validator
from tokenizers import Tokenizer

from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitDescription, UnitOutcome
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.counting.count_stage import normalisation_of
from maskmill.pipeline.wordpiece.counting.word_counts import WordCounts
from maskmill.pipeline.wordpiece.encoding.load_encoders import SpecialInText
from maskmill.pipeline.wordpiece.files.check_tokenizer import read_normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import (
    MAX_WORD_CHARACTERS,
    build_tokenizer,
    count_cased_pieces,
    explain_missing_vocab,
    load_tokenizer,
    tokenizer_files,
)
from maskmill.pipeline.wordpiece.vocabulary.extend_vocabulary import extend_tokenizer
from maskmill.pipeline.wordpiece.vocabulary.measure_tokenizer import measure_texts, measure_word_counts
from maskmill.pipeline.wordpiece.vocabulary.sample_texts import sample_texts
from maskmill.pipeline.wordpiece.vocabulary.select_words import SelectedWords, select_words
from maskmill.pipeline.wordpiece.vocabulary.train import train_wordpiece
from maskmill.pipeline.wordpiece.vocabulary.weigh_sources import weigh_sources
from maskmill.schemas.counting import Count
from maskmill.schemas.counts import SourceReport
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.layout import WORD_COUNTS, tokenizer_folder
from maskmill.schemas.receipt import Details, Items, Named
from maskmill.schemas.run_file import TokenizerSection

SAMPLE_BYTES = 4 << 20
"""Text that a brought tokenizer is measured on."""


@dataclasses.dataclass(frozen=True)
class TrainContext:
    """The context of the train and bring stages."""

    output: Store
    settings: TokenizerSection
    brought: dict[str, bytes]
    """The files of the tokenizer that the user names, empty where a vocabulary is trained."""

    @property
    def folder(self) -> str:
        """Where the tokenizer is written."""
        return tokenizer_folder(self.settings.name)


class TrainUnit(UnitDescription):
    """Train the vocabulary from the word counts, or extend the one that the user brings."""

    stage: str = "train"
    model_max_length: int
    word_counts: str
    """xxh3-128 of `word_counts.parquet`."""


class BringUnit(UnitDescription):
    """Take the tokenizer that the user brings and measure it.

    Attributes:
        model_max_length: For `tokenizer_config.json`.
        path: Of a document shard, a random part of the corpus, that a sample is taken from; empty where there is none.
        checksum: Of it, xxh3-128.
    """

    stage: str = "bring"
    model_max_length: int
    path: str
    checksum: str


class TokenizerDetails(Details):
    """The tokenizer folder that was written, and the facts behind warnings.

    Attributes:
        checksums: xxh3-128 of each file of the folder.
        vocab_size: Pieces.
        sources: What it makes of each source.
        strips_accents: Whether it does.
        pieces_never_made: Cased pieces where text is lowercased.
        no_vocab_txt: Why there is no vocab.txt; `None` if there is one.
        max_word_characters: Beyond which a word is [UNK].
    """

    checksums: Named[str]
    vocab_size: Count
    sources: Items[SourceReport]
    strips_accents: bool
    pieces_never_made: Count
    no_vocab_txt: str | None
    max_word_characters: Count

    @model_validator(mode="after")
    def _names_the_tokenizer(self) -> TokenizerDetails:
        if "tokenizer.json" not in self.checksums:
            raise ValueError("checksums lack tokenizer.json")
        return self


def train_vocabulary(context: TrainContext, unit: TrainUnit) -> UnitOutcome[TokenizerDetails]:
    """Train or extend, measure, and write the tokenizer folder; the one unit of the train stage.

    Raises:
        ConfigError: The vocabulary is too small for its alphabet, or cannot be extended.
        FileNotFoundError: There are no word counts.
    """
    settings = context.settings
    counts = WordCounts.open(context.output, f"{context.folder}/{WORD_COUNTS}")
    weights = weigh_sources(counts.sources, settings.alpha_thousandths)
    extended = load_tokenizer(context.brought, normalisation_of(settings)) if context.brought else None
    max_characters = extended.model.max_input_chars_per_word if extended else MAX_WORD_CHARACTERS
    is_limited = settings.long_words == "skip"
    selected = select_words(counts, settings.max_words, weights, max_characters if is_limited else None)
    if extended is not None:
        tokenizer, found = _extend(settings, extended, selected)
    else:
        tokenizer, found = _train(settings, selected)
    files = tokenizer_files(tokenizer, model_max_length=unit.model_max_length)
    checksums = write_folder(context.output, context.folder, files) | {WORD_COUNTS: unit.word_counts}
    numbers = {
        "words": selected.num_occurrences,
        "distinct_words": selected.num_distinct,
        "words_too_long": selected.words_too_long,
        "word_occurrences_too_long": selected.word_occurrences_too_long,
        "words_cut": selected.words_cut,
        "word_occurrences_cut": selected.word_occurrences_cut,
    }
    return _describe(tokenizer, checksums, numbers | found, measure_word_counts(tokenizer, counts))


def _train(settings: TokenizerSection, selected: SelectedWords) -> tuple[Tokenizer, dict[str, int]]:
    normalisation = normalisation_of(settings)
    _refuse_unwritable(settings.initial_alphabet)
    trained = train_wordpiece(
        selected.words,
        settings.vocab_size,
        min_frequency=settings.min_frequency,
        limit_alphabet=settings.limit_alphabet,
        initial_alphabet=settings.initial_alphabet,
        unused=settings.unused,
        size_multiple=settings.size_multiple,
    )
    counted = {name: value for name, value in vars(trained).items() if isinstance(value, int)}
    return build_tokenizer(trained.pieces, normalisation), counted


def _extend(
    settings: TokenizerSection, extended: Tokenizer, selected: SelectedWords
) -> tuple[Tokenizer, dict[str, int]]:
    tokenizer, extension = extend_tokenizer(
        extended,
        selected.words,
        settings.extend,
        settings.extend_into,
        min_frequency=settings.min_frequency,
        limit_alphabet=settings.limit_alphabet,
    )
    counted = {name: value for name, value in vars(extension).items() if isinstance(value, int)}
    return tokenizer, counted | {"pieces_added": len(extension.pieces)}


def _refuse_unwritable(initial_alphabet: str) -> None:
    """Refuse characters that are in no word: a line's end would be a line of its own in vocab.txt."""
    for character in initial_alphabet:
        if character.isspace() or not character.isprintable():
            raise ConfigError(
                "this character is in no word",
                path="tokenizer.initial_alphabet",
                expected="letters, digits, marks, symbols and punctuation",
                found=ascii(character),
                action="leave it out",
            )


def bring_tokenizer(context: TrainContext, unit: BringUnit) -> UnitOutcome[TokenizerDetails]:
    """Write the tokenizer folder from files that the user brought, and measure it; the one unit of the bring stage.

    The sources are those of a sample of the documents.

    Raises:
        ConfigError: It is no WordPiece tokenizer with the five special tokens.
        ShardCorruptError: The document shard is not what was written.
    """
    tokenizer = load_tokenizer(context.brought, normalisation_of(context.settings))
    files = tokenizer_files(tokenizer, model_max_length=unit.model_max_length)
    checksums = write_folder(context.output, context.folder, files)
    texts = sample_texts(context.output, [(unit.path, unit.checksum)] if unit.path else [], SAMPLE_BYTES)
    special = SpecialInText(context.settings.special_in_text)
    return _describe(tokenizer, checksums, {}, measure_texts(tokenizer, texts, special))


def _describe(
    tokenizer: Tokenizer, checksums: dict[str, str], counts: dict[str, int], sources: Sequence[SourceReport]
) -> UnitOutcome[TokenizerDetails]:
    strips_accents, pieces_never_made = False, 0
    with contextlib.suppress(ConfigError):  # one that is not BERT's, which only a brought tokenizer.json can have
        normalisation = read_normalisation(tokenizer)
        strips_accents = normalisation.strips_accents
        pieces_never_made = count_cased_pieces(tokenizer) if normalisation.lowercase else 0
    details = TokenizerDetails(
        checksums=checksums,
        vocab_size=tokenizer.get_vocab_size(),
        sources=list(sources),
        strips_accents=strips_accents,
        pieces_never_made=pieces_never_made,
        no_vocab_txt=explain_missing_vocab(tokenizer),
        max_word_characters=tokenizer.model.max_input_chars_per_word,
    )
    return UnitOutcome([], counts, details)


TRAIN = Stage(
    "train vocabulary",
    "merging the most frequent pairs of pieces",
    TrainUnit,
    TokenizerDetails,
    train_vocabulary,
)
BRING = Stage(
    "take the tokenizer",
    "measuring the tokenizer on a sample of the text",
    BringUnit,
    TokenizerDetails,
    bring_tokenizer,
)


def write_folder(output: Store, folder: str, files: dict[str, bytes]) -> dict[str, str]:
    """Write the files of a tokenizer's folder; returns the xxh3-128 of each."""
    for name, data in files.items():
        output.write_bytes(f"{folder}/{name}", data)
    return {name: xxhash.xxh3_128_hexdigest(data) for name, data in files.items()}
