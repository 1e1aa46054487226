"""Several tokenizers and packings of one set of documents: each as a run of its own gives it, and no other touched."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maskmill import prepare, verify
from maskmill.pipeline.run import describe_run
from maskmill.pipeline.run.claim_output import claim_output
from maskmill.pipeline.run.list_parts import list_parts
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import Prepared
from maskmill.pipeline.run.record import RunRecord, fingerprint_parts, parse_record, read_record
from maskmill.pipeline.storage.datasets import read_manifest, write_manifest
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError, ShardCorruptError, StaleArtifactError
from maskmill.schemas.events import RunEvent
from maskmill.schemas.manifest import TokenizerManifest
from maskmill.schemas.run_file import RunFile

Tree = dict[str, bytes]
NOT_COMPARED = ("run.json", "timings.json")
SHORT = {"pack": {"name": "short", "seq_len": [32, 48]}}
CASED = {"tokenizer": {"name": "cased", "lowercase": False}}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    words = ("ein", "Zwei", "drei", "VIER", "fünf", "sechs")
    lines = [json.dumps({"text": " ".join(words[(n * k) % 6] for k in range(n % 40 + 1))}) for n in range(300)]
    lines.append(json.dumps({"text": "lang " * 300}))
    (folder / "a.jsonl").write_text("\n".join(lines))
    return folder


def settings(corpus: Path, output: Path, *changes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = {
        "input": {"paths": [f"{corpus}/*.jsonl"]},
        "output": {"url": str(output)},
        "documents": {"shard_mb": 0.01, "held_out": 0.1, "deduplicate": False},
        "tokenizer": {"vocab_size": 60},
        "pack": {"seq_len": 64, "split": "never"},
        "engine": {"workers": 1},
    }
    for change in changes:
        for section, keys in change.items():
            values[section] = values[section] | keys if section in values else keys
    return values


def read_tree(output: Path) -> Tree:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def compared(tree: Tree) -> Tree:
    return {path: data for path, data in tree.items() if path not in NOT_COMPARED}


def renamed(tree: Tree, names: dict[str, str]) -> Tree:
    """The files of some folders of a run of its own, under the names that they have beside others."""
    found = {}
    for path, data in tree.items():
        for old, new in names.items():
            for before, after in ((f"{old}/", f"{new}/"), (f"quarantine/{old}-shard", f"quarantine/{new}-shard")):
                if path.startswith(before):
                    found[after + path.removeprefix(before)] = data
    return found


class Units:
    """Counts the units that were run, by stage; stops before a stage or after so many units."""

    def __init__(self, stop_after: int = 1 << 30) -> None:
        self.done: Counter[str] = Counter()
        self.reused: Counter[str] = Counter()
        self._left = stop_after

    def __call__(self, event: RunEvent) -> None:
        if event.event == "stage_started":
            self.reused[event.stage] = event.reused
        if event.event == "unit_done":
            self.done[event.stage] += 1
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt


def folders_of_short(*, alone: bool) -> dict[str, str]:
    name = "" if alone else "-short"
    return {f"packed{side}{name}-{length}": "" for side in ("", "-heldout") for length in (32, 48)}


def expect_short(corpus: Path, folder: Path, *changes: dict[str, dict[str, Any]]) -> Tree:
    """The packing `short` as a run of its own gives it."""
    prepare(settings(corpus, folder, *changes, {"pack": {"seq_len": [32, 48]}}))
    names = dict(zip(folders_of_short(alone=True), folders_of_short(alone=False), strict=True))
    return renamed(read_tree(folder), names)


def test_a_packing_is_added_and_touches_no_other(corpus: Path, tmp_path: Path) -> None:
    prepare(settings(corpus, tmp_path / "out"))
    before = compared(read_tree(tmp_path / "out"))
    units = Units()
    added = prepare(settings(corpus, tmp_path / "out", SHORT), units)
    assert set(units.done) - {"prove"} == {"pack-short"}
    after = compared(read_tree(tmp_path / "out"))
    expected = expect_short(corpus, tmp_path / "alone")
    assert any(path.startswith("quarantine/packed-short-") for path in expected)
    assert after == before | expected
    assert [url.rpartition("/")[2] for url in added.packed_urls()] == ["packed-short-32", "packed-short-48"]
    assert verify(str(tmp_path / "out")).findings == ()
    assert prepare(settings(corpus, tmp_path / "out")).is_unchanged
    assert prepare(settings(corpus, tmp_path / "out", SHORT)).is_unchanged


def test_a_tokenizer_is_added_with_its_rows_and_touches_no_other(corpus: Path, tmp_path: Path) -> None:
    prepare(settings(corpus, tmp_path / "out", {"pack": {"keep_encoded": True}}))
    before = compared(read_tree(tmp_path / "out"))
    prepare(settings(corpus, tmp_path / "out", CASED, {"pack": {"keep_encoded": True}}))
    prepare(settings(corpus, tmp_path / "out", CASED, SHORT))
    prepare(settings(corpus, tmp_path / "alone", {"tokenizer": {"lowercase": False}}, {"pack": {"keep_encoded": True}}))
    names = {
        f"{kind}{side}": f"{kind}{side}-cased"
        for kind in ("tokenizer", "encoded", "packed")
        for side in ("", "-heldout")
    }
    expected = renamed(read_tree(tmp_path / "alone"), names)
    expected |= expect_short(corpus, tmp_path / "short", {"tokenizer": {"lowercase": False}})
    assert compared(read_tree(tmp_path / "out")) == before | expected
    assert verify(str(tmp_path / "out")).findings == ()


def test_a_second_vocabulary_over_the_same_words_counts_none_again(corpus: Path, tmp_path: Path) -> None:
    prepare(settings(corpus, tmp_path / "out"), up_to="tokenizer")
    units = Units()
    small = {"tokenizer": {"name": "small", "vocab_size": 40}}
    prepare(settings(corpus, tmp_path / "out", small), units, "tokenizer")
    assert {"train-small"} <= units.done.keys() <= {"train-small", "prove-small"}
    prepare(settings(corpus, tmp_path / "alone", {"tokenizer": {"vocab_size": 40}}), up_to="tokenizer")
    alone = {path.name: path.read_bytes() for path in (tmp_path / "alone" / "tokenizer").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "tokenizer-small").iterdir()} == alone


@pytest.mark.parametrize("stop_after", [1, 3, 9, 14])
def test_what_was_begun_beside_others_is_finished_whatever_ran_between(
    corpus: Path, tmp_path: Path, stop_after: int
) -> None:
    both = (CASED, SHORT)
    prepare(settings(corpus, tmp_path / "out"))
    with pytest.raises(KeyboardInterrupt):
        prepare(settings(corpus, tmp_path / "out", *both), Units(stop_after))
    assert prepare(settings(corpus, tmp_path / "out")).is_unchanged
    prepare(settings(corpus, tmp_path / "out", {"pack": {"name": "other", "seq_len": 40}}))
    units = Units()
    prepare(settings(corpus, tmp_path / "out", *both), units)
    assert sum(units.reused.values()) > 0
    prepare(settings(corpus, tmp_path / "whole"))
    prepare(settings(corpus, tmp_path / "whole", {"pack": {"name": "other", "seq_len": 40}}))
    prepare(settings(corpus, tmp_path / "whole", *both))
    assert compared(read_tree(tmp_path / "out")) == compared(read_tree(tmp_path / "whole"))
    assert read_record(open_store(str(tmp_path / "out"))).entries.keys() == {
        *read_record(open_store(str(tmp_path / "whole"))).entries
    }


def prepare_four(corpus: Path, output: Path) -> Prepared:
    """Two tokenizers with two packings each."""
    prepare(settings(corpus, output))
    prepare(settings(corpus, output, SHORT))
    prepare(settings(corpus, output, CASED, {"pack": {"keep_encoded": True}}))
    return prepare(settings(corpus, output, CASED, {"pack": {"name": "long", "seq_len": 128}}))


def test_replacing_a_packing_deletes_that_one_alone(corpus: Path, tmp_path: Path) -> None:
    prepare_four(corpus, tmp_path / "out")
    (tmp_path / "out" / "packed-mine").mkdir()
    (tmp_path / "out" / "packed-mine" / "manifest.json").write_text("a copy of somebody's")
    before = compared(read_tree(tmp_path / "out"))
    other = {"pack": {"name": "short", "seq_len": 40}}
    with pytest.raises(ConfigError) as refused:
        prepare(settings(corpus, tmp_path / "out", other))
    said = str(refused.value)
    assert 'the rows "short" were made with pack.seq_len = [32, 48], and you ask for pack.seq_len = 40' in said
    assert "give pack.name another value" in said
    assert "--replace to delete packed-short-32/ and packed-short-48/ and make new ones" in said
    assert compared(read_tree(tmp_path / "out")) == before
    prepare(settings(corpus, tmp_path / "out", other), replace=True)
    prepare(settings(corpus, tmp_path / "alone", {"pack": {"seq_len": 40}}))
    kept = {path: data for path, data in before.items() if "packed-short-" not in path and "heldout-short" not in path}
    names = {"packed": "packed-short", "packed-heldout": "packed-heldout-short"}
    assert compared(read_tree(tmp_path / "out")) == kept | renamed(read_tree(tmp_path / "alone"), names)


def test_replacing_a_tokenizer_deletes_it_and_the_rows_made_with_it(corpus: Path, tmp_path: Path) -> None:
    prepare_four(corpus, tmp_path / "out")
    before = compared(read_tree(tmp_path / "out"))
    other = {"tokenizer": {"name": "cased", "lowercase": False, "vocab_size": 50}}
    with pytest.raises(ConfigError, match=r"give tokenizer\.name another value") as refused:
        prepare(settings(corpus, tmp_path / "out", other))
    assert "--replace to delete tokenizer-cased/ and packed-cased/ and packed-long/ and make" in str(refused.value)
    prepare(settings(corpus, tmp_path / "out", other), replace=True)
    gone = ("-cased", "-long")
    kept = {path: data for path, data in before.items() if not any(name in path.partition("/")[0] for name in gone)}
    prepare(settings(corpus, tmp_path / "alone", {"tokenizer": {"lowercase": False, "vocab_size": 50}}))
    names = {name: f"{name}-cased" for name in ("tokenizer", "packed", "packed-heldout")}
    found = compared(read_tree(tmp_path / "out"))
    kept = {path: data for path, data in kept.items() if "quarantine/packed-cased" not in path}
    kept = {
        path: data for path, data in kept.items() if "-long-shard" not in path and "heldout-cased-shard" not in path
    }
    assert found == kept | renamed(read_tree(tmp_path / "alone"), names)
    assert {name for _, name in read_record(open_store(str(tmp_path / "out"))).entries} == {"", "short", "cased"}


KEEP = {"pack": {"keep_encoded": True}}


def test_a_packing_that_keeps_ids_is_finished_though_another_was_replaced(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(settings(corpus, out))
    with pytest.raises(KeyboardInterrupt):
        prepare(settings(corpus, out, {"pack": {"name": "a"}}, KEEP), Units(3))
    before = read_tree(out)
    prepare(settings(corpus, out, {"pack": {"seq_len": 48}}), replace=True)
    kept = {path: data for path, data in before.items() if path.startswith(("encoded", "work/receipts/pack-a/"))}
    assert kept
    assert {path: data for path, data in read_tree(out).items() if path in kept} == kept
    prepare(settings(corpus, out, {"pack": {"name": "a"}}, KEEP))
    assert verify(str(out)).findings == ()


def test_ids_that_are_gone_are_encoded_again_for_a_packing_that_keeps_them(corpus: Path, tmp_path: Path) -> None:
    out, short = tmp_path / "out", ({"pack": {"name": "short", "seq_len": 32}}, KEEP)
    prepare(settings(corpus, out, KEEP))
    whole = compared(read_tree(out))
    with pytest.raises(KeyboardInterrupt):
        prepare(settings(corpus, out, *short), Units(3))
    for side in ("encoded", "encoded-heldout"):
        shutil.rmtree(out / side)
    prepare(settings(corpus, out, *short))
    assert verify(str(out)).findings == ()
    assert {path: data for path, data in compared(read_tree(out)).items() if path in whole} == whole


@pytest.mark.parametrize("name", ["shard", "shard_00000"])
def test_the_quarantine_of_a_packing_is_its_own_whatever_its_name(corpus: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    prepare(settings(corpus, out))
    prepare(settings(corpus, out, {"pack": {"name": name, "seq_len": [32, 48]}}))
    assert verify(str(out)).findings == ()
    prepare(settings(corpus, out, {"pack": {"seq_len": 40}}), replace=True)
    assert verify(str(out)).findings == ()


def test_copies_beside_the_parts_are_neither_verified_nor_deleted(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(settings(corpus, out, KEEP))
    made = {
        "tokenizer-300": "tokenizer",
        "tokenizer-heldout": "tokenizer",
        "tokenizer-old": "tokenizer",
        "packed-128": "packed",
        "packed-old-64": "packed",
        "documents-2": "documents",
        "encoded-128": "encoded",
    }
    for copy, name in made.items():
        shutil.copytree(out / name, out / copy)
    copies = {path: data for path, data in read_tree(out).items() if path.partition("/")[0] in made}
    assert not made.keys() & list_parts(open_store(str(out))).keys()
    assert verify(str(out)).findings == ()
    prepare(settings(corpus, out, KEEP, {"tokenizer": {"vocab_size": 50}}), replace=True)
    assert {path: data for path, data in read_tree(out).items() if path in copies} == copies


def test_what_failed_before_anything_was_made_may_be_asked_for_otherwise(corpus: Path, tmp_path: Path) -> None:
    for name in ("", "small"):
        out = tmp_path / f"out{name}"
        prepare(settings(corpus, out, {"tokenizer": {"name": name}}), up_to="shard")
        with pytest.raises(ConfigError, match=r"vocab_size"):
            prepare(settings(corpus, out, {"tokenizer": {"name": name, "vocab_size": 6}}))
        prepare(settings(corpus, out, {"tokenizer": {"name": name, "vocab_size": 60}}))
        assert verify(str(out)).findings == ()
        with pytest.raises(ConfigError, match=r"made with tokenizer\.vocab_size = 60"):
            prepare(settings(corpus, out, {"tokenizer": {"name": name, "vocab_size": 50}}))


def test_a_name_of_which_there_is_nothing_is_not_missed(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(settings(corpus, out))
    with pytest.raises(KeyboardInterrupt):
        prepare(settings(corpus, out, {"pack": {"name": "shrot", "seq_len": 32}}), Units(2))
    assert any("packed-shrot" in str(finding) for finding in verify(str(out)).findings)
    for folder in out.glob("packed*-shrot"):
        shutil.rmtree(folder)
    assert verify(str(out)).findings == ()


def test_a_tokenizer_that_is_gone_is_not_taken_for_another(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(settings(corpus, out, {"pack": {"keep_encoded": True}}))
    prepare(settings(corpus, out, CASED))
    for gone, named in (
        ("tokenizer-cased", "tokenizer-cased: this part of the run is missing"),
        ("tokenizer-cased/manifest.json", "tokenizer-cased/manifest.json: no manifest beside the files"),
        ("tokenizer-cased/tokenizer.json", "tokenizer-cased/tokenizer.json: the file is gone"),
        ("tokenizer", "tokenizer: this part of the run is missing"),
    ):
        shutil.move(out / gone, tmp_path / "away")
        found = [str(finding) for finding in verify(str(out)).findings]
        assert len(found) == 1, found
        assert found[0].startswith(f"{out}/{named}")
        shutil.move(tmp_path / "away", out / gone)
    (out / "run.json").rename(tmp_path / "run.json")  # then the folder's name is not known
    (out / "tokenizer-cased").rename(tmp_path / "away")
    found = [str(finding) for finding in verify(str(out)).findings]
    assert [one.partition(": ")[0] for one in found] == [f"{out}/packed-cased", f"{out}/packed-heldout-cased"]
    assert all("no folder here" in one for one in found)


def test_rows_of_another_tokenizer_than_the_record_says_are_found(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(settings(corpus, out))
    prepare(settings(corpus, out, CASED))
    record = json.loads((out / "run.json").read_text())
    record["packings"]["cased"]["tokenizer"] = ""
    (out / "run.json").write_text(json.dumps(record))
    found = [str(finding) for finding in verify(str(out)).findings]
    for folder in ("packed-cased", "packed-heldout-cased"):
        assert any(one.startswith(f"{out}/{folder}: ") and "a tokenizer other than tokenizer/" in one for one in found)


def test_a_twin_of_a_tokenizer_hides_nothing(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(settings(corpus, out), up_to="tokenizer")
    prepare(settings(corpus, out, {"tokenizer": {"name": "twin"}}), up_to="tokenizer")
    for folder in ("tokenizer", "tokenizer-twin"):
        store = open_store(str(out / folder))
        manifest = read_manifest(store, TokenizerManifest)
        write_manifest(open_store(str(out)), folder, manifest.model_copy(update={"documents_fingerprint": "0" * 32}))
        assert sum("trained on documents other" in str(finding) for finding in verify(str(out)).findings) == 1
        write_manifest(open_store(str(out)), folder, manifest)


def test_a_kill_at_any_deletion_leaves_the_others_whole(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_four(corpus, tmp_path / "out")
    others = {name: data for name, data in compared(read_tree(tmp_path / "out")).items() if "cased" not in name}
    others = {name: data for name, data in others.items() if "long" not in name}
    deletions, allowed = 0, 0
    for name in ("delete", "delete_tree"):
        act = getattr(Store, name)

        def act_or_die(self: Store, path: str, act: Any = act) -> None:
            nonlocal deletions
            deletions += 1
            if deletions > allowed:
                raise KeyboardInterrupt
            act(self, path)

        monkeypatch.setattr(Store, name, act_or_die)
    for allowed in range(200):
        deletions = 0
        folder = tmp_path / f"copy-{allowed}"
        shutil.copytree(tmp_path / "out", folder)
        output = open_store(str(folder))
        values = json.loads((folder / "run.json").read_text())
        values["tokenizers"]["cased"]["decisive"]["tokenizer"]["vocab_size"] = 44
        asked = with_fingerprints(values)
        try:
            claim_output(output, asked, replace=True)
        except KeyboardInterrupt:
            assert read_record(output).entries.keys() >= {(part, name) for part, name in asked.entries}
        found = compared(read_tree(folder))
        assert {path: data for path, data in found.items() if path in others} == others
        for part, is_finished in list_parts(output).items():
            if is_finished:
                assert verify(str(folder / part)).findings == (), part
        shutil.rmtree(folder)
        if deletions == allowed:
            break
    assert allowed > 5


def with_fingerprints(values: dict[str, Any]) -> RunRecord:
    """A record whose fingerprints are those of its settings."""
    parsed = parse_record(values)
    entries = {
        scope: replace(entry, fingerprint=fingerprint_parts(parsed.decisive(scope))[scope[0]])
        for scope, entry in parsed.entries.items()
    }
    return replace(parsed, entries=entries)


def test_what_is_not_asked_for_may_have_other_settings(corpus: Path, tmp_path: Path) -> None:
    prepare(settings(corpus, tmp_path / "out"))
    before = read_tree(tmp_path / "out")
    assert prepare(settings(corpus, tmp_path / "out", {"pack": {"seq_len": 40}}), up_to="tokenizer").is_unchanged
    assert prepare(settings(corpus, tmp_path / "out", {"tokenizer": {"vocab_size": 9}}), up_to="shard").is_unchanged
    assert prepare(settings(corpus, tmp_path / "out", {"mask": {"rate": 0.4}}), up_to="tokenizer").is_unchanged
    assert read_tree(tmp_path / "out") == before


def test_the_record_knows_what_was_asked_for(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    asked = ((CASED, "shard"), (CASED, "tokenizer"), (SHORT, "pack"), (CASED, "pack"))
    rows = {"packed-cased", "packed-heldout-cased"}
    missing = iter(({"tokenizer-cased", *rows}, rows, set(), set()))
    known: set[str] = set()
    for (change, up_to), folders in zip(
        asked,
        (
            {"documents", "documents-heldout"},
            {"tokenizer-cased"},
            {"tokenizer", *folders_of_short(alone=False)},
            rows,
        ),
        strict=True,
    ):
        prepare(settings(corpus, output, change), up_to=up_to)
        known |= folders
        assert set(list_parts(open_store(str(output)))) == known
        assert read_record(open_store(str(output))).promised().keys() >= known
        findings = map(str, verify(str(output)).findings)
        assert {one.partition(":")[0].rpartition("/")[2] for one in findings} == next(missing)
    assert read_record(open_store(str(output))).promised().keys() == known


def test_masking_is_noted_for_each_packing(corpus: Path, tmp_path: Path) -> None:
    prepare(settings(corpus, tmp_path / "out"))
    prepare(settings(corpus, tmp_path / "out", SHORT, {"mask": {"rate": 0.4}}))
    assert verify(str(tmp_path / "out")).findings == ()
    prepare(settings(corpus, tmp_path / "out", SHORT, {"mask": {"rate": 0.3}}))
    assert verify(str(tmp_path / "out")).findings == ()
    rates = {
        folder: json.loads((tmp_path / "out" / folder / "manifest.json").read_text())["masking"]["rate"]
        for folder in ("packed", "packed-heldout", "packed-short-32", "packed-heldout-short-48")
    }
    assert rates == {"packed": 0.15, "packed-heldout": 0.15, "packed-short-32": 0.3, "packed-heldout-short-48": 0.3}


def test_a_packing_of_another_tokenizer_with_this_name_is_refused(corpus: Path, tmp_path: Path) -> None:
    prepare(settings(corpus, tmp_path / "out", SHORT))
    with pytest.raises(ConfigError, match=r'made with tokenizer\.name = "", .* ask for tokenizer\.name = "cased"'):
        prepare(settings(corpus, tmp_path / "out", SHORT, CASED))


def test_rows_named_after_their_tokenizer_say_where_their_name_comes_from(corpus: Path, tmp_path: Path) -> None:
    prepare(settings(corpus, tmp_path / "out", {"pack": {"name": "cased"}}))
    with pytest.raises(ConfigError) as refused:
        prepare(settings(corpus, tmp_path / "out", CASED))
    assert 'the rows "cased" were made with tokenizer.name = ""' in str(refused.value)
    assert refused.value.action == (
        'give pack.name another value than "cased", which it takes from tokenizer.name where it is unset, to add to '
        "this output, give another output.url, or --replace to delete packed-cased/ and make new ones"
    )
    prepare(settings(corpus, tmp_path / "out", CASED, {"pack": {"name": "other"}}))
    assert verify(str(tmp_path / "out")).findings == ()


def test_libraries_may_differ_for_what_is_added_and_not_for_what_was_begun(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(settings(corpus, tmp_path / "out"))
    with pytest.raises(KeyboardInterrupt):
        prepare(settings(corpus, tmp_path / "out", SHORT), Units(2))
    installed = describe_run._version
    monkeypatch.setattr(describe_run, "_version", lambda name: "99" if name == "numpy" else installed(name))
    with pytest.raises(StaleArtifactError, match="begun with another numpy"):
        prepare(settings(corpus, tmp_path / "out", SHORT))
    prepare(settings(corpus, tmp_path / "out", CASED))
    entries = read_record(open_store(str(tmp_path / "out"))).entries
    assert {name: entry.versions["numpy"] == "99" for (_, name), entry in entries.items()} == {
        "": False,
        "short": False,
        "cased": True,
    }


FINGERPRINT_ALONE = {"a": {"decisive": {"pack": {}}, "fingerprint": "0" * 32, "versions": {}}}
"""Which `verify` compares with manifests alone, and there is none."""


@pytest.mark.parametrize(
    "change",
    [
        {"packings": {"../..": {"versions": {}}}},
        {"packings": {"heldout": {"versions": {}}}},
        {"packings": {"a": {"decisive": {"pack": {}}, "tokenizer": "gone", "versions": {}}}},
        {"packings": FINGERPRINT_ALONE},
        {"packings": {"a": {"decisive": 7, "versions": {}}}},
        {"packings": {"a": {"versions": {}, "more": 1}}},
        {"packings": 7},
        {"packings": {f"a{number}": {"decisive": 1} for number in range(2000)}},
        {"input_files": None},
        {"input_bytes": -1},
        {"input_bytes": "x"},
        {"decisive": {"documents": json.loads('{"x":' * 900 + "{}" + "}" * 900)}},
        {"tokenizers": {"a": None}},
        {"tokenizers": {"a": {"decisive": {"tokenizer": {}}, "fingerprint": 3, "versions": {}}}},
    ],
)
def test_a_record_that_nobody_wrote_is_refused(corpus: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    prepare(settings(corpus, tmp_path / "out"), up_to="shard")
    path = tmp_path / "out" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ShardCorruptError, match=r"run\.json: the record of the run is damaged"):
        prepare(settings(corpus, tmp_path / "out"), replace=True)
    findings = [str(one) for one in verify(str(tmp_path / "out")).findings]
    damaged = [one for one in findings if "the record of the run is damaged" in one]
    assert len(damaged) == (0 if change.get("packings") == FINGERPRINT_ALONE else 1)
    assert all(len(one) < 1000 for one in findings)


def test_settings_of_other_names_are_no_difference() -> None:
    plain = {"input": {"paths": ["x"]}, "output": {"url": "y"}}
    file = RunFile.model_validate(plain)
    for change, up_to, expected in (
        ({"pack": {"seq_len": 40}}, Part.PACK, ["pack.seq_len"]),
        ({"pack": {"seq_len": 40}}, Part.TOKENIZER, []),
        ({"pack": {"seq_len": 40, "name": "short"}}, Part.PACK, []),
        ({"tokenizer": {"vocab_size": 40}}, Part.PACK, ["tokenizer.vocab_size"]),
        ({"tokenizer": {"vocab_size": 40}}, Part.SHARD, []),
        ({"tokenizer": {"vocab_size": 40, "name": "small"}, "pack": {"seq_len": 40}}, Part.PACK, []),
        ({"documents": {"seed": 3}, "pack": {"name": "a"}}, Part.PACK, ["documents.seed"]),
    ):
        ours = RunFile.model_validate(plain | change)
        assert list(describe_run.find_differing(ours, file, up_to)) == expected


@pytest.mark.parametrize("name", ["Short", "a-b", "8", "heldout", "a/b", "..", "a" * 64, 7])
def test_a_name_that_no_folder_can_have_is_refused(name: Any) -> None:
    for section in ("tokenizer", "pack"):
        with pytest.raises(ConfigError, match=rf"{section}\.name"):
            prepare({"input": {"paths": ["x"]}, "output": {"url": "memory://x"}, section: {"name": name}})


def test_rows_of_a_named_tokenizer_have_its_name_unless_they_have_their_own() -> None:
    plain = {"input": {"paths": ["x"]}, "output": {"url": "y"}}
    for tokenizer, pack, expected in (("", "", ""), ("a", "", "a"), ("a", "b", "b"), ("", "b", "b")):
        run = RunFile.model_validate({**plain, "tokenizer": {"name": tokenizer}, "pack": {"name": pack}})
        assert run.pack.name == expected
        assert "name" not in run.fingerprinted()["pack"] | run.fingerprinted()["tokenizer"]
