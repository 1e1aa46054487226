"""Nothing of another run, of other libraries or of the user's is taken for work of this one."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.list_inputs import list_inputs
from maskmill.pipeline.corpus.map_documents import MAP
from maskmill.pipeline.run.describe_run import DECISIVE_LIBRARIES
from maskmill.pipeline.run.open_run import open_run, place_of, refuse_inputs_in_output
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import prepare
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.counts import DocumentCounts
from maskmill.schemas.errors import ConfigError, InputDataError, ShardCorruptError, StaleArtifactError
from maskmill.schemas.events import RunEvent
from maskmill.schemas.run_file import RunFile
from tests.integration.runs import read_tree


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("a", "b"):
        lines = [json.dumps({"text": f"{name} {number} some words"}) for number in range(100)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


def run_file(corpus: Path, output: Path, **sections: dict[str, Any]) -> RunFile:
    values: dict[str, dict[str, Any]] = {
        "input": {"paths": [f"{corpus}/*.jsonl"]},
        "output": {"url": str(output)},
        "documents": {"shard_mb": 0.001, "held_out": 0.1},
        "engine": {"workers": 1},
    }
    for name, keys in sections.items():
        values[name] = values.get(name, {}) | keys
    return RunFile.model_validate(values)


class UnitsDone:
    """Counts the units of each stage that ran."""

    def __init__(self) -> None:
        self.stages = Counter[str]()

    def __call__(self, event: RunEvent) -> None:
        if event.event == "unit_done":
            self.stages[event.stage] += 1


def test_a_part_of_another_run_is_refused_though_the_record_is_gone(corpus: Path, tmp_path: Path) -> None:
    prepare(run_file(corpus, tmp_path / "out"), str, Part.SHARD)
    (tmp_path / "out" / "run.json").unlink()
    with pytest.raises(StaleArtifactError, match="written by another run"):
        prepare(run_file(corpus, tmp_path / "out", documents={"seed": 7}), str, Part.SHARD)


def test_receipts_of_another_run_are_refused_though_the_record_is_gone(corpus: Path, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop_before_sort(event: RunEvent) -> None:
        if event.event == "stage_started" and event.stage == "sort":
            raise StoppedError

    with pytest.raises(StoppedError):
        prepare(run_file(corpus, tmp_path / "out"), stop_before_sort, Part.SHARD)
    (tmp_path / "out" / "run.json").unlink()
    with pytest.raises(StaleArtifactError, match="another description"):
        prepare(run_file(corpus, tmp_path / "out", documents={"seed": 7}), str, Part.SHARD)


class Killed(BaseException):
    """What a kill is to a test."""


def prepare_until(settings: RunFile, stage: str) -> None:
    """Run a command that is killed before a stage."""

    def kill(event: RunEvent) -> None:
        if event.event == "stage_started" and event.stage == stage:
            raise Killed

    with pytest.raises(Killed):
        prepare(settings, kill, Part.SHARD)


def rename_with_its_time(corpus: Path) -> None:
    (corpus / "b.jsonl").rename(corpus / "b.ndjson")  # marks, which are times of change, stay


def add_and_shrink(corpus: Path) -> None:
    (corpus / "c.ndjson").write_text('{"text": "c"}\n')
    (corpus / "a.jsonl").write_text('{"text": "a"}\n')


def remove_one(corpus: Path) -> None:
    (corpus / "a.jsonl").unlink()


@pytest.mark.parametrize("update", [rename_with_its_time, add_and_shrink, remove_one])
def test_other_inputs_begin_an_unfinished_run_again_wherever_that_is_killed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: Callable[[Path], None]
) -> None:
    unfinished = tmp_path / "unfinished"
    with (corpus / "a.jsonl").open("a") as file:
        file.write("\nbroken")
    paths = {"paths": [f"{corpus}/*.*json*"], "max_quarantined": 0.5}
    prepare_until(run_file(corpus, unfinished, input=paths), "sort")
    assert (unfinished / "work/receipts/map").is_dir()
    update(corpus)
    prepare(run_file(corpus, tmp_path / "new", input=paths), str, Part.SHARD)
    expected = read_tree(tmp_path / "new")
    deletions = 0
    for name in ("delete", "delete_tree", "write_bytes"):
        act = getattr(Store, name)

        def act_or_die(self: Store, path: str, *data: Any, act: Any = act) -> None:
            nonlocal deletions
            deletions += 1
            if deletions > allowed:
                raise Killed
            act(self, path, *data)

        monkeypatch.setattr(Store, name, act_or_die)
    for allowed in (*range(12), 10**9):
        output = tmp_path / f"killed-{allowed}"
        shutil.copytree(unfinished, output)
        messages: list[str] = []

        def listen(event: RunEvent, messages: list[str] = messages) -> None:
            messages.append(str(getattr(event, "message", None)))

        deletions = 0
        try:
            prepare(run_file(corpus, output, input=paths), listen, Part.SHARD)
        except Killed:
            deletions = -(10**9)
            prepare(run_file(corpus, output, input=paths), listen, Part.SHARD)
        assert read_tree(output) == expected
        assert list((output / "work").glob("*/*")) == []
    (warning,) = [message for message in messages if "input files" in message]
    assert "not those that this run began with" in warning


def test_inputs_of_before_may_come_back_to_a_run_that_was_killed_as_it_began_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(run_file(corpus, tmp_path / "new"), str, Part.SHARD)
    prepare_until(run_file(corpus, tmp_path / "out"), "sort")
    (corpus / "b.jsonl").rename(tmp_path / "b.jsonl")
    with monkeypatch.context() as patched:

        def die(self: Store, path: str, data: bytes) -> None:
            raise Killed

        patched.setattr(Store, "write_bytes", die)
        with pytest.raises(Killed):
            prepare(run_file(corpus, tmp_path / "out"), str, Part.SHARD)
    (tmp_path / "b.jsonl").rename(corpus / "b.jsonl")
    prepare(run_file(corpus, tmp_path / "out"), str, Part.SHARD)
    assert read_tree(tmp_path / "out") == read_tree(tmp_path / "new")


@pytest.mark.parametrize("finished", ["documents", "documents-heldout"])
def test_other_inputs_delete_nothing_that_is_finished(corpus: Path, tmp_path: Path, finished: str) -> None:
    prepare(run_file(corpus, tmp_path / "out"), str, Part.SHARD)
    for folder in {"documents", "documents-heldout"} - {finished}:
        (tmp_path / "out" / folder / "manifest.json").unlink()
    before = read_tree(tmp_path / "out")
    (corpus / "b.jsonl").unlink()
    with pytest.raises(StaleArtifactError, match="not those that this run began with") as refused:
        prepare(run_file(corpus, tmp_path / "out"), str, Part.SHARD)
    assert "delete this output" in str(refused.value.action)
    assert read_tree(tmp_path / "out") == before


@pytest.mark.parametrize("library", DECISIVE_LIBRARIES)
def test_a_run_is_finished_by_the_libraries_that_began_it(corpus: Path, tmp_path: Path, library: str) -> None:
    prepare(run_file(corpus, tmp_path / "out"), str, Part.SHARD)
    (tmp_path / "out" / "documents" / "manifest.json").unlink()
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    record["versions"][library] = "0.0.1"
    (tmp_path / "out" / "run.json").write_text(json.dumps(record))
    with pytest.raises(StaleArtifactError, match=f"begun with another {library}"):
        prepare(run_file(corpus, tmp_path / "out"), str, Part.SHARD)


def test_a_damaged_record_is_named(corpus: Path, tmp_path: Path) -> None:
    prepare(run_file(corpus, tmp_path / "out"), str, Part.SHARD)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    maskings = ({"rate": 3}, {"ratio": 0.1}, 5)
    for damaged in ("{", "[]", "{}", *(json.dumps(record | {"masking": masking}) for masking in maskings)):
        (tmp_path / "out" / "run.json").write_text(damaged)
        with pytest.raises(ShardCorruptError, match=r"run\.json: the record of the run is damaged"):
            prepare(run_file(corpus, tmp_path / "out"), str, Part.SHARD)


def test_inputs_in_the_output_are_refused(corpus: Path) -> None:
    with pytest.raises(ConfigError, match=r"corpus/a\.jsonl: an input lies in the output"):
        prepare(run_file(corpus, corpus.parent), str, Part.SHARD)


def test_inputs_that_lead_into_the_output_are_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(corpus)
    with pytest.raises(ConfigError, match=r"in/link/a\.jsonl: an input lies in the output"):
        refuse_inputs_in_output(list_inputs([f"{tmp_path}/in/*/*.jsonl"]), open_store(str(corpus.parent)))


def test_inputs_in_the_output_are_refused_by_any_name_of_their_store() -> None:
    file = InputFile("s3://bucket/run/a.jsonl", "a.jsonl", 1)
    with pytest.raises(ConfigError, match="an input lies in the output"):
        refuse_inputs_in_output([InputFile("memory:///run/a.jsonl", "a.jsonl", 1)], open_store("memory://run"))
    for url in ("s3a://bucket/run", "s3://bucket/run/"):
        with pytest.raises(ConfigError, match="an input lies in the output"):
            refuse_inputs_in_output([file], open_store(url))
    refuse_inputs_in_output([file], open_store("s3a://bucket/ru"))


@pytest.mark.parametrize(("one", "other"), [("gs", "gcs"), ("s3", "s3a"), ("az", "abfs"), ("ssh", "sftp")])
def test_a_store_of_several_names_is_one_place(one: str, other: str) -> None:
    assert place_of(f"{one}://bucket/run/") == place_of(f"{other}://bucket/run")
    assert place_of(f"{one}://bucket/run") != place_of(f"{other}://bucket/another")
    assert place_of(f"{one}://bucket/run") != place_of("memory://bucket/run")


def test_what_a_trainer_writes_below_the_output_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "out" / "training" / "checkpoints" / f"model.{'0' * 32}.partial"
    ours = tmp_path / "out" / "documents" / f"shard-00000.arrow.{'0' * 32}.partial"
    for partial in (checkpoint, ours):
        partial.parent.mkdir(parents=True)
        partial.write_bytes(b"half")
    prepare(run_file(corpus, tmp_path / "out"), str, Part.SHARD)
    assert (checkpoint.exists(), ours.exists()) == (True, False)


def test_files_of_the_users_are_left_alone(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "film.partial").write_text("mine")
    prepare(run_file(corpus, tmp_path / "out"), str, Part.SHARD)
    assert (tmp_path / "out" / "film.partial").read_text() == "mine"


def test_a_limit_may_be_raised_and_nothing_is_read_again(corpus: Path, tmp_path: Path) -> None:
    with (corpus / "b.jsonl").open("a") as file:
        file.write("\n{}" * 10)
    with pytest.raises(InputDataError, match="10 of the first 210"):
        prepare(run_file(corpus, tmp_path / "out"), str, Part.SHARD)
    done = UnitsDone()
    prepare(run_file(corpus, tmp_path / "out", input={"max_quarantined": 0.05}), done, Part.SHARD)
    assert done.stages["map"] == 0
    assert done.stages["sort"] > 0


def test_a_corpus_within_its_limit_is_not_refused_for_its_first_file(tmp_path: Path) -> None:
    """25 of the first 500 documents are bad, but of all 30,500 only 0.08 %."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    long = json.dumps({"text": "long " * 800})
    (folder / "a.jsonl").write_text("\n".join([*["{}"] * 25, *[long] * 475]))
    (folder / "b.jsonl").write_text("\n".join(json.dumps({"text": f"{number}"}) for number in range(30_000)))
    prepared = prepare(run_file(folder, tmp_path / "out", documents={"shard_mb": 0.5}), str, Part.SHARD)
    assert prepared.documents[0].counts.quarantined == 25


