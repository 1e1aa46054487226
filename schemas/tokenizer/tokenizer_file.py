"""Parse an untrusted `tokenizer.json`: bounded and checked before `tokenizers` reads it.

Every tokenizer goes through `check_tokenizer_json`: one that is brought or trained, that of a dataset, that of a run
that continues. `tokenizers` loads and uses an accepted one without a panic, and its ids are 0, 1, 2 and so on.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import FailFast, Field, StringConstraints, ValidationError, field_validator

from maskmill.schemas.bounded_json import parse_json
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.mask_vocabulary import MAX_VOCAB_SIZE, MaskVocabulary, write_continuation_bits
from maskmill.schemas.tokenizer.normalizers import Normalizer
from maskmill.schemas.tokenizer.patterns import MAX_TEXT, Part
from maskmill.schemas.tokenizer.post_processors import Decoder, Padding, PostProcessor, Truncation
from maskmill.schemas.tokenizer.pre_tokenizers import PreTokenizer

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS
MAX_TOKENIZER_BYTES = 32 << 20
"""Largest size of the file; the largest vocabularies in use, of a million pieces, take 20 MB."""
MAX_PIECE = 4096
"""Most characters of a piece or an added token."""
MAX_ADDED = 1 << 16
MAX_SPECIAL = 4096
"""Most added tokens that are special: text is searched for each of them."""
MAX_WORD = 1000
"""Characters of the longest word that is not [UNK]: the time for a word grows with the square of its length."""
_MAX_SHOWN = 200
_UNUSED = re.compile(r"\[unused\d+\]")
_NOT_READ = "tokenizer.json cannot be read"


class AddedToken(Part):
    """A token that is found in text before it is split."""

    id: Annotated[int, Field(ge=0, lt=2**32)]
    content: Annotated[str, StringConstraints(min_length=1, max_length=MAX_PIECE)]
    single_word: bool
    lstrip: bool
    rstrip: bool
    normalized: bool
    special: bool


class WordPieceModel(Part):
    """The vocabulary."""

    type: Literal["WordPiece"] = "WordPiece"
    unk_token: Annotated[str, StringConstraints(max_length=MAX_PIECE)]
    continuing_subword_prefix: Annotated[str, StringConstraints(max_length=MAX_TEXT)]
    max_input_chars_per_word: Annotated[int, Field(ge=1, le=MAX_WORD)]
    vocab: dict[str, Any]

    @field_validator("vocab")
    @classmethod
    def _are_ids(cls, vocab: dict[str, Any]) -> dict[str, int]:
        # Checked by hand: pydantic would list every fault, of which there may be a million.
        if len(vocab) > MAX_VOCAB_SIZE:
            raise ValueError(f"{len(vocab)} pieces, and at most {MAX_VOCAB_SIZE} are accepted")
        for piece, number in vocab.items():
            if type(number) is not int or not 0 <= number < 2**32:
                raise ValueError(f"the id of {piece[:MAX_TEXT]!r} is {str(number)[:MAX_TEXT]}")
            if len(piece) > MAX_PIECE:
                raise ValueError(f"piece {number} has {len(piece)} characters, and at most {MAX_PIECE} are accepted")
        return vocab


class TokenizerFile(Part):
    """The content of a `tokenizer.json`."""

    version: Literal["1.0"] = "1.0"
    truncation: Truncation | None = None
    padding: Padding | None = None
    added_tokens: Annotated[list[AddedToken], FailFast(), Field(max_length=MAX_ADDED)]
    normalizer: Normalizer | None = None
    pre_tokenizer: PreTokenizer | None = None
    post_processor: PostProcessor | None = None
    decoder: Decoder | None = None
    model: WordPieceModel

    def list_pieces(self) -> list[str]:
        """All pieces and added tokens in the order of their ids."""
        ids = self.model.vocab | {token.content: token.id for token in self.added_tokens}
        return sorted(ids, key=ids.__getitem__)

    def list_continuations(self) -> list[bool]:
        """Of each id, whether its piece continues a word."""
        prefix = self.model.continuing_subword_prefix
        return [piece.startswith(prefix) for piece in self.list_pieces()]

    def describe_vocabulary(self) -> MaskVocabulary:
        """Describe the vocabulary for a manifest.

        Raises:
            ConfigError: No piece is ordinary text, so that none could replace another.
        """
        pieces = self.list_pieces()
        special = {token.content for token in self.added_tokens if token.special}.union(SPECIAL_TOKENS)
        excluded = [piece in special or _UNUSED.fullmatch(piece) is not None for piece in pieces]
        if all(excluded):
            raise ConfigError(
                "the vocabulary has no ordinary piece",
                path="tokenizer",
                expected="at least one piece that is neither special nor unused",
                found=f"{len(pieces)} special and unused ids",
                action="bring a tokenizer with text pieces, or raise tokenizer.vocab_size",
            )
        numbers = {token: pieces.index(token) for token in SPECIAL_TOKENS}
        return MaskVocabulary(
            vocab_size=len(pieces),
            pad_id=numbers[PAD],
            unk_id=numbers[UNK],
            cls_id=numbers[CLS],
            sep_id=numbers[SEP],
            mask_id=numbers[MASK],
            excluded_ranges=tuple(_find_runs(excluded)),
            continuation_bits=write_continuation_bits(self.list_continuations()),
        )


def check_tokenizer_json(content: bytes, path: str = "tokenizer.from") -> TokenizerFile:
    """Parse a tokenizer.json and check every value in it.

    Args:
        content: The file.
        path: Where it comes from, for messages.

    Raises:
        ConfigError: It is not a WordPiece tokenizer with BERT's special tokens and ids without holes, a part of it is
            not supported, or a value is out of its bounds.
    """
    description = _parse(content, path)
    model = description.get("model")
    kind = model.get("type", "WordPiece") if isinstance(model, dict) else None
    if isinstance(kind, str) and kind != "WordPiece":
        raise ConfigError(
            "the tokenizer's model is not WordPiece",
            path=path,
            expected="WordPiece",
            found=kind[:_MAX_SHOWN],
            action="bring a WordPiece tokenizer, or remove tokenizer.from to train one",
        )
    try:
        found = TokenizerFile.model_validate(description)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:_MAX_SHOWN]
        raise _refuse(path, first["msg"].removeprefix("Value error, ")[:_MAX_SHOWN], place) from None
    _check_special_tokens(found, path)
    _check_ids(found, path)
    return found


def _parse(content: bytes, path: str) -> dict[str, Any]:
    """Parse a JSON object of bounded size, as `tokenizers` would read it."""
    try:
        found = parse_json(content, MAX_TOKENIZER_BYTES, has_unique_keys=True)
    except ValueError as error:
        raise _refuse(path, str(error)[:_MAX_SHOWN]) from None
    if not isinstance(found, dict):
        raise _refuse(path, type(found).__name__)
    return found


def _refuse(path: str, found: str, place: str | None = None) -> ConfigError:
    return ConfigError(
        _NOT_READ,
        path=path,
        place=place,
        expected="a tokenizer.json of the tokenizers library, with parts that are supported here",
        found=found,
        action="write it again with Tokenizer.save, or bring the vocab.txt",
    )


def _check_special_tokens(found: TokenizerFile, path: str) -> None:
    added = {token.content for token in found.added_tokens}
    missing = [token for token in SPECIAL_TOKENS if token not in found.model.vocab and token not in added]
    if not missing and found.model.unk_token == UNK and UNK not in found.model.vocab:
        missing = [UNK]  # only among the added tokens, which the model does not use
    if missing:
        raise ConfigError(
            "the tokenizer lacks special tokens",
            path=path,
            expected=" ".join(SPECIAL_TOKENS),
            found=f"no {' '.join(missing)}",
            action="add them to the vocabulary",
        )
    if found.model.unk_token != UNK:
        raise ConfigError(
            "the tokenizer has another token for unknown words",
            path=path,
            expected=UNK,
            found=found.model.unk_token[:_MAX_SHOWN],
            action=f"rename the piece to {UNK} and set model.unk_token in tokenizer.json",
        )
    num_special = sum(token.special for token in found.added_tokens)
    if num_special > MAX_SPECIAL:
        raise _refuse(path, f"{num_special} special tokens, and at most {MAX_SPECIAL} are accepted", "added_tokens")


def _check_ids(found: TokenizerFile, path: str) -> None:
    """Check that ids are 0, 1, 2 and so on, and that stated ids are those that the library assigns."""
    ids: dict[str, int] = dict(found.model.vocab)
    seen = set()
    for token in found.added_tokens:
        # The library assigns an added token the id of its piece, or the next free one, whatever the file says.
        expected = ids.setdefault(token.content, max(len(found.model.vocab), len(ids)))
        if token.content in seen or token.id != expected:
            raise _refuse(path, f"id {token.id} for {token.content[:MAX_TEXT]!r}", "added_tokens")
        seen.add(token.content)
    if set(ids.values()) != set(range(len(ids))):
        holes = sorted(set(range(min(max(ids.values()) + 1, 2 * len(ids)))) - set(ids.values()))
        count = max(ids.values()) + 1 - len(set(ids.values()))
        raise ConfigError(
            "the tokenizer's ids are not 0, 1, 2 and so on, each once",
            path=path,
            expected=f"ids 0 to {len(ids) - 1}",
            found=f"{count} holes, the first at {holes[0]}" if holes else "one id for two pieces",
            action="give every id a piece, such as [unused1]",
        )
    for token, number in getattr(found.post_processor, "named_ids", list)():
        if ids.get(token) != number:
            raise _refuse(path, f"id {number} for {token!r}", "post_processor")


def _find_runs(excluded: list[bool]) -> Iterator[tuple[int, int]]:
    """The half-open ranges of excluded ids."""
    for is_excluded, run in itertools.groupby(range(len(excluded)), excluded.__getitem__):
        if is_excluded:
            numbers = list(run)
            yield numbers[0], numbers[-1] + 1
