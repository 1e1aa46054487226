"""The run file: its values are what runs; a value that makes no sense is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.explain_values import section_of
from maskmill.schemas.field_docs import read_field_docs
from maskmill.schemas.filters import FiltersSection
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.toml_files import parse_toml

SHORTEST = '[input]\npaths = ["a.jsonl"]\n[output]\nurl = "out"\n'
SAMPLE = """
[input]
paths = ["corpora/*.jsonl.zst"]
text_field = "text"
id_field = "id"
max_quarantined = 0.01
[output]
url = "out"
[documents]
shard_mb = 64
deduplicate = true
held_out = 0.005
seed = 0
[tokenizer]
vocab_size = 30522
min_frequency = 2
limit_alphabet = 1000
lowercase = true
strip_accents = true
special_in_text = "text"
[pack]
seq_len = 512
cut = "word"
min_segment = 16
[mask]
copies = 0
strategy = "token"
rate = 0.15
mask_share = 0.8
random_share = 0.1
seed = 0
[engine]
kind = "local"
workers = 0
address = ""
"""


def parse(text: str = SHORTEST, *overrides: str) -> RunFile:
    return parse_toml(RunFile, text, "run.toml", overrides)


def refuse(text: str = SHORTEST, *overrides: str) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        parse(text, *overrides)
    return refused.value


def test_a_run_file_of_defaults_written_out_equals_the_shortest_one() -> None:
    written_out = parse(SAMPLE).model_dump(by_alias=True)
    shortest = parse().model_dump(by_alias=True)
    for whole in (written_out, shortest):
        (whole["input"],) = whole["input"]
    assert written_out["input"].pop("paths") == ("corpora/*.jsonl.zst",)
    assert (written_out["input"].pop("id_field"), written_out["tokenizer"].pop("strip_accents")) == ("id", True)
    assert shortest["input"].pop("paths") == ("a.jsonl",)
    assert (shortest["input"].pop("id_field"), shortest["tokenizer"].pop("strip_accents")) == (None, None)
    assert (written_out["documents"].pop("shard_mb"), shortest["documents"].pop("shard_mb")) == (64.0, None)
    assert written_out == shortest


@pytest.mark.parametrize(
    ("line", "key", "near"),
    [
        ("[inputs]", "inputs", "input"),
        ("[pack]\nseq_length = 5", "pack.seq_length", "pack.seq_len"),
        ("[tokenizer]\nfrom_ = 'x'", "tokenizer.from_", "tokenizer.from"),
        ("[mask]\nrates = 0.1", "mask.rates", "mask.rate"),
        ("[documents]\nshard_gb = 1", "documents.shard_gb", "documents.shard_mb"),
        ("[engine]\nworker = 1", "engine.worker", "engine.workers"),
        ("[input.more]\nx = 1", "input.more", None),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_valid_one(line: str, key: str, near: str | None) -> None:
    error = refuse(f"{SHORTEST}{line}\n")
    assert error.what == f"unknown key {key}"
    assert error.path == "run.toml"
    if near:
        assert error.action == f"did you mean {near}?"
        assert near.rpartition(".")[2] in str(error.expected).split("one of ")[1].split(", ")


@pytest.mark.parametrize(
    "override",
    [
        "pack.seq_len=31",
        "pack.seq_len=65537",
        "pack.seq_len='512'",
        "pack.seq_len=512.0",
        "pack.seq_len=true",
        "pack.min_segment=0",
        "pack.cut='sentences'",
        "mask.copies=-1",
        "mask.copies='3'",
        "mask.rate=1.5",
        "mask.rate=nan",
        "mask.strategy='tokens'",
        "documents.shard_mb=0",
        "documents.shard_mb=1e-9",
        "documents.shard_mb=513",
        "documents.shard_mb=nan",
        "documents.shard_mb=inf",
        "documents.held_out=0.6",
        "documents.held_out=nan",
        "documents.deduplicate=1",
        "documents.seed=-1",
        "documents.seed=0.5",
        "input.paths='a.jsonl'",
        "input.paths=[]",
        "input.paths=['']",
        "input.paths=[3]",
        "input.max_document_mb=0",
        "input.max_document_mb=1e-9",
        "input.max_quarantined=1.1",
        "input.text_document='word'",
        "output.url=''",
        "output.url=[7]",
        "tokenizer.vocab_size=5",
        "tokenizer.lowercase='yes'",
        "engine.kind='spark'",
        "engine.workers=-1",
        "engine.workers=100000",
        "tokenizer.vocab_size=2147483647",
        "tokenizer.unused=99999999999",
        "tokenizer.size_multiple=99999999999999",
        "tokenizer.min_frequency=99999999999999999999999",
    ],
)
def test_a_value_that_is_not_allowed_is_named_and_shown(override: str) -> None:
    error = refuse(SHORTEST, override)
    key, _, _ = override.partition("=")
    assert error.what.startswith(f"the value of {key} is wrong"), error
    assert error.path == f"--set {override}"
    assert error.expected
    assert error.found
    assert error.action


@pytest.mark.parametrize(
    "value", ["pack.seq_len=32", "pack.seq_len=65536", "documents.shard_mb=512", "input.paths=['a','b']"]
)
def test_the_bounds_themselves_are_allowed(value: str) -> None:
    parse(SHORTEST, value)


def test_min_segment_may_fill_half_of_a_row_and_no_more() -> None:
    assert parse(SHORTEST, "pack.min_segment=256").pack.min_segment == 256
    assert "min_segment 257 is more than half of a row of 512" in str(refuse(SHORTEST, "pack.min_segment=257"))


def test_a_missing_key_is_named() -> None:
    assert str(refuse("[output]\nurl = 'out'\n")) == "run.toml: the key input is missing; add input"
    assert refuse("[input]\n[output]\nurl = 'out'\n").what == "the key input.paths is missing"
    assert refuse("").what == "the key input is missing (and 1 more)"


def test_broken_toml_is_refused_with_its_place() -> None:
    error = refuse("[input\n")
    assert error.what == "not valid TOML"
    assert "line 1" in str(error.found)


@pytest.mark.parametrize(
    ("override", "keys", "value"),
    [
        ("pack.seq_len=1024", ("pack", "seq_len"), 1024),
        ("documents.deduplicate = false", ("documents", "deduplicate"), False),
        ("output.url=s3://bucket/run", ("output", "url"), "s3://bucket/run"),
        ("output.url=2026-11-28", ("output", "url"), "2026-11-28"),
        ("output.url=7", ("output", "url"), "7"),
        ("tokenizer.from=1e3", ("tokenizer", "from"), "1e3"),
        ("output.url = two words ", ("output", "url"), "two words"),
        ('output.url="quoted"', ("output", "url"), "quoted"),
        ("output.url=a=b", ("output", "url"), "a=b"),
        ("output.url=1\nx = 2", ("output", "url"), "1\nx = 2"),
        ('input.paths=["x", "y"]', ("input", "paths"), ("x", "y")),
        ("tokenizer.from=vocab.txt", ("tokenizer", "from"), "vocab.txt"),
        ("mask.rate=3e-1", ("mask", "rate"), 0.3),
        (" pack . cut = token", ("pack", "cut"), "token"),
    ],
)
def test_set_overrides_any_key(override: str, keys: tuple[str, str], value: object) -> None:
    found = parse(SHORTEST, override).model_dump(by_alias=True)[keys[0]]
    assert (found[0] if keys[0] == "input" else found)[keys[1]] == value


def test_the_last_override_counts() -> None:
    assert parse(SHORTEST, "pack.seq_len=64", "pack.seq_len=128").pack.seq_len == 128


@pytest.mark.parametrize("override", ["pack", "seq_len=3", "=3", ".x=3", "pack.=3", "a..b=3", "pack.seq_len", ""])
def test_an_unreadable_override_is_refused(override: str) -> None:
    error = refuse(SHORTEST, override)
    assert (error.path, error.what) == ("--set", "an override cannot be read")
    assert error.found == repr(override)


def test_what_an_override_got_wrong_is_not_said_of_the_file() -> None:
    assert refuse(SHORTEST, "pack.seq_lenn=3").path == "--set pack.seq_lenn=3"
    assert refuse(SHORTEST, "pack.seq_len=3").path == "--set pack.seq_len=3"
    assert refuse(SHORTEST, "pack.seq_len = 3").path == "--set pack.seq_len=3"
    assert refuse(f"{SHORTEST}[pack]\nseq_len = 3\n", "documents.seed=3").path == "run.toml"


def test_settings_that_do_not_go_together_are_said_of_who_gave_them() -> None:
    short_rows = f"{SHORTEST}[pack]\nseq_len = 64\n"
    file_alone = refuse(f"{short_rows}min_segment = 33\n", "pack.cut=token")
    assert str(file_alone).startswith("run.toml, [pack]: min_segment 33 is more than half of a row of 64; ")
    assert refuse(short_rows, "pack.cut=token", "pack.min_segment=33").path == "run.toml with --set pack.min_segment=33"
    longer_end = f"{SHORTEST}[pack]\nmin_segment = 33\n"
    assert refuse(longer_end, "pack.seq_len=64").path == "run.toml with --set pack.seq_len=64"
    assert refuse(SHORTEST, "documents.seed=1", "tokenizer.extend=1").path == "run.toml with --set tokenizer.extend=1"
    assert refuse(f"{SHORTEST}[tokenizer]\nextend = 1\n", "documents.seed=1").path == "run.toml"


WRONG = [
    (
        "[pack]\nseq_len = 31",
        (
            "run.toml: the value of pack.seq_len is wrong; expected at least 32; found 31; "
            "change pack.seq_len; its default is 512"
        ),
    ),
    (
        "[pack]\nseq_len = [128, 'x']",
        (
            "run.toml: the value of pack.seq_len is wrong at item 2 of its list; "
            "expected an integer; found 'x'; change pack.seq_len; its default is 512"
        ),
    ),
    (
        "[pack]\ncut = 'words'",
        (
            "run.toml: the value of pack.cut is wrong; "
            'expected "word", "token" or "sentence"; found \'words\'; change pack.cut; its default is "word"'
        ),
    ),
    (
        "[documents]\ndeduplicate = 'no'",
        (
            "run.toml: the value of documents.deduplicate is wrong; "
            "expected true or false, or \"normalised\"; found 'no'; change documents.deduplicate; its default is true"
        ),
    ),
    (
        "[tokenizer]\nfrom = 3",
        ("run.toml: the value of tokenizer.from is wrong; expected a text in quotes; found 3; change tokenizer.from"),
    ),
    (
        "[tokenizer]\nalpha = 0.12345",
        (
            "run.toml, tokenizer.alpha: alpha is taken in whole thousandths: "
            "write 0.123 instead of 0.12345; change tokenizer.alpha"
        ),
    ),
    (
        "[mask]\nmask_share = 0.95",
        (
            "run.toml, [mask]: mask_share + random_share must not exceed 1: 0.95 and 0.1 leave "
            "less than nothing for the tokens shown as they are; change one of these keys"
        ),
    ),
    (
        "[tokenizer]\nname = 'heldout'",
        (
            'run.toml, tokenizer.name: "heldout" is reserved for the folders of held-out documents: '
            "write another name; change tokenizer.name"
        ),
    ),
    (
        "[pack]\nname = 'A-b'",
        (
            "run.toml, pack.name: 'A-b' is not a name: write a lower-case letter, then at most 62 lower-case letters, "
            "digits and underscores; change pack.name"
        ),
    ),
    (
        "[pack]\nsentence_language = 'english'",
        (
            "run.toml, pack.sentence_language: 'english' is not a language code: write two or three lower-case "
            "letters, such as en; change pack.sentence_language"
        ),
    ),
    (
        "[[pack]]\nseq_len = 64",
        (
            "run.toml: pack is not a section; expected [pack] with keys below it; "
            "found [{'seq_len': 64}]; write the keys of pack one a line"
        ),
    ),
    (
        "[documents]\nseq_len = 64",
        (
            "run.toml: unknown key documents.seq_len; "
            "expected one of seed, appendable, deduplicate, held_out, near_duplicates, shard_mb; "
            "did you mean pack.seq_len?"
        ),
    ),
]


@pytest.mark.parametrize(("lines", "said"), WRONG)
def test_each_kind_of_fault_is_a_sentence_of_its_own(lines: str, said: str) -> None:
    assert str(refuse(f"{SHORTEST}{lines}\n")) == said


def test_an_unknown_key_comes_before_the_missing_one_that_it_stands_for() -> None:
    error = refuse("[input]\npath = ['a']\n[output]\nurl = 'out'\n")
    assert error.what == "unknown key input.path (and 1 more)"
    assert error.action == "did you mean input.paths?"
    assert str(error.expected).startswith("one of paths, ")
    assert refuse("[input]\npaths = ['a']\n[outputs]\nurl = 'out'\n").action == "did you mean output?"


def test_a_list_given_as_a_text_is_shown_as_it_should_be_written() -> None:
    assert refuse(SHORTEST, "input.paths=a*.jsonl").action == """write --set 'input.paths=["a*.jsonl"]'"""
    assert refuse(SHORTEST.replace('["a.jsonl"]', '"a.jsonl"')).action == 'write input.paths = ["a.jsonl"]'


def test_an_override_without_its_section_is_told_which_one_it_is() -> None:
    assert refuse(SHORTEST, "seq_len=64").action == "write for example --set pack.seq_len=64"
    assert refuse(SHORTEST, "vocab_size").action == "write for example --set tokenizer.vocab_size=VALUE"
    assert refuse(SHORTEST, "nonsense=64").action == "write for example --set pack.seq_len=1024"


def test_an_override_below_a_value_is_refused() -> None:
    assert refuse(f"x = 1\n{SHORTEST}", "x.y=1").what == "x is not a section"


def changed(value: Any) -> Any:
    """A different value that every field of the type allows."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value / 2 if isinstance(value, float) else f"{value}x"


