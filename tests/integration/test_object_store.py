"""The same run with its input and output on S3: the same bytes, verified and loaded from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmill.pipeline.loader import MaskedBatches
from maskmill.pipeline.storage.store import open_store
from tests.integration.conftest import Undisturbed
from tests.integration.runs import (
    PARTS,
    Driver,
    assert_same_tree,
    engine_options,
    prepare,
    run_maskmill,
    units_done,
    write_run_file,
)
from tests.integration.synthetic_corpus import compress


@pytest.mark.long
def test_a_run_on_s3(undisturbed: Undisturbed, s3_url: str, tmp_path: Path) -> None:
    """Killed once on the way."""
    corpus = open_store(f"{s3_url}/corpus")
    for name, data in undisturbed.corpus.files.items():
        corpus.write_bytes(name, compress(name, data))
    output = open_store(f"{s3_url}/out")
    run_file = write_run_file(tmp_path / "run.toml", corpus.url, output.url)
    driver = Driver("prepare", run_file, *engine_options("local", 1), log=tmp_path / "log")
    for event in driver:
        if event["event"] == "unit_done" and event["stage"] == "sort":
            driver.kill()
            break
    assert driver.events, (tmp_path / "log").read_text()
    done = units_done(driver.events)
    assert not units_done(prepare(run_file).events) & done

    tree = {name: output.read_bytes(name) for part in PARTS for name in output.list(part)}
    assert_same_tree(tree, undisturbed.tree)
    assert output.list("work") == []
    assert units_done(prepare(run_file).events) == set()

    verified = run_maskmill("verify", output.url)
    assert verified.status == 0, verified.stdout
    there = list(MaskedBatches(f"{output.url}/packed", global_batch_rows=16).epochs(1))
    here = list(MaskedBatches(str(undisturbed.output / "packed"), global_batch_rows=16).epochs(1))
    assert len(there) == len(here) > 50
    for one, other in zip(there, here, strict=True):
        assert one.input_ids.equal(other.input_ids)
        assert one.labels.equal(other.labels)
        assert one.row_ids.equal(other.row_ids)
