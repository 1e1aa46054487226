"""`[filters]`: a table turns its filter on; runs without one are fingerprinted as before; wrong settings are named."""

from __future__ import annotations

import unicodedata

import pytest

from maskmill.pipeline.corpus.filters.table import FILTERS
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.filters import FiltersSection
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.toml_files import parse_toml

SHORTEST = '[input]\npaths = ["a.jsonl"]\n[output]\nurl = "out"\n'


def parse(lines: str = "", *overrides: str) -> RunFile:
    return parse_toml(RunFile, f"{SHORTEST}{lines}\n", "run.toml", overrides)


def test_every_filter_has_its_settings_in_the_order_of_the_table() -> None:
    assert list(FiltersSection.model_fields) == list(FILTERS)


def test_a_filter_is_on_where_its_table_is() -> None:
    assert [name for name, _ in parse().filters.enabled()] == []
    both = parse("[filters.fineweb_quality]\n[filters.gopher_quality]\nmin_words = 7")
    assert [name for name, _ in both.filters.enabled()] == ["gopher_quality", "fineweb_quality"]
    assert both.filters.gopher_quality is not None
    assert both.filters.gopher_quality.min_words == 7
    by_option = parse("", "filters.length.min_words=7")
    assert by_option.filters.length is not None
    assert by_option.filters.length.min_words == 7


def test_only_filters_that_are_on_are_in_the_fingerprint() -> None:
    assert "filters" not in parse().fingerprinted()
    assert "filters" not in parse("[filters]").fingerprinted()
    on = parse("[filters.length]\nmin_words = 7").fingerprinted()
    assert on["filters"]["unicode"] == unicodedata.unidata_version
    assert set(on["filters"]) == {"length", "unicode"}
    prints = [
        str(parse(f"[filters.{name}]\n{key}").fingerprinted())
        for name, keys in (
            ("length", ("min_words = 7", "min_words = 8")),
            ("repair_unicode", ("", "line_breaks = true", "normalization = 'NFC'")),
            ("language", ("keep = ['en']", "keep = ['de']", "keep = ['de']\nmin_probability = 0.5")),
            ("decontamination", ("paths = ['a']", "paths = ['a']\nngram = 12", "paths = ['a']\naction = 'trim'")),
            ("gopher_quality", ("", "min_words = 7", "stop_words = ['der', 'die']")),
            ("gopher_repetition", ("", "max_top_ngrams = [[2, 0.1]]", "max_top_ngrams = []")),
            ("c4_lines", ("", "policy = false")),
            ("fineweb_quality", ("", "short_line = 7")),
            ("regex", ("drop = {a = ['x']}", "drop = {b = ['x']}", "need = {b = ['x']}")),
        )
        for key in keys
    ]
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("[filters.lenght]", "run.toml: unknown key filters.lenght; expected one of length"),
        ("[filters.length]\nmin_word = 3", "unknown key filters.length.min_word; expected one of min_words"),
        ("[filters.length]", "[filters.length]: it limits nothing: give min_characters, max_characters, min_words"),
        ("[filters.length]\nmin_words = 3\nmax_words = 2", "min_words 3 is above max_words 2: no document would be"),
        ("[filters.length]\nmin_words = -1", "the value of filters.length.min_words is wrong; expected at least 0"),
        ("[filters]\nlength = 3", "filters.length is not a section; expected [filters.length] with keys below it"),
        ("[filters.language]", "filters.language.keep"),
        ("[filters.language]\nkeep = []", "the value of filters.language.keep is wrong"),
        ("[filters.language]\nkeep = ['English']", "the value of filters.language.keep is wrong at item 1"),
        ("[filters.decontamination]", "filters.decontamination.paths"),
        ("[filters.decontamination]\npaths = ['a']\nngram = 7", "min_words 8 is above ngram 7: whole texts have fewer"),
        ("[filters.decontamination]\npaths = ['a']\naction = 'cut'", "filters.decontamination.action is wrong"),
        ("[filters.regex]", "[filters.regex]: it has no expression: give drop, need or drop_lines"),
        ("[filters.regex]\ndrop = {a = ['(']}", "'(' of source 'a' is no expression: missing ), unterminated"),
        ("[filters.regex]\ndrop = {a = 'x'}", "the value of filters.regex.drop is wrong"),
        (
            "[filters.regex]\ndrop = ['x']",
            "filters.regex.drop is not a section; expected [filters.regex.drop] with keys",
        ),
        ("[filters.gopher_repetition]\nmax_top_ngrams = [[0, 0.1]]", "max_top_ngrams is wrong at item 1 of its list"),
        ("[filters.gopher_repetition]\nmax_top_ngrams = [2, 0.1]", "max_top_ngrams is wrong at item 1 of its list"),
        ("[filters.gopher_quality]\nmax_symbols_per_word = nan", "max_symbols_per_word is wrong; expected a finite"),
        ("[filters.c4_lines]\npolicy = 'no'", "filters.c4_lines.policy is wrong; expected true or false"),
        ("[filters.fineweb_quality]\nmax_short_lines = 1.5", "max_short_lines is wrong; expected at most 1.0"),
    ],
)
def test_wrong_settings_are_named(lines: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(lines)
    assert said in str(refused.value), str(refused.value)
    assert "pydantic" not in str(refused.value)