SPECIAL = {
    ("documents", "near_duplicates"): {},
    **{("filters", name): {} for name in FiltersSection.model_fields},
    ("filters", "language"): {"keep": ["en"]},
    ("filters", "decontamination"): {"paths": ["a.jsonl"]},
    ("filters", "length"): {"min_words": 1},
    ("filters", "regex"): {"drop": {"*": ["x"]}},
    ("input", "text_document"): "line",
    ("input", "text_separator"): None,  # goes with another value of text_document
    ("input", "format"): "txt",
    ("input", "text_join"): None,  # goes with several values of text_field
    ("documents", "shard_mb"): 32.0,
    ("input", "id_field"): "x",
    ("input", "share"): 0.5,
    ("input", "filters"): {"length": {"min_words": 1}},
    ("input", "source_field"): "x",
    ("input", "paths"): ["b.jsonl"],
    ("tokenizer", "special_in_text"): "special",
    ("tokenizer", "strip_accents"): True,
    ("tokenizer", "from"): "vocab.txt",
    ("tokenizer", "extend_into"): "append",
    ("tokenizer", "long_words"): "train",
    ("pack", "sequences"): "doc_sentences",
    ("pack", "pairs"): "nsp",
    ("pack", "word_boundaries"): "icu",
    ("pack", "duplicates"): None,  # goes with pairs, and has a test of its own
    ("pack", "sop_random_single"): None,
    ("pack", "length_bins"): None,  # goes with another value of sequences, which the fingerprint covers
    ("pack", "split"): "fill",
    ("pack", "cut"): "token",
    ("pack", "sentence_language"): "de",
    ("pack", "rows_per_shard"): 100,
    ("pack", "compression"): "lz4",
    ("input", "reuse"): None,  # goes with another value of appendable, and has a test of its own
    ("mask", "strategy"): None,  # there is only one
    ("engine", "kind"): "ray",
}


