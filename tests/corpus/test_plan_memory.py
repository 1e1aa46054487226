"""What a driver holds of a file and a unit, and what a worker is sent, does not grow with how many there are."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Iterator

import pyarrow as pa
import pytest

from maskmill.pipeline.corpus.exchange import CorpusContext
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.input_files import CHUNK_FILES, InputFiles
from maskmill.pipeline.corpus.plan import MIB, Buckets
from maskmill.pipeline.corpus.plan_map_units import MapUnit, plan_map_units
from maskmill.pipeline.engine.units import UnitSequence
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.run_file import InputSection, RunFile

NUM_FILES = 2 * CHUNK_FILES + 7


def make_files(number: int = NUM_FILES) -> Iterator[InputFile]:
    for place in range(number):
        name = f"{place // 1000:04d}/part-{place:07d}.jsonl"
        url, mark = f"s3://bucket/corpus/some-crawl/{name}", f"{place:032x}"
        yield InputFile(url, name, 10 * MIB + place, mark, "some-crawl", "jsonl" if place % 2 else None)


def plan(files: InputFiles) -> UnitSequence[MapUnit]:
    return plan_map_units(files, 4 * MIB, Buckets(4, 1), [InputSection(paths=["a"])])


@pytest.fixture(scope="module")
def files() -> InputFiles:
    return InputFiles(make_files())


def test_columns_hold_the_files(files: InputFiles) -> None:
    expected = list(make_files())
    assert list(files) == expected
    assert len(files) == NUM_FILES
    places = [0, 1, CHUNK_FILES - 1, CHUNK_FILES, NUM_FILES - 1, -1, -NUM_FILES]
    assert [files[place] for place in places] == [expected[place] for place in places]
    assert files[CHUNK_FILES - 2 : CHUNK_FILES + 3] == expected[CHUNK_FILES - 2 : CHUNK_FILES + 3]
    assert files.assumed_text_bytes == sum(file.assumed_text_bytes for file in expected)
    with pytest.raises(IndexError):
        files[NUM_FILES]
    assert (len(InputFiles()), InputFiles().assumed_text_bytes) == (0, 0)


def test_a_file_and_its_unit_take_300_bytes_of_the_driver() -> None:
    """So a million take 300 MB. As objects, the files took 700 bytes each and the units 2 KB."""
    tracemalloc.start()
    arrow_before, before = pa.total_allocated_bytes(), tracemalloc.get_traced_memory()[0]
    files = InputFiles(make_files())
    units = plan(files)
    for unit in units:
        assert len(unit.inputs) == 1
    held = tracemalloc.get_traced_memory()[0] - before + pa.total_allocated_bytes() - arrow_before
    tracemalloc.stop()
    assert len(units) == NUM_FILES
    assert held < 300 * NUM_FILES


def test_a_worker_is_sent_its_own_files_alone(files: InputFiles) -> None:
    run = RunFile.model_validate({"input": {"paths": ["a"]}, "output": {"url": "memory://sent"}})
    context = CorpusContext(open_store("memory://sent"), run, files.assumed_text_bytes)
    assert len(pickle.dumps(context)) < 20_000
    assert len(pickle.dumps(plan(files)[CHUNK_FILES])) < 2_000
    assert pickle.loads(pickle.dumps(plan(files)[CHUNK_FILES])) == plan(files)[CHUNK_FILES]  # noqa: S301  # our own bytes
