"""Settings of masks that fit a dataset's vocabulary: its words are known, and it has the tokens that are protected."""

from __future__ import annotations

from collections.abc import Callable

from maskmill.pipeline.masking.strategies.table import find_strategy
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.mask_vocabulary import MaskVocabulary
from maskmill.schemas.masking import Masking
from maskmill.schemas.token_weights import RARE
from maskmill.schemas.tokenizer.tokenizer_file import check_tokenizer_json


def check_words(masking: Masking, vocabulary: MaskVocabulary, path: str) -> None:
    """Refuse a strategy of words for a dataset whose words are not known.

    Args:
        masking: The settings wanted.
        vocabulary: Of the dataset.
        path: The dataset, for the message.

    Raises:
        ConfigError: The dataset's manifest does not say which pieces continue a word.
    """
    if find_strategy(masking).needs_words and vocabulary.continuation_bits is None:
        raise ConfigError(
            "the words of this dataset are not known",
            path=path,
            expected=f"a manifest that says which pieces continue a word, for the mask strategy {masking.strategy}",
            found="one of an earlier schema version, which does not",
            action='prepare the rows again with this version, or mask with strategy = "token"',
        )


def make_tables(
    masking: Masking, vocabulary: MaskVocabulary, read_tokenizer: Callable[[], bytes], path: str
) -> MaskTables:
    """Make the tables that masks of these settings are drawn from.

    Args:
        masking: The settings in force.
        vocabulary: Of the dataset.
        read_tokenizer: Gives the dataset's `tokenizer.json`; called where tokens are protected by their text.
        path: The dataset, for messages.

    Raises:
        ConfigError: Its words are not known and the strategy needs them, it lacks a protected token, or there are not
            as many weights as ids.
    """
    check_words(masking, vocabulary, path)
    if masking.token_weights == RARE:
        raise ConfigError(
            f"token_weights = {RARE!r} is for run files, train files and maskmill mask, which find the counts of words",
            path="mask.token_weights",
            expected=f"a weight for each id of {path}",
            found=repr(RARE),
            action='give Masking(token_weights=find_rare_first("out/tokenizer"))',
        )
    weights = masking.list_weights()
    if weights is not None and len(weights) != vocabulary.vocab_size:
        raise ConfigError(
            "there are not as many weights as ids",
            path="mask.token_weights",
            expected=f"{vocabulary.vocab_size}, one for each id of {path}",
            found=str(len(weights)),
            action="make them for this tokenizer",
        )
    return MaskTables.build(vocabulary, _find_protected(masking, read_tokenizer, path))


def _find_protected(masking: Masking, read_tokenizer: Callable[[], bytes], path: str) -> list[int]:
    if not masking.protect:
        return []
    pieces = check_tokenizer_json(read_tokenizer(), path).list_pieces()
    ids = {piece: number for number, piece in enumerate(pieces)}
    missing = sorted(set(masking.protect) - ids.keys())
    if missing:
        raise ConfigError(
            "a protected token is not in the vocabulary",
            path="mask.protect",
            expected=f"tokens in the vocabulary of {path}",
            found=", ".join(repr(token) for token in missing),
            action="write it as the vocabulary does, such as ##ing for a piece that continues a word, or leave it out",
        )
    return [ids[token] for token in masking.protect]
