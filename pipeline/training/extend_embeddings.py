"""New pieces of a vocabulary start as the mean of the pieces that wrote them before.

So a model that continues on the text of a new domain begins near where it was: a word that was three pieces is one, and
its embedding is their mean (as in arXiv 2109.07460, section 3.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.tokenizer.tokenizer_file import SPECIAL_TOKENS

CONTINUES = "##"
_UNUSED = re.compile(r"\[unused\d+\]")
_UNK = "[UNK]"


def find_new_pieces(old: Sequence[str], new: Sequence[str], path: str) -> dict[int, list[int]]:
    """Compare the vocabulary that a model was trained with and that of the rows it goes on with.

    Args:
        old: Pieces by id.
        new: The same of the rows: every old piece must have its id there, but for `[unusedN]`.
        path: Where the model is, for messages.

    Returns:
        The ids of new pieces, each with the old ids that its text was encoded as.

    Raises:
        ConfigError: The rows were encoded with a tokenizer that is neither the model's nor an extension of it.
    """
    ids = {piece: number for number, piece in enumerate(old)}
    found = {}
    for number, piece in enumerate(new):
        before = old[number] if number < len(old) else None
        if piece == before:
            continue
        if piece in ids or piece in SPECIAL_TOKENS or (before is not None and not _UNUSED.fullmatch(before)):
            raise ConfigError(
                "the rows were encoded with another tokenizer than the model's",
                path=path,
                place=f"id {number}",
                expected=repr(before) if before is not None else "a piece that the model's tokenizer has not",
                found=f"{piece!r} in data.dataset",
                action="prepare with tokenizer.from = this folder, and perhaps tokenizer.extend",
            )
        found[number] = split_piece(piece, ids)
    return found


def split_piece(piece: str, ids: Mapping[str, int]) -> list[int]:
    """The ids that the text of a piece was encoded as, longest match first; that of [UNK] if it could not be."""
    text, start, found = piece.removeprefix(CONTINUES), 0, []
    continues = piece.startswith(CONTINUES)
    while start < len(text):
        prefix = CONTINUES if start or continues else ""
        stop = next((stop for stop in range(len(text), start, -1) if prefix + text[start:stop] in ids), None)
        if stop is None:
            return [ids[_UNK]]
        found.append(ids[prefix + text[start:stop]])
        start = stop
    return found


def extend_embeddings(model: Any, new_pieces: Mapping[int, Sequence[int]], vocab_size: int) -> None:
    """Make room for new pieces, and set their embeddings, and the rows and biases of the output, to means of old ones.

    Args:
        model: Changed in place; it has no fewer rows afterwards than before.
        new_pieces: As `find_new_pieces` returns them.
        vocab_size: Ids are below it.
    """
    if vocab_size > model.config.vocab_size:
        model.resize_token_embeddings(vocab_size, mean_resizing=False)
    output = model.get_output_embeddings()
    of_output = [] if output is None else [output.weight, output.bias]  # a discriminator predicts no tokens
    tables = [model.get_input_embeddings().weight, *of_output]
    distinct = {id(table): table for table in tables if table is not None}
    with torch.no_grad():
        for table in distinct.values():
            _set_to_means(table, new_pieces)


def _set_to_means(table: Tensor, new_pieces: Mapping[int, Sequence[int]]) -> None:
    before = table.clone()
    for number, old in new_pieces.items():
        table[number] = before[list(old)].mean(0)
