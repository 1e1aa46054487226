"""A tokenizer as files and back: built from trained pieces, or brought by the user and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, processors

from maskmill.pipeline.wordpiece.files.check_tokenizer import parse_tokenizer_json, refuse_unusable
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.vocab_file import dump_vocab, find_unwritable, parse_vocab
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.mask_vocabulary import MaskVocabulary
from maskmill.schemas.tokenizer.tokenizer_file import CLS, SEP, SPECIAL_TOKENS, UNK
from maskmill.schemas.tokenizer_config import describe_for_transformers

MAX_WORD_CHARACTERS = 100
"""A longer word is [UNK], as in BERT."""
_UNUSED = re.compile(r"\[unused\d+\]")


def build_tokenizer(pieces: Iterable[str], normalisation: Normalisation, path: str = "tokenizer.from") -> Tokenizer:
    """Make a BERT tokenizer of these pieces, the first of which has id 0; `path` is where they come from."""
    tokenizer = assemble_bert({piece: number for number, piece in enumerate(pieces)}, normalisation)
    refuse_unusable(tokenizer, path)
    add_template(tokenizer)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def assemble_bert(vocabulary: Mapping[str, int], normalisation: Normalisation) -> Tokenizer:
    """BERT's parts around a vocabulary, without added tokens and post-processor."""
    model = models.WordPiece(dict(vocabulary), unk_token=UNK, max_input_chars_per_word=MAX_WORD_CHARACTERS)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalisation.build_normalizer()
    tokenizer.pre_tokenizer = normalisation.build_pre_tokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return tokenizer


def add_template(tokenizer: Tokenizer) -> None:
    """Give a tokenizer BERT's post-processor: `[CLS] text [SEP]`."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B:1 {SEP}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (CLS, SEP)],
    )


def tokenizer_files(tokenizer: Tokenizer, *, model_max_length: int = 512) -> dict[str, bytes]:
    """Write a tokenizer as the files of a folder that `transformers.AutoTokenizer` loads.

    Args:
        tokenizer: As `build_tokenizer` or `load_tokenizer` returned it.
        model_max_length: Tokens, special ones included, beyond which `transformers` warns.

    Returns:
        File name to content: tokenizer.json, vocab.txt, tokenizer_config.json. The same tokenizer gives the
        same bytes. There is no vocab.txt where a reader of one would not give every id its piece back.
    """
    files = {"tokenizer.json": tokenizer.to_str(pretty=True).encode() + b"\n"}
    pieces = list_pieces(tokenizer)
    if find_unwritable(pieces) is None:
        files["vocab.txt"] = dump_vocab(pieces)
    files["tokenizer_config.json"] = describe_for_transformers(tokenizer.to_str(), model_max_length)
    return files


def explain_missing_vocab(tokenizer: Tokenizer) -> str | None:
    """The reason why `tokenizer_files` writes no vocab.txt; None if it writes one."""
    pieces = list_pieces(tokenizer)
    unwritable = find_unwritable(pieces)
    if unwritable is None:
        return None
    return (
        f"no vocab.txt is written: its readers would not give back piece {pieces[unwritable]!r} of id {unwritable}; "
        "load tokenizer.json instead"
    )


def load_tokenizer(
    files: Mapping[str, bytes] | bytes, normalisation: Normalisation, path: str = "tokenizer.from"
) -> Tokenizer:
    """Load a tokenizer that the user brings, without truncation and padding, its special tokens marked special.

    Args:
        files: A folder's files by name, of which tokenizer.json is taken if there, else vocab.txt; or the
            content of one of the two.
        normalisation: How text is normalised where there is only a vocab.txt.
        path: Where they come from, for messages.

    Raises:
        ConfigError: If it is not a WordPiece tokenizer, a special token is missing, ids have holes, or
            vocab.txt has duplicate or empty lines.
    """
    if isinstance(files, bytes):
        files = {"tokenizer.json" if _is_tokenizer_json(files) else "vocab.txt": files}
    if "tokenizer.json" in files:
        tokenizer = parse_tokenizer_json(files["tokenizer.json"], path)
    elif "vocab.txt" in files:
        tokenizer = build_tokenizer(parse_vocab(files["vocab.txt"], path), normalisation, path)
    else:
        raise ConfigError(
            "there is no tokenizer here",
            path=path,
            expected="tokenizer.json or vocab.txt",
            found=", ".join(sorted(files)) or "nothing",
            action="name one of the two files, or a folder that holds one",
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    tokenizer.add_special_tokens([token for token in SPECIAL_TOKENS if token not in special])
    return tokenizer


def describe_vocabulary(tokenizer: Tokenizer) -> tuple[MaskVocabulary, npt.NDArray[np.bool_]]:
    """Read off what packing and masking need, as a manifest keeps it.

    Args:
        tokenizer: As `build_tokenizer` or `load_tokenizer` returned it.

    Returns:
        The vocabulary, and which ids continue a word (their piece starts with `##`), bool `(vocab_size,)`.

    Raises:
        ConfigError: If no piece is ordinary text, so that none could replace another.
    """
    checked = refuse_unusable(tokenizer)
    return checked.describe_vocabulary(), np.array(checked.list_continuations(), np.bool_)


def count_cased_pieces(tokenizer: Tokenizer) -> int:
    """Pieces of ordinary text with a letter that has a lower case: a tokenizer that lowercases never makes them."""
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    return sum(
        piece != piece.lower() and piece not in added and not _UNUSED.fullmatch(piece)
        for piece in list_pieces(tokenizer)
    )


def list_pieces(tokenizer: Tokenizer) -> list[str]:
    """All pieces and added tokens in the order of their ids."""
    ids: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    return sorted(ids, key=ids.__getitem__)


def _is_tokenizer_json(content: bytes) -> bool:
    try:
        parsed: Any = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(parsed, dict)
