"""Untrusted text becomes one line of visible characters, and text of any script stays readable."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.printable import make_printable

HIDDEN_CATEGORIES = ("Cc", "Cs", "Co", "Zl", "Zp")
VISIBLE_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u0890\u0891\u08e2\U000110bd\U000110cd") | {
    chr(number) for number in range(0x13430, 0x13460)
}
"""Signs of Arabic, Kaithi and Egyptian that are drawn, though Unicode calls them formats."""
KEPT_IN_PLACE = frozenset("\u200c\u200d")
DIRECTIONS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN", "B")


def is_shown(character: str) -> bool:
    if character in VISIBLE_FORMATS:
        return True
    hides = unicodedata.category(character) in (*HIDDEN_CATEGORIES, "Cf")
    return not hides and unicodedata.bidirectional(character) not in DIRECTIONS


HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.characters(min_codepoint=0, max_codepoint=0xFF),
        st.sampled_from(
            "\x1b\x9b\r\n\x85\u2028\u202e\u2066\u200b\u200c\u200d\ufeff\udcff\ufe0f\u0627\U0001f469क#漢\U000e0041"
        ),
    )
)


@given(HOSTILE)
def test_no_control_direction_or_hidden_character_is_left(text: str) -> None:
    shown = make_printable(text)
    for character in shown:
        assert is_shown(character) or character in KEPT_IN_PLACE, ascii(shown)
    assert not any(character in KEPT_IN_PLACE for character in make_printable(f"a{text[:1]}\u200db"))
    assert len(shown.splitlines()) <= 1
    shown.encode()  # no surrogate
    assert make_printable(shown) == shown


@given(
    st.text(
        st.characters(categories=["L", "M", "N", "P", "S"], exclude_characters="\u034f\u115f\u1160\u2800\u3164\uffa0")
    )
)
def test_visible_text_stays_as_it_is(text: str) -> None:
    marks = [one for one in text if unicodedata.name(one, "").startswith(("VARIATION", "MONGOLIAN", "KHMER VOWEL INH"))]
    if not marks:
        assert make_printable(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "corpus/naïve café.jsonl",
        "日本語のテキスト",
        "مرحبا بالعالم",
        "می\u200cخواهم",  # noqa: RUF001  # Persian writes a non-joiner inside words
        "क्\u200dष",  # and Hindi a joiner
        "שלום עולם",
        "👨\u200d👩\u200d👧 ❤\ufe0f 1\ufe0f\u20e3 ❤\ufe0f\u200d🔥 👍🏽 🇩🇪",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "葛\U000e0100城",
    ],
)
def test_every_script_stays_readable(text: str) -> None:
    assert make_printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("\x1b]8;;http://x\x07y\x1b]8;;\x07", "\\x1b]8;;http://x\\x07y\\x1b]8;;\\x07"),
        ("a\x9b31m", "a\\x9b31m"),
        ("one\ntwo\r\x0b\x0c\x85\u2028\u2029", "one\\ntwo\\r\\x0b\\x0c\\x85\\u2028\\u2029"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("\u2066a\u2069", "\\u2066a\\u2069"),
        ("adm\u200bin\ufeff", "adm\\u200bin\\ufeff"),
        ("a\u200db", "a\\u200db"),
        ("name\udcff", "name\\udcff"),
        ("a\U000e0041", "a\\U000e0041"),
    ],
)
def test_what_a_terminal_obeys_is_shown(text: str, shown: str) -> None:
    assert make_printable(text) == shown


def test_a_long_value_is_shortened_and_says_so() -> None:
    assert make_printable("x" * 5000, 10) == "xxxxxxxxxx... (5,000 characters)"
    assert make_printable("x" * 10, 10) == "x" * 10
    message = str(ConfigError("a" * 10**7, path="p", found="\x1b" * 10**6, action="do"))
    assert len(message) < 10_000
    assert message.endswith("; do")


@given(HOSTILE, HOSTILE)
def test_an_error_is_one_printable_line(what: str, path: str) -> None:
    message = str(ConfigError(what, path=path, place=what, expected=path, found=what, action=path))
    assert message == make_printable(message)
