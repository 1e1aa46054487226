"""A run that takes map work from another output writes what a fresh run over all files writes, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.corpus import map_documents, plan, plan_map_units
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.pipeline.run import describe_run
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import prepare
from maskmill.pipeline.run.record import fingerprint_parts
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError, MaskmillError, ShardCorruptError, StaleArtifactError
from maskmill.schemas.events import RunEvent
from maskmill.schemas.run_file import DocumentsSection, RunFile
from tests.hostile.words import read_receipt, write_receipt

Files = dict[str, bytes]
VARYING = ("timings.json", "work/driver.lock")
"""Files of an output that differ from run to run."""
TEXTS = [f"text {number} ñ " * repeats for number in range(6) for repeats in (1, 9, 60)]


def make_run(corpus: Path, names: Sequence[str], output: Path, reuse: Path | None = None, **documents: Any) -> RunFile:
    return RunFile.model_validate(
        {
            "input": {
                "paths": [str(corpus / name) for name in names],
                "name": "corpus",
                "id_field": "id",
                "text_document": "line",
                "max_quarantined": 1.0,
                "reuse": None if reuse is None else str(reuse),
            },
            "output": {"url": str(output)},
            "documents": {"shard_mb": 0.03, "held_out": 0.3, "appendable": True} | documents,
            "engine": {"workers": 1},
        }
    )


class Opened:
    """The files that were read, and what the run said."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        self.said: list[str] = []
        patch.setattr(map_documents, "OpenInput", self._open)

    def _open(self, file: InputFile, *part: Any) -> OpenInput:
        self.paths.append(file.path)
        return OpenInput(file, *part)

    def shard(self, run: RunFile) -> list[str]:
        """Make the documents of a run; returns the files that were read for it."""
        self.paths = []
        prepare(run, self._listen, Part.SHARD)
        return self.paths

    def _listen(self, event: RunEvent) -> None:
        self.said += [event.message] if event.event in ("note", "warning") else []


def read_all(output: Path) -> Files:
    """Every file of an output, what is kept in work/ too."""
    files = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    return {path: data for path, data in files.items() if path not in VARYING}


def assert_same(output: Path, expected: Path) -> None:
    found, wanted = read_all(output), read_all(expected)
    assert sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path)) == []


def write(corpus: Path, files: Files) -> None:
    corpus.mkdir(exist_ok=True)
    for name, data in files.items():
        (corpus / name).write_bytes(data)


def make_lines(texts: Sequence[str | None]) -> bytes:
    """JSON lines; None is a line that is rejected, or, where it is the first, gzip under another name."""
    lines = [json.dumps({"text": text, "id": number}) if text else "broken" for number, text in enumerate(texts)]
    return ("\x1f\x8b" if texts[:1] == [None] else "").encode("latin-1") + "\n".join(lines).encode()


FILES = st.dictionaries(
    st.sampled_from([f"{name}{suffix}" for name in "abcdefgh" for suffix in (".jsonl", ".txt")]),
    st.lists(st.one_of(st.sampled_from(TEXTS), st.none()), max_size=12).map(make_lines),
    min_size=2,
    max_size=7,
)