def test_inputs_written_to_are_read_again_and_nothing_of_what_they_were_stays(corpus: Path, tmp_path: Path) -> None:
    """Mended, at the same sizes, they have no bad line, and fewer shards, for most are now duplicates."""

    class StoppedError(Exception):
        pass

    def stop_before_the_manifest(event: RunEvent) -> None:
        if (event.event, getattr(event, "stage", None)) == ("stage_done", "sort"):
            raise StoppedError

    lines = (corpus / "a.jsonl").read_text().split("\n")
    broken = [lines[0].replace("{", "["), *lines[1:]]
    (corpus / "a.jsonl").write_text("\n".join(broken))
    settings = {"input": {"max_quarantined": 0.1}}
    with pytest.raises(StoppedError):
        prepare(run_file(corpus, tmp_path / "out", **settings), stop_before_the_manifest, Part.SHARD)
    fixed = [line.replace(str(number), "10") for number, line in enumerate(lines[10:], start=10)]
    (corpus / "a.jsonl").write_text("\n".join([*lines[:10], *fixed]))
    for name in ("out", "anew"):
        prepare(run_file(corpus, tmp_path / name, **settings), str, Part.SHARD)
    trees = [{path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.arrow")} for name in ("out", "anew")]
    assert trees[0] == trees[1]
    assert not list((tmp_path / "out").glob("quarantine/*"))


def test_counts_that_do_not_add_up_name_the_receipts(corpus: Path, tmp_path: Path) -> None:
    whole = {"read": 4, "written": 3, "held_out": 0, "duplicates": 0, "quarantined": 1}
    counts = dict(DocumentCounts(**whole, quarantined_by_reason={"x": 1})) | {"read": 5}
    with open_run(run_file(corpus, tmp_path / "out"), str) as run:
        with pytest.raises(ShardCorruptError, match=r"work/receipts/map: what the units counted .* 5 .*; delete this"):
            run.add_up(DocumentCounts, counts, MAP)
        assert run.add_up(DocumentCounts, counts | {"read": 4}, MAP).read == 4
