"""Text is repaired exactly as `ftfy` does it, and what it would not change is passed over."""

# ruff: noqa: RUF001  # characters that look like others

from __future__ import annotations

import itertools
import re
from typing import Any
from unittest import mock

import ftfy
import pytest
from ftfy.badness import is_bad
from hypothesis import example, given
from hypothesis import strategies as st

from maskmill.pipeline.corpus.filters import repair_unicode as module
from maskmill.pipeline.corpus.filters.decision import Changed, Dropped
from maskmill.pipeline.corpus.filters.repair_unicode import repair_text
from maskmill.pipeline.corpus.filters.table import filter_text
from maskmill.schemas.filters import FiltersSection, RepairUnicodeFilter

KEYS = {
    "unescape_html": ("unescape_html", st.booleans()),
    "latin_ligatures": ("fix_latin_ligatures", st.booleans()),
    "character_width": ("fix_character_width", st.booleans()),
    "straight_quotes": ("uncurl_quotes", st.booleans()),
    "line_breaks": ("fix_line_breaks", st.booleans()),
    "normalization": ("normalization", st.sampled_from([None, "NFC", "NFD", "NFKC", "NFKD"])),
}
DATATROVE = {"fix_latin_ligatures": False, "fix_character_width": False, "uncurl_quotes": False} | {
    "fix_line_breaks": False,
    "normalization": None,
}
all_settings = st.fixed_dictionaries({name: values for name, (_, values) in KEYS.items()})

parts = st.one_of(
    st.sampled_from(["schÃ¶n", "â€œquotesâ€\x9d", "&eacute;", "&amp;", "&", "<b>", "\n", "\r\n", "\r"]),
    st.sampled_from(["ﬁ", "ĳ", "Ａ", "\u3000", "ｱ", "“", "’", "\x1b[31m", "\x07", "\ufeff", "e\u0301", "é"]),
    st.sampled_from(
        [
            "voilÃ le",
            "\x80",
            "\x9f",
            "\xa0",
            "\xad",
            "Ð¿Ñ€Ð¸Ð²ÐµÑ‚",
            "привет",
            "日本",
            "\U0001f600",
            "\ud83d\ude00",
            "\udc00",
        ]
    ),
    st.text(max_size=6),
    st.text(st.characters(max_codepoint=0x180), max_size=6),
    st.text(st.sampled_from([bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0x100)]), max_size=4),
    st.builds(lambda text: text.encode("utf-8", "ignore").decode("latin-1"), st.text(max_size=3)),
)
texts = st.builds("".join, st.lists(parts, max_size=8))


def as_ftfy(text: str, keys: dict[str, Any]) -> str:
    config = {KEYS[name][0]: value for name, value in keys.items()}
    config["unescape_html"] = "auto" if config.get("unescape_html", True) else False
    return ftfy.fix_text(text, ftfy.TextFixerConfig(**{**DATATROVE, **config}))


@given(texts, all_settings)
@example("a <b>\n&eacute; schÃ¶n &amp;\n", {})
@example("&eacute;\n<p>\n&eacute;", {"line_breaks": True})
def test_text_is_repaired_as_ftfy_does_it(text: str, keys: dict[str, Any]) -> None:
    assert repair_text(text, RepairUnicodeFilter(**keys)) == as_ftfy(text, keys)


@given(texts)
def test_the_filter_is_the_repair(text: str) -> None:
    decision = filter_text(text, "", FiltersSection.model_validate({"repair_unicode": {}}))
    repaired = as_ftfy(text, {})
    if repaired == text:
        assert decision is None
    else:
        assert decision == (Changed(repaired) if repaired else Dropped("repair_unicode: no text is left"))


@pytest.mark.parametrize("plane", [0, 1, 2, 14])
def test_no_character_alone_is_passed_over(plane: int) -> None:
    """Each character by itself, as `ftfy` changes it with no key and with every key."""
    every = {"latin_ligatures": True, "character_width": True, "straight_quotes": True, "line_breaks": True}
    text = "".join(f"a{chr(code)}b\n" for code in range(plane << 16, (plane + 1) << 16))
    for keys in ({}, every | {"normalization": "NFKC"}):
        assert repair_text(text, RepairUnicodeFilter(**keys)) == as_ftfy(text, keys)


def test_whatever_looks_bad_is_suspect() -> None:
    """Every character by itself, and every pair of those that are not suspect, between characters of all kinds."""
    ordinary = [chr(code) for code in (*range(0x410, 0x450), 0x3042, 0x4E00, 0xAC00, 0x3000, 0xD7A3)]
    alone = [chr(code) for code in (*range(0x80, 0xD800), *range(0xE000, 0x10000), 0x1F600)]
    middles = [*alone, *(one + other for one in ordinary for other in ordinary)]
    for before, after in itertools.product(("", "a", " ", "a ", "в"), ("", "a", " ")):
        for middle in middles:
            text = before + middle + after
            if not module.SUSPECT.search(text) and is_bad(text):
                assert re.search(f"[{module.ALWAYS_CHANGED}]", text), text


def test_lines_that_stay_are_passed_over() -> None:
    clean = "Plain text, with <tags>.\n" + "Größe, naïve, привет, “quotes” – 日本語\n" * 3 + "A & B\r\n"
    with mock.patch.object(ftfy, "fix_and_explain", side_effect=AssertionError):
        assert repair_text(clean, RepairUnicodeFilter()) == clean
        with pytest.raises(AssertionError):
            repair_text(clean, RepairUnicodeFilter(line_breaks=True))
    long = "é" * (module.MAX_LINE - 1) + "Ã¶"
    assert repair_text(long, RepairUnicodeFilter()) == as_ftfy(long, {})
