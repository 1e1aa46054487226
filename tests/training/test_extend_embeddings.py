from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from maskmill.pipeline.training.extend_embeddings import find_new_pieces, split_piece
from maskmill.schemas.errors import ConfigError

OLD = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]
OLD += ["a", "b", "c", "ab", "##a", "##b", "##bc", "##abc"]
IDS = {piece: number for number, piece in enumerate(OLD)}
LIBRARY = Tokenizer(models.WordPiece(IDS, unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106


@given(st.text("abcd", min_size=1, max_size=12))
def test_a_word_is_split_as_the_library_encodes_it(word):
    assert split_piece(word, IDS) == LIBRARY.encode(word).ids


@given(st.text("abcd", min_size=1, max_size=12))
def test_a_piece_that_continues_is_split_as_the_end_of_a_word(word):
    """`c` is not the beginning of another piece, so a word that begins with it begins with this piece alone."""
    whole = LIBRARY.encode(f"c{word}").ids
    assert split_piece(f"##{word}", IDS) == (whole[1:] or whole if IDS["[UNK]"] not in whole else [IDS["[UNK]"]])


def test_new_pieces_are_after_the_last_id_or_in_free_slots():
    appended = [*OLD, "abbc", "##aa"]
    assert find_new_pieces(OLD, appended, "m") == {15: [10, 13], 16: [11, 11]}
    in_slots = [*OLD[:5], "aab", *OLD[6:]]
    assert find_new_pieces(OLD, in_slots, "m") == {5: [7, 11, 12]}
    assert find_new_pieces(OLD, OLD, "m") == {}
    assert find_new_pieces(OLD, OLD[:-1], "m") == {}


@pytest.mark.parametrize(
    "new",
    [
        [*OLD[:7], "b", "a", *OLD[9:]],
        [*OLD[:7], "z", *OLD[8:]],
        [*OLD, "a"],
        ["[UNK]", "[PAD]", *OLD[2:]],
        [*OLD[:5], "[SEP]", *OLD[6:]],
    ],
)
def test_another_tokenizer_is_refused_with_the_first_id_that_differs(new):
    with pytest.raises(ConfigError, match=r"m, id \d+: the rows were encoded with another tokenizer"):
        find_new_pieces(OLD, new, "m")