DECIDES_NO_BYTES = [("input", "max_quarantined"), ("tokenizer", "name"), ("pack", "name")]
TRAINED_ONLY = [("tokenizer", key) for key in ("unused", "size_multiple", "initial_alphabet")]


def test_the_fingerprint_covers_every_key_that_decides_bytes() -> None:
    plain, trained = parse(SHORTEST, "tokenizer.from=vocab.json"), parse(SHORTEST)
    for section, found in plain.model_dump(by_alias=True, mode="json").items():
        for key, value in (found[0] if section == "input" else found).items():
            other = SPECIAL[section, key] if (section, key) in SPECIAL else changed(value)
            if other is None:
                continue
            is_of_training = (section, key) in TRAINED_ONLY
            before = trained if is_of_training else plain
            whole = before.model_dump(by_alias=True)
            (whole[section][0] if section == "input" else whole[section])[key] = other
            whole["mask"]["strategy"] = before.mask.strategy
            same = RunFile.model_validate(whole).fingerprinted() == before.fingerprinted()
            free = section in ("engine", "output", "mask") or (section, key) in DECIDES_NO_BYTES
            assert same == (free and key != "copies"), (section, key)


def test_words_of_wordpiece_leave_the_fingerprint_as_it_was_before_there_were_others() -> None:
    assert "word_boundaries" not in parse(SHORTEST).fingerprinted()["pack"]
    assert parse(SHORTEST, "pack.word_boundaries=icu").fingerprinted()["pack"]["word_boundaries"] == "icu"
    with pytest.raises(
        ConfigError, match=r"pack\.word_boundaries is wrong; expected .wordpiece. or .icu.; found 'jieba'"
    ):
        parse(SHORTEST, "pack.word_boundaries=jieba")