@settings(max_examples=10, deadline=None)
@given(
    files=FILES,
    data=st.data(),
    deduplicate=st.booleans(),
    held_out=st.sampled_from([0.0, 0.4]),
    run_bytes=st.sampled_from([1, 1500, 4000, 1 << 27]),
    bucket_bytes=st.sampled_from([50, 1 << 19]),
    shard_mb=st.sampled_from([0.002, 0.004, 0.004]),
    buckets=st.tuples(*[st.sampled_from([1, 4, 30])] * 2),
    range_bytes=st.sampled_from([700, 1 << 28]),
)
def test_any_split_into_old_and_new_files_gives_the_bytes_of_a_fresh_run(
    files: Files,
    data: st.DataObject,
    deduplicate: bool,
    held_out: float,
    run_bytes: int,
    bucket_bytes: int,
    shard_mb: float,
    buckets: tuple[int, int],
    range_bytes: int,
) -> None:
    names = sorted(files | {"z.jsonl": b""})
    some = st.lists(st.sampled_from(sorted(files)), min_size=1, unique=True)
    old = data.draw(some | st.integers(1, len(files)).map(lambda count: sorted(files)[:count]))
    documents = {"deduplicate": deduplicate, "held_out": held_out, "shard_mb": shard_mb}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_documents, "MAX_RUN_BYTES", run_bytes)
        patch.setattr(map_documents, "RUN_BYTES_PER_BUCKET", bucket_bytes)
        patch.setattr(plan, "BUCKETS_PER_SHARD", buckets[0])
        patch.setattr(plan_map_units, "RANGE_BYTES", range_bytes)
        opened = Opened(patch)
        corpus, before, after, fresh = (Path(folder) / name for name in ("corpus", "before", "after", "fresh"))
        # One good document to train on in each of the runs.
        write(corpus, files | {"z.jsonl": make_lines([f"kept {number}" for number in range(20)])})
        opened.shard(make_run(corpus, [*old, "z.jsonl"], before, **documents))
        standing = read_all(before)
        patch.setattr(plan, "BUCKETS_PER_SHARD", buckets[1])
        assert list(dict.fromkeys(opened.shard(make_run(corpus, names, fresh, **documents)))) == names
        read = opened.shard(make_run(corpus, names, after, reuse=before, **documents))
        assert set(read) >= set(names) - {*old, "z.jsonl"}
        assert_same(after, fresh)
        assert read_all(before) == standing
        assert not any(path.startswith(("work/receipts/sort", "work/exchange/index")) for path in read_all(after))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(monkeypatch)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Six files, each a unit; texts of theirs are in others too, and each has a line that is broken."""
    folder = tmp_path / "corpus"
    write(
        folder,
        {
            f"{name}.jsonl": make_lines([f"{name} alone {i} " * 20 for i in range(30)] + [*TEXTS, None])
            for name in "abcdef"
        },
    )
    return folder


def names_of(letters: str) -> list[str]:
    return [f"{letter}.jsonl" for letter in letters]


def test_only_new_files_are_read_and_the_run_says_so(corpus: Path, tmp_path: Path, opened: Opened) -> None:
    """New files come before, between and behind the old ones, and what is appended to can have been appended to."""
    steps = ["be", "bde", "abdef", "abcdef"]
    for number, letters in enumerate(steps):
        reuse = tmp_path / f"{number - 1}" if number else None
        read = opened.shard(make_run(corpus, names_of(letters), tmp_path / f"{number}", reuse))
        assert read == names_of("".join(sorted(set(letters) - set(steps[number - 1] if number else ""))))
        opened.shard(make_run(corpus, names_of(letters), tmp_path / f"fresh-{number}"))
        assert_same(tmp_path / f"{number}", tmp_path / f"fresh-{number}")
    size = sum((corpus / name).stat().st_size for name in names_of("abdef"))
    assert opened.said[-1] == f"5 of 6 units, {size / 1e3:.1f} kB of input, are taken from {tmp_path / '2'}"


def test_parts_of_files_are_taken_too(
    corpus: Path, tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_map_units, "RANGE_BYTES", 1000)
    read = opened.shard(make_run(corpus, names_of("abcd"), tmp_path / "old"))
    assert len(read) > 12
    assert set(opened.shard(make_run(corpus, names_of("abcdef"), tmp_path / "new", tmp_path / "old"))) == {
        "e.jsonl",
        "f.jsonl",
    }
    size = sum((corpus / name).stat().st_size for name in names_of("abcd"))
    assert f"{size / 1e3:.1f} kB of input, are taken from" in opened.said[-1]
    opened.shard(make_run(corpus, names_of("abcdef"), tmp_path / "fresh"))
    assert_same(tmp_path / "new", tmp_path / "fresh")
    monkeypatch.setattr(plan_map_units, "RANGE_BYTES", 1500)  # other parts
    assert len(set(opened.shard(make_run(corpus, names_of("ab"), tmp_path / "other", tmp_path / "old")))) == 2


def test_files_that_are_gone_are_not_in_the_new_documents(corpus: Path, tmp_path: Path, opened: Opened) -> None:
    opened.shard(make_run(corpus, names_of("abcd"), tmp_path / "old"))
    (corpus / "b.jsonl").unlink()
    assert opened.shard(make_run(corpus, names_of("acf"), tmp_path / "new", tmp_path / "old")) == ["f.jsonl"]
    opened.shard(make_run(corpus, names_of("acf"), tmp_path / "fresh"))
    assert_same(tmp_path / "new", tmp_path / "fresh")


def test_a_file_that_was_rewritten_to_the_same_size_is_read_again(corpus: Path, tmp_path: Path, opened: Opened) -> None:
    opened.shard(make_run(corpus, names_of("abcd"), tmp_path / "old"))
    data = (corpus / "b.jsonl").read_bytes()
    (corpus / "b.jsonl").write_bytes(data.replace(b"alone", b"other"))
    os.utime(corpus / "b.jsonl", (1e9, 1e9))
    assert opened.shard(make_run(corpus, names_of("abcd"), tmp_path / "new", tmp_path / "old")) == ["b.jsonl"]
    opened.shard(make_run(corpus, names_of("abcd"), tmp_path / "fresh"))
    assert_same(tmp_path / "new", tmp_path / "fresh")


def test_small_files_are_taken_in_the_groups_in_which_they_were_read(
    corpus: Path, tmp_path: Path, opened: Opened
) -> None:
    """Two files make a unit, however much text there is in all; one file more at the front shifts them."""
    group_mb = 2 * (corpus / "a.jsonl").stat().st_size * plan_map_units.MAP_UNITS_PER_SHARD / (1 << 20) - 0.001
    opened.shard(make_run(corpus, names_of("bcd"), tmp_path / "old", shard_mb=group_mb))
    read = [
        opened.shard(make_run(corpus, names_of(letters), tmp_path / letters, tmp_path / "old", shard_mb=group_mb))
        for letters in ("bcdef", "abcd")
    ]
    assert read == [names_of("def"), names_of("abcd")]
    assert opened.said[-1].endswith("none of its units has the same files with the same sizes and modification times")


@pytest.mark.parametrize("shard_mb", [0.001, 1.0])
def test_without_shard_mb_groups_do_not_depend_on_how_much_text_there_is(shard_mb: float) -> None:
    for appendable in (True, False):
        unset, given_mb = (
            DocumentsSection(appendable=appendable),
            DocumentsSection(appendable=appendable, shard_mb=shard_mb),
        )
        assert plan_map_units.plan_group_bytes(unset, 12345, 10**7) == (64 << 20 if appendable else 12345)
        assert plan_map_units.plan_group_bytes(given_mb, int(shard_mb * (1 << 20)), 10**7) == int(shard_mb * (1 << 20))


class Killed(BaseException):
    """What a kill is to a test."""


@pytest.mark.parametrize("goes_on_with", ["the same", "nothing", "another"])
def test_a_run_that_is_killed_goes_on_whatever_it_may_reuse(
    corpus: Path, tmp_path: Path, opened: Opened, goes_on_with: str
) -> None:
    opened.shard(make_run(corpus, names_of("abde"), tmp_path / "old"))
    shutil.copytree(tmp_path / "old", tmp_path / "copy")
    opened.shard(make_run(corpus, names_of("abcdef"), tmp_path / "fresh"))
    reuse = {"the same": tmp_path / "old", "nothing": None, "another": tmp_path / "copy"}[goes_on_with]
    for stage, number in (("map", 1), ("map", 4), ("map", 6), ("sort", 2)):
        done = Counter[str]()

        def kill(event: RunEvent, stage: str = stage, number: int = number, done: Counter[str] = done) -> None:
            if event.event == "unit_done":
                done[event.stage] += 1
                if done[stage] == number:
                    raise Killed

        output = tmp_path / f"{stage}-{number}"
        with pytest.raises(Killed):
            prepare(make_run(corpus, names_of("abcdef"), output, tmp_path / "old"), kill, Part.SHARD)
        opened.shard(make_run(corpus, names_of("abcdef"), output, reuse))
        assert_same(output, tmp_path / "fresh")


def test_of_a_finished_run_the_reused_output_may_be_gone(corpus: Path, tmp_path: Path, opened: Opened) -> None:
    opened.shard(make_run(corpus, names_of("abc"), tmp_path / "old"))
    new = make_run(corpus, names_of("abcd"), tmp_path / "new", tmp_path / "old")
    opened.shard(new)
    shutil.rmtree(tmp_path / "old")
    before = read_all(tmp_path / "new")
    assert opened.shard(new) == []
    assert read_all(tmp_path / "new") == before


def test_lost_documents_are_made_again_and_files_that_were_written_to_since_are_read(
    corpus: Path, tmp_path: Path, opened: Opened
) -> None:
    run = make_run(corpus, names_of("ab"), tmp_path / "out")
    opened.shard(run)
    before = read_all(tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "documents")
    assert opened.shard(run) == []
    assert read_all(tmp_path / "out") == before
    shutil.rmtree(tmp_path / "out" / "documents")
    os.utime(corpus / "a.jsonl", (1e9, 1e9))
    assert opened.shard(run) == names_of("ab")


def unfinish(output: Path) -> None:
    (output / "documents/manifest.json").unlink()


def forget_exchange(output: Path) -> None:
    shutil.rmtree(output / "work")


def become_newer(output: Path) -> None:
    record = json.loads((output / "run.json").read_text()) | {"schema_version": "9.0"}
    (output / "run.json").write_text(json.dumps(record))


def become_older(output: Path) -> None:
    record = json.loads((output / "run.json").read_text()) | {"schema_version": "1.0"}
    (output / "run.json").write_text(json.dumps(record))


def damage_record(output: Path) -> None:
    (output / "run.json").write_text("{")


def lose_sections(output: Path) -> None:
    record = json.loads((output / "run.json").read_text())
    record["decisive"] = {"documents": {"held_out": 0.0}}
    record["fingerprints"] = {"shard": fingerprint_parts(record["decisive"])[Part.SHARD]}
    (output / "run.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("harm", "error", "words"),
    [
        (shutil.rmtree, ConfigError, "input.reuse: there is no output to reuse; found .*old: no run.json; check"),
        (unfinish, ConfigError, "input.reuse: the documents of this output are not finished; found .*old; finish"),
        (
            forget_exchange,
            ConfigError,
            "input.reuse: this output no longer has its map work; found .*old/work/receipts",
        ),
        (become_newer, ConfigError, "old/run.json: written by a newer maskmill; .* drop input.reuse, or upgrade"),
        (become_older, ConfigError, "old/run.json: written by an older maskmill; .* drop input.reuse, or"),
        (damage_record, ShardCorruptError, "old/run.json: the record of the run is damaged; .* or drop input.reuse"),
        (lose_sections, ConfigError, "input.reuse: this output was made without documents.appendable"),
    ],
)
def test_an_output_that_cannot_be_reused_is_refused_by_name(
    corpus: Path,
    tmp_path: Path,
    opened: Opened,
    harm: Callable[[Path], None],
    error: type[MaskmillError],
    words: str,
) -> None:
    opened.shard(make_run(corpus, names_of("abc"), tmp_path / "old"))
    harm(tmp_path / "old")
    with pytest.raises(error, match=words):
        opened.shard(make_run(corpus, names_of("abcd"), tmp_path / "new", tmp_path / "old"))
    opened.shard(make_run(corpus, names_of("abcd"), tmp_path / "new"))  # without it the run goes on


def test_an_output_that_kept_nothing_or_is_the_runs_own_is_refused(
    corpus: Path, tmp_path: Path, opened: Opened
) -> None:
    opened.shard(make_run(corpus, names_of("abc"), tmp_path / "old", appendable=False))
    assert not (tmp_path / "old/work/exchange").exists()
    with pytest.raises(ConfigError, match=r"made without documents.appendable"):
        opened.shard(make_run(corpus, names_of("abcd"), tmp_path / "new", tmp_path / "old"))
    (tmp_path / "link").symlink_to(tmp_path / "other")
    for url in ("other", "link", "x/../other"):
        with pytest.raises(ConfigError, match=r"input.reuse: an output cannot reuse its own work"):
            opened.shard(make_run(corpus, names_of("abcd"), tmp_path / "other", tmp_path / url))


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ({"seed": 5}, "it was made with documents.seed = 0, and this run has documents.seed = 5"),
        ({"held_out": 0.2}, "it was made with documents.held_out = 0.3, and this run has documents.held_out = 0.2"),
        (
            {"deduplicate": False},
            "it was made with documents.deduplicate = true, and this run has documents.deduplicate = false",
        ),
    ],
)
def test_nothing_is_taken_of_what_was_read_with_other_settings(
    corpus: Path, tmp_path: Path, opened: Opened, documents: dict[str, Any], said: str
) -> None:
    opened.shard(make_run(corpus, names_of("ab"), tmp_path / "old"))
    new = make_run(corpus, names_of("ab"), tmp_path / "new", tmp_path / "old", **documents)
    assert opened.shard(new) == names_of("ab")
    assert opened.said[-1] == f"input.reuse: nothing is taken from {tmp_path / 'old'}: {said}"


def test_a_file_of_another_source_is_read_again(corpus: Path, tmp_path: Path, opened: Opened) -> None:
    opened.shard(make_run(corpus, names_of("ab"), tmp_path / "old"))
    whole = make_run(corpus, names_of("ab"), tmp_path / "new", tmp_path / "old").model_dump(by_alias=True)
    whole["input"][0]["name"] = "another"
    assert opened.shard(RunFile.model_validate(whole)) == names_of("ab")


def test_files_of_a_store_that_does_not_say_when_they_were_written_to_are_read_again(
    tmp_path: Path, opened: Opened
) -> None:
    folder = f"memory://{uuid.uuid4().hex}"
    open_store(folder).write_bytes("a.txt", b"some text")
    for name, reuse in (("old", None), ("new", str(tmp_path / "old"))):
        whole = make_run(tmp_path, ["x"], tmp_path / name, held_out=0.0).model_dump(by_alias=True)
        whole["input"][0].update({"paths": [f"{folder}/a.txt"], "reuse": reuse})
        assert opened.shard(RunFile.model_validate(whole)) == ["a.txt"]
    (said,) = [message for message in opened.said if message.startswith("input.reuse")]
    assert said.endswith(": the store of the input files does not give their modification times")


def test_nothing_is_taken_of_what_other_libraries_read(
    corpus: Path, tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.shard(make_run(corpus, names_of("ab"), tmp_path / "old"))
    version = describe_run._version
    monkeypatch.setattr(describe_run, "_version", lambda name: "99.0" if name == "pyarrow" else version(name))
    new = make_run(corpus, names_of("ab"), tmp_path / "new", tmp_path / "old")
    assert opened.shard(new) == names_of("ab")
    assert opened.said[-1].endswith(
        f'it was made with pyarrow = "{version("pyarrow")}", and this run has pyarrow = "99.0"'
    )


def test_other_input_files_are_refused_with_advice_to_append(corpus: Path, tmp_path: Path, opened: Opened) -> None:
    for appendable in (True, False):
        output = tmp_path / f"{appendable}"
        opened.shard(make_run(corpus, names_of("ab"), output, appendable=appendable))
        with pytest.raises(StaleArtifactError, match=r"give another output.url") as refused:
            opened.shard(make_run(corpus, names_of("abc"), output, appendable=appendable))
        assert (f'with input.reuse = "{output}", which reads only the files that are new' in str(refused.value)) == (
            appendable
        )


def test_run_files_that_differ_in_what_is_kept_are_told_apart(tmp_path: Path) -> None:
    plain, kept = (make_run(tmp_path, ["x"], tmp_path / "out", appendable=appendable) for appendable in (False, True))
    assert describe_run.find_differing(kept, plain) == {"documents.appendable": (True, False)}
    assert describe_run.find_differing(plain, kept) == {"documents.appendable": (False, True)}
    assert describe_run.find_differing(kept, None)["documents.appendable"] == (True, None)


def damage_object(old: Path) -> None:
    path = old / "work/exchange/000000.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_object(old: Path) -> None:
    path = old / "work/exchange/000000.arrow"
    path.write_bytes(path.read_bytes()[:500])


def lose_object(old: Path) -> None:
    (old / "work/exchange/000000.arrow").unlink()


def damage_receipt(old: Path) -> None:
    path = old / "work/receipts/map/000000.json"
    path.write_bytes(path.read_bytes().replace(b'"map"', b'"mop"'))


def swap_receipts(old: Path) -> None:
    receipt = read_receipt(old / "work/receipts/map/000000.json") | {"unit": 1}
    write_receipt(old / "work/receipts/map/000000.json", receipt)


def lose_quarantine(old: Path) -> None:
    (old / "quarantine/inputs-000000-000.arrow").unlink()


def damage_quarantine(old: Path) -> None:
    path = old / "quarantine/inputs-000000-000.arrow"
    path.write_bytes(path.read_bytes().replace(b"broken", b"brokem"))


@pytest.mark.parametrize(
    ("harm", "error", "words"),
    [
        (damage_object, ShardCorruptError, "work/exchange/000000.arrow, block .*: the bytes of a block have changed"),
        (cut_object, ShardCorruptError, "work/exchange/000000.arrow: what another output has read is not"),
        (lose_object, StaleArtifactError, "work/exchange/000000.arrow: an object of the exchange is gone"),
        (damage_receipt, ShardCorruptError, "a receipt has changed since it was written; found its bytes"),
        (swap_receipts, ShardCorruptError, "a receipt has changed since it was written; found it is that of"),
        (lose_quarantine, ShardCorruptError, "quarantine/inputs-000000-000.arrow: the file is gone"),
        (damage_quarantine, ShardCorruptError, "inputs-000000-000.arrow: the bytes of a file have changed"),
    ],
)
def test_a_damaged_file_of_the_reused_output_is_named_and_no_file_of_the_new_one_made_of_it(
    corpus: Path,
    tmp_path: Path,
    opened: Opened,
    harm: Callable[[Path], None],
    error: type[MaskmillError],
    words: str,
) -> None:
    opened.shard(make_run(corpus, names_of("abc"), tmp_path / "old"))
    harm(tmp_path / "old")
    new = make_run(corpus, names_of("abcd"), tmp_path / "new", tmp_path / "old")
    with pytest.raises(error, match=f"{words}.*or drop input.reuse") as refused:
        opened.shard(new)
    assert str(tmp_path / "old") in str(refused.value.path)
    assert not (tmp_path / "new/work/exchange/000000.arrow").exists()
    opened.shard(make_run(corpus, names_of("abcd"), tmp_path / "new"))
    opened.shard(make_run(corpus, names_of("abcd"), tmp_path / "fresh"))
    assert_same(tmp_path / "new", tmp_path / "fresh")


def test_an_output_that_workers_cannot_see_is_refused(corpus: Path, tmp_path: Path, opened: Opened) -> None:
    run = make_run(corpus, names_of("ab"), tmp_path / "new").model_dump(by_alias=True)
    url = f"memory://{uuid.uuid4().hex}"
    opened.shard(RunFile.model_validate({**run, "output": {"url": url}}))
    reusing = {**run, "input": run["input"][0] | {"reuse": url}}
    with pytest.raises(ConfigError, match=rf"{url}: memory:// is visible only in the driver's process") as refused:
        opened.shard(RunFile.model_validate({**reusing, "engine": {"workers": 2}}))
    assert refused.value.action == 'set engine.kind = "local" and engine.workers = 1'
    assert opened.shard(RunFile.model_validate(reusing)) == []


@pytest.mark.parametrize("old_folders", [["mon"], ["mon", "tue"]])
def test_files_that_another_pattern_renamed_are_told(tmp_path: Path, opened: Opened, old_folders: list[str]) -> None:
    for folder in ("mon", "tue"):
        write(
            tmp_path / folder,
            {f"{folder}{n}.jsonl": make_lines([f"{folder} {n} {i} " * 200 for i in range(30)]) for n in range(3)},
        )

    def make(output: str, folders: list[str], reuse: Path | None = None) -> RunFile:
        whole = make_run(tmp_path, [f"{folder}/*.jsonl" for folder in folders], tmp_path / output, reuse)
        return RunFile.model_validate(
            {**(run := whole.model_dump(by_alias=True)), "input": run["input"][0] | {"name": None}}
        )

    new_folders = ["mon", "tue"] if old_folders == ["mon"] else ["mon"]
    opened.shard(make("old", old_folders))
    assert opened.shard(make("new", new_folders, tmp_path / "old"))
    names = ("mon/mon0.jsonl", "mon0.jsonl") if old_folders == ["mon"] else ("mon0.jsonl", "mon/mon0.jsonl")
    (said,) = [message for message in opened.said if message.startswith("input.reuse")]
    assert f"relative paths differ: {names[0]} was {names[1]} there" in said
