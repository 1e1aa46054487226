"""What a person is shown of a tokenizer: a line a source, others beside it, and warnings where text suffers."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from maskmill.jobs.tokenizer_report import table_of_sources
from maskmill.pipeline.wordpiece.vocabulary.judge_sources import SHOWN_WARNINGS, iter_warnings
from maskmill.schemas.counts import SourceReport
from tests.integration.conftest import Undisturbed
from tests.integration.runs import read_tree, run_maskmill


def report(source: str, **changes: int) -> SourceReport:
    numbers = {
        "text_bytes": 4_000_000,
        "words": 800_000,
        "tokens": 1_000_000,
        "unknown": 0,
        "characters": 3_000_000,
        "characters_unknown": 0,
        "letters": 3_000_000,
        "letters_changed": 0,
    }
    return SourceReport(source=source, **{**numbers, **changes})


def show(table: object) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    return [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_line_says_what_the_counts_say() -> None:
    lines = show(table_of_sources([report("a", characters_unknown=30_000, unknown=20_000, letters_changed=300_000)]))
    assert lines[1] == ["a", "4.0", "MB", "99.00%", "2.00%", "10.00%", "1.250", "4.00"]


def test_several_sources_end_with_a_line_for_all_of_them() -> None:
    lines = show(table_of_sources([report("a", tokens=1_400_000), report("b", text_bytes=2_000_000, words=400_000)]))
    assert [line[0] for line in lines[1:]] == ["a", "b", "all"]
    assert lines[3][-2:] == ["2.000", "2.50"]  # 2.4 million tokens of 1.2 million words and 6 MB


def test_a_share_above_one_percent_is_a_warning_and_one_percent_is_not() -> None:
    at_limit = report("a", unknown=10_000, letters_changed=30_000)
    above = report("b", unknown=10_001, letters_changed=30_001)
    unknown, changed = iter_warnings([at_limit, above], strips_accents=True)
    assert "'b' are [UNK]" in unknown
    assert "letters of source 'b'" in changed
    assert list(iter_warnings([at_limit, above], strips_accents=False)) == [unknown]


def test_words_that_are_too_long_are_no_reason_for_a_larger_alphabet() -> None:
    numbers = {"characters_too_long": 60_000, "characters_unknown": 60_000}
    rare = report("a", words_too_long=1, unknown=1, **numbers)
    many = report("b", words_too_long=20_000, unknown=20_000, **numbers)
    both = report("c", words_too_long=2, unknown=50_002, **numbers)
    unknown, *too_long = iter_warnings([rare, many, both], strips_accents=True, max_word_characters=80)
    assert "'c' are [UNK]: raise tokenizer.limit_alphabet" in unknown
    assert len(too_long) == 3
    assert "2.0% of the characters of source 'a' are in 1 word of more than 80 characters" in too_long[0]
    assert "'b' are in 20,000 words" in too_long[1]
    assert not list(iter_warnings([report("a", words_too_long=5, unknown=5)], strips_accents=True))


def test_words_that_were_left_out_are_counted_by_source_whatever_their_share() -> None:
    sources = [report(f"s{n}", words_too_long=n, unknown=n, characters_unknown=999, words=10**9) for n in range(9)]
    (warning,) = iter_warnings(sources, strips_accents=True, max_word_characters=80, left_out=True)
    assert warning.startswith(
        "left out of training: 36 occurrences of words longer than 80 characters, 8 in source 's8', "
    )
    assert "4 in source 's4', 6 in 3 more sources; " in warning
    assert "[UNK]" in warning
    assert 'tokenizer.long_words = "train"' in warning
    one = report("", words_too_long=1, unknown=1)
    (warning,) = iter_warnings([one], strips_accents=True, left_out=True)
    assert "1 occurrence of words longer than 100 characters, 1 in source 'all'; " in warning
    assert not list(iter_warnings([one], strips_accents=True, left_out=False))
    assert not list(iter_warnings([report("a")], strips_accents=True, left_out=True))


def test_that_not_all_sources_are_shown_is_said_below_the_table() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(table_of_sources([report(f"s{number}") for number in range(31)]))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "the 30 sources with the most text of 31" in said


def test_many_warnings_are_a_few_and_a_number() -> None:
    warnings = list(iter_warnings([report(f"s{n}", unknown=500_000) for n in range(40)], strips_accents=True))
    assert len(warnings) == SHOWN_WARNINGS + 1
    assert "30 more" in warnings[-1]


def test_other_tokenizers_are_shown_beside_the_runs_own_and_change_nothing(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a"]
    (tmp_path / "little-vocab.txt").write_text("\n".join(pieces) + "\n")
    own = undisturbed.output / "tokenizer"
    ended = run_maskmill(
        "tokenizer", undisturbed.run_file, "--json", "--compare", tmp_path / "little-vocab.txt", "--compare", own
    )
    assert ended.status == 0, ended.stderr
    measured = {e["tokenizer"]: e["sources"] for e in ended.events if e["event"] == "tokenizer_measured"}
    assert list(measured) == ["this run", "little-vocab", "tokenizer"]
    assert measured["tokenizer"] == measured["this run"]
    assert sum(line["unknown"] for line in measured["little-vocab"]) > sum(
        line["unknown"] for line in measured["this run"]
    )
    assert read_tree(undisturbed.output) == undisturbed.tree