def test_keys_that_came_later_are_in_the_fingerprint_where_they_are_given() -> None:
    later = {"format", "text_separator"}
    assert not later & parse(SHORTEST).fingerprinted()["input"].keys()
    prints = [
        parse(SHORTEST, "input.text_document=separator", f"input.text_separator={text}", "input.format=txt")
        for text in ("a", "b")
    ]
    assert all(later <= one.fingerprinted()["input"].keys() for one in prints)
    assert prints[0].fingerprinted() != prints[1].fingerprinted()
    for wrong in (["input.text_document=separator"], ["input.text_separator=x"]):
        assert "text_separator goes with text_document" in str(refuse(SHORTEST, *wrong))


def test_several_text_fields_are_in_the_fingerprint_and_one_is_as_before_there_were_several() -> None:
    assert "text_join" not in parse(SHORTEST).fingerprinted()["input"]
    fields = 'input.text_field=["title", "body"]'
    prints = [parse(SHORTEST, fields, *join).fingerprinted()["input"] for join in ([], ["input.text_join=x"])]
    assert [(one["text_field"], one.get("text_join")) for one in prints] == [
        (["title", "body"], None),
        (["title", "body"], "x"),
    ]
    assert "text_join joins several fields" in str(refuse(SHORTEST, "input.text_join=x"))
    assert "text_field" in str(refuse(SHORTEST, "input.text_field=[]"))
    assert "text_field" in str(refuse(SHORTEST, "input.text_field=[1]"))


