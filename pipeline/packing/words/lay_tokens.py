"""Where tokens begin in their text, found by laying their pieces along it: without encoding the text once more.

`tokenizers` takes a second for 3 MB of text to tell the places of its tokens, and this for 100 MB. It is for tokenizers
with BERT's normaliser and pre-tokeniser, and compares every byte: text that it cannot follow is left to `tokenizers`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.wordpiece.counting.map_characters import ASKED, BREAK, BY_TOKENIZERS, ENTRY_BITS, CharacterMap
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.schemas.tokenizer.normalizers import BertNormalizer
from maskmill.schemas.tokenizer.tokenizer_file import TokenizerFile, check_tokenizer_json


class TokenLayer:
    """Lays tokens along texts.

    Args:
        description: Of the tokenizer.
        normalisation: What its normaliser does.
    """

    def __init__(self, description: TokenizerFile, normalisation: Normalisation) -> None:
        prefix, pieces = description.model.continuing_subword_prefix, description.list_pieces()
        spelt = [piece.removeprefix(prefix).encode() for piece in pieces]
        self._is_continuation = np.array(description.list_continuations(), np.bool_)
        self._spelling = np.frombuffer(b"".join(spelt), np.uint8)
        self._ends = np.cumsum(np.array([len(piece) for piece in spelt], np.int64))
        self._unk_id = pieces.index(description.model.unk_token)
        self._characters = CharacterMap(normalisation)

    def lay(self, text: str, ids: npt.NDArray[Any]) -> npt.NDArray[np.int64] | None:
        """The code point at which each token of a text begins, (T,); `None` where the two do not go together.

        Args:
            text: Any text.
            ids: Its token ids, uint16 or uint32 (T,).
        """
        characters = self._characters
        code_points = np.frombuffer(text.encode("utf-32-le"), "<u4")
        for code_point in np.unique(code_points[characters.traits[code_points] & ASKED == 0]).tolist():
            characters.ask(code_point)
        places = np.empty(len(ids), np.int64)
        pieces = (self._spelling, self._ends, self._is_continuation, self._unk_id)
        return places if _lay(code_points, characters.entries, characters.pool, ids, pieces, places) else None


@functools.lru_cache(maxsize=1)
def load_layer(tokenizer_json: bytes) -> TokenLayer | None:
    """Make the layer of a tokenizer; `None` for one that normalises or splits text in another way than BERT's."""
    description = check_tokenizer_json(tokenizer_json, "tokenizer.json")
    normalizer, pre_tokenizer = description.normalizer, description.pre_tokenizer
    if not isinstance(normalizer, BertNormalizer) or not normalizer.clean_text or pre_tokenizer is None:
        return None
    if pre_tokenizer.type != "BertPreTokenizer":
        return None
    settings = (normalizer.lowercase, normalizer.strip_accents, normalizer.handle_chinese_chars)
    return TokenLayer(description, Normalisation(*settings))


@njit(cache=True, nogil=True)
def _lay(  # noqa: C901 - one pass over the bytes, with the state of the word that it is in
    code_points: Any, entries: Any, pool: Any, ids: Any, pieces: Any, places: Any
) -> bool:
    """Write where tokens begin; returns whether their bytes are those of the normalised text, all of it."""
    spelling, ends, is_continuation, unk_id = pieces
    token, place, end = -1, np.int64(0), np.int64(0)  # the piece's next byte in its spelling, and its end
    is_inside, is_unknown = False, False
    for character in range(len(code_points)):
        entry = np.int64(entries[code_points[character]])
        start, size = entry >> ENTRY_BITS, entry & ((1 << ENTRY_BITS) - 1)
        if size == BY_TOKENIZERS:
            return False
        for byte in pool[start : start + size]:
            if byte == BREAK:
                if place != end:
                    return False
                is_inside, is_unknown = False, False
                continue
            if is_unknown:
                continue
            if place == end:
                token += 1
                if token == len(ids) or np.int64(ids[token]) >= len(ends):
                    return False
                number = np.int64(ids[token])
                is_unknown = number == unk_id
                if is_continuation[number] != is_inside or (is_unknown and is_inside):
                    return False
                places[token] = character
                place = ends[number - 1] if number > 0 else np.int64(0)
                end = ends[number]
                is_inside = True
                if is_unknown:
                    place = end
                    continue
                if place == end:
                    return False
            if spelling[place] != byte:
                return False
            place += 1
    return place == end and token == len(ids) - 1
