"""What a caller gives is refused in words, wherever it is given."""

from __future__ import annotations

import shutil

import pytest
from torch.utils.data import DataLoader

from maskmill.pipeline.loader import Cache, MaskedBatches, Masking, Mixture, Phase, Source, iter_fixed_batches
from maskmill.schemas.errors import ConfigError
from tests.loader.streams import MASKING, open_loader


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: Cache(max_bytes="200GB"), "cache.max_bytes: .*found '200GB'"),
        (lambda _: Cache(timeout_seconds=None), "cache.timeout_seconds: "),
        (lambda _: Cache(max_bytes=True), "cache.max_bytes: .*found True"),
        (lambda _: Cache(folder="s3://bucket/cache"), "cache.folder: no such folder"),
        (lambda _: Cache(folder="a\0b"), "cache.folder: no such folder"),
        (lambda _: Cache(folder=5), "cache.folder: no such folder"),
        (lambda _: Cache(fetch=["auto"]), "cache.fetch: "),
        (lambda _: Masking(strategy="words"), 'masking: the value of strategy is wrong; expected "token"'),
        (lambda _: Masking(rate=None), "masking: the value of rate is wrong; expected a number"),
        (lambda url: Mixture(url), "mixture: .*Sources"),
        (lambda _: Mixture(5), "mixture: a mixture is a tuple of Sources"),
        (lambda _: Mixture(None), "mixture: a mixture is a tuple of Sources"),
        (lambda url: Mixture(Source(url)), "mixture: a mixture is a tuple of Sources"),
        (lambda url: Mixture((url,)), "a mixture holds Sources only"),
        (lambda url: Mixture((Source(url, "3"),)), "mixture.weight"),
        (lambda url: Mixture((Source(url, True),)), "mixture.weight"),
        (lambda url: Mixture((Source(url, max_epochs=1.5),)), "max_epochs"),
        (lambda url: Mixture((Source(url),), temperature="hot"), "mixture.temperature"),
        (lambda _: Source(7), "data"),
        (lambda url: [Phase("0", url)], "first_step"),
        (lambda _: [Phase(0, None)], "data"),
        (lambda url: [url], "phases"),
        (lambda _: None, "data: this names no dataset"),
    ],
)
def test_what_makes_no_sense_is_refused(dataset, make, words):
    with pytest.raises(ConfigError, match=words):
        open_loader(make(dataset))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("global_batch_rows", "8"), ("global_batch_rows", 0), ("micro_batch_rows", 3), ("micro_batch_rows", 2.0),
        ("rank", 1), ("world_size", 3), ("seed", -1), ("masking", 0.15), ("masking", "dynamic"), ("partitions", 3),
        ("shuffle_blocks", 0), ("last_batch", "keep"), ("last_batch", 3), ("cache", "folder"),
        ("storage_options", "anon"), ("storage_options", {1: 2}),
    ],
)  # fmt: skip
def test_an_argument_that_is_none_is_refused_by_name(dataset, name, value):
    with pytest.raises(ConfigError) as caught:
        open_loader(dataset, **{name: value})
    assert name in str(caught.value) or name.replace("_", " ") in str(caught.value)


def test_fixed_batches_want_a_masking(dataset):
    with pytest.raises(ConfigError, match="masking"):
        iter_fixed_batches(dataset, "static", 8)


def test_the_output_of_a_run_is_answered_with_its_packed_datasets(dataset, tmp_path):
    for name in ("packed-64", "packed-128"):
        shutil.copytree(dataset, tmp_path / name)
    (tmp_path / "packed-256").mkdir()  # unfinished: no manifest
    with pytest.raises(ConfigError) as caught:
        open_loader(str(tmp_path))
    assert str(caught.value).endswith(f"; give {tmp_path}/packed-128 or {tmp_path}/packed-64")
    with pytest.raises(ConfigError, match=f"give {tmp_path}/packed-128 or "):
        iter_fixed_batches(str(tmp_path), MASKING, 8)
    for nothing in ("packed-256", "nowhere"):
        with pytest.raises(ConfigError, match="no dataset here"):
            open_loader(str(tmp_path / nothing))


def test_the_output_of_a_run_on_a_remote_store_is_answered_alike(remote):
    with pytest.raises(ConfigError, match=f"; give {remote}$"):
        MaskedBatches(remote.removesuffix("/packed"), global_batch_rows=8)


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_data_loader_that_would_collate_is_told_so(dataset, batch_size, num_workers):
    loader = DataLoader(open_loader(dataset), batch_size=batch_size, num_workers=num_workers)
    with pytest.raises(ConfigError, match=r"batch_size=None"):
        next(iter(loader))


def test_a_data_loader_takes_batches_on_a_device_without_workers(dataset):
    batches = open_loader(dataset).steps(3)
    loader = DataLoader(batches.to_device("cpu"), batch_size=None)
    assert [batch.row_ids.tolist() for batch in loader] == [batch.row_ids.tolist() for batch in batches]
    with pytest.raises(ConfigError, match="cannot be made in a worker"):
        next(iter(DataLoader(batches.to_device("cpu"), batch_size=None, num_workers=1)))