def test_the_keys_of_pairs_are_in_the_fingerprint_where_there_are_pairs() -> None:
    keys = {"pairs", "duplicates", "sop_random_single"}
    assert not keys & parse(SHORTEST).fingerprinted()["pack"].keys()  # as before there were these keys
    ways = [["pairs=nsp"], ["pairs=sop"], ["pairs=sop", "duplicates=3"], ["pairs=sop", "sop_random_single=true"]]
    prints = [parse(SHORTEST, *(f"pack.{one}" for one in way)).fingerprinted() for way in ways]
    assert len({str(one) for one in prints}) == len(ways)
    assert all(keys <= one["pack"].keys() for one in prints)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (["pairs=nps"], r'pack\.pairs is wrong; expected "nsp" or "sop"'),
        (["pairs=nsp", "sequences=full_sentences"], 'pairs = "nsp" does not go with sequences = "full_sentences"'),
        (["pairs=sop", "sequences=document", "length_bins=[64,512]"], 'does not go with sequences = "document"'),
        (["pairs=sop", "length_bins=[64,512]"], "length_bins goes with"),
        (["pairs=nsp", "split=fill"], 'does not go with split = "fill"'),
        (["pairs=nsp", "split=never"], 'does not go with split = "never"'),
        (["pairs=nsp", "sop_random_single=true"], 'sop_random_single goes with pairs = "sop"'),
        (["sop_random_single=true"], 'sop_random_single goes with pairs = "nsp" or "sop"'),
        (["duplicates=2"], 'duplicates goes with pairs = "nsp" or "sop"'),
        (["pairs=nsp", "duplicates=0"], r"pack\.duplicates"),
        (["pairs=nsp", "duplicates=101"], r"pack\.duplicates"),
        (["pairs=nsp", "duplicates=1.5"], r"pack\.duplicates"),
        (["pairs=nsp", "seq_len=4", "min_segment=1"], r"pack\.seq_len"),
    ],
)
def test_keys_that_do_not_go_with_pairs_are_refused(settings: list[str], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        parse(SHORTEST, *(f"pack.{one}" for one in settings))


def test_another_output_to_reuse_is_not_in_the_fingerprint() -> None:
    plain = parse(SHORTEST, "documents.appendable=true")
    assert parse(SHORTEST, "documents.appendable=true", "input.reuse=s3://bucket/out").fingerprinted() == (
        plain.fingerprinted()
    )
    assert "appendable" in plain.fingerprinted()["documents"]
    assert "appendable" not in parse(SHORTEST).fingerprinted()["documents"]  # as before there was this key


def test_the_masking_is_in_the_fingerprint_where_copies_are_stored() -> None:
    changes = ["mask.rate=0.2", "mask.mask_share=0.7", "mask.random_share=0.2", "mask.seed=1"]
    for copies in (0, 2):
        prints = [parse(SHORTEST, f"mask.copies={copies}", *change).fingerprinted() for change in [[], *zip(changes)]]
        assert len({str(one) for one in prints}) == (len(prints) if copies else 1)


def test_length_bins_are_in_the_fingerprint() -> None:
    bins = [f"pack.length_bins={lengths}" for lengths in ("[]", "[128,512]", "[64,512]")]
    prints = [parse(SHORTEST, 'pack.sequences="document"', one).fingerprinted() for one in bins]
    assert all(prints[a] != prints[b] for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        (["pack.length_bins=[128,512]"], "length_bins goes with"),
        (["pack.sequences=document", "pack.length_bins=[128,256]"], "end with seq_len 512"),
        (["pack.sequences=document", "pack.length_bins=[128,128,512]"], "must rise"),
        (["pack.sequences=document", "pack.length_bins=[512]", "pack.seq_len=[128,512]"], "one seq_len"),
        (["pack.seq_len=[128,64,128]"], "twice"),
        (["pack.seq_len=[512,64]", "pack.min_segment=33"], "half of a row of 64"),
        (["pack.split=fill", "pack.sequences=full_sentences"], "does not go with"),
        (["pack.split=fill", "pack.sequences=document"], "does not go with"),
        (["pack.split=never", "pack.sequences=doc_sentences"], "does not go with"),
        (["tokenizer.extend=1"], "extend needs from"),
        (["input.reuse=out"], "input.reuse needs documents.appendable = true"),
        (["tokenizer.from=v.txt", "tokenizer.unused=1"], "unused is of a vocabulary that is trained"),
        (["tokenizer.from=v.txt", "tokenizer.extend=9", "tokenizer.size_multiple=64"], "with from it changes nothing"),
        (["tokenizer.alpha=0.12345"], "whole thousandths: write 0.123"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(overrides: list[str], word: str) -> None:
    refused = refuse(SHORTEST, *overrides)
    assert word in str(refused)


def test_several_lengths_of_rows_are_read_as_a_list() -> None:
    assert parse(SHORTEST, "pack.seq_len=[128, 512]").pack.seq_lens == (128, 512)
    assert parse(SHORTEST, "pack.seq_len=128").pack.seq_lens == (128,)


def test_credentials_are_in_no_fingerprint_and_no_message() -> None:
    run = parse(
        SHORTEST, 'input.paths=["https://me:pa@ss@host/a.jsonl?sig=pass"]', "tokenizer.from=https://me:pass@host/vocab"
    )
    fingerprinted = run.fingerprinted()
    assert fingerprinted["input"]["paths"] == ["https://host/a.jsonl"]
    assert fingerprinted["tokenizer"]["from"] == "https://host/vocab"
    assert "pass" not in str(refuse(SHORTEST, "input.paths=s3://me:pass@bucket/a"))
    assert "pass" not in str(refuse(SHORTEST, "s3://me:pass@bucket/a"))
    assert "pass" not in str(refuse(SHORTEST, "x.y=1", "z.s3://me:pass@bucket"))


def test_every_key_of_every_section_is_explained() -> None:
    for name, section in RunFile.model_fields.items():
        kind = section_of(section)
        assert kind is not None
        inner = [below for field in kind.model_fields.values() if (below := section_of(field)) is not None]
        for one in (kind, *inner):
            explained = read_field_docs(one)
            assert list(explained) == [field.alias or key for key, field in one.model_fields.items()], name
            assert all(len(text) > 10 and text.endswith(".") for text in explained.values()), explained


TABLES = """
[[input]]
paths = ["a/*.jsonl"]
[[input]]
paths = ["b/*.parquet"]
text_field = "content"
[output]
url = "out"
"""


def test_several_tables_of_input_are_read_and_named_by_their_numbers() -> None:
    first, second = parse(TABLES, "input.text_field=x", "input.2.id_field=id").input
    assert (first.text_field, first.id_field, second.text_field, second.id_field) == ("x", None, "content", "id")
    alone, both = (parse(text).fingerprinted()["input"] for text in (SHORTEST, TABLES))
    assert not any(key.startswith("2.") for key in alone)
    assert (both["text_field"], both["2.text_field"], both["2.paths"]) == ("text", "content", ["b/*.parquet"])
    for wrong, said in (
        ("input.2.text_fild=x", "unknown key input.2.text_fild; expected one of text_field"),
        ("input.2.paths=b", "--set input.2.paths=b: the value of input.2.paths is wrong; expected a list"),
        ("input.3.id_field=x", "unknown key input.3"),
        ("input.2.reuse=x", "input.2.reuse is of the whole run: write it into the first [[input]]"),
        ("input.2.max_quarantined=0.5", "input.2.max_quarantined is of the whole run"),
        ('input.2.filters.decontamination.paths=["x"]', "input.2.filters.decontamination is of the whole run"),
        ("input.2.share=0", "the value of input.2.share is wrong; expected more than 0"),
    ):
        assert said in str(refuse(TABLES, wrong)), wrong
    assert "input is not a section" in str(refuse("input = 3\n[output]\nurl = 'out'\n"))
