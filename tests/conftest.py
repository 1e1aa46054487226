"""For every test: S3 servers, started once a session, a fresh bucket for each test, and nothing that measures pace."""

from __future__ import annotations

import gc
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.no_power_cut import leave_files_to_the_kernel
from tests.servers.s3_servers import has_ceph, run_ceph, run_moto
from tests.servers.short_proofs import ASKED, shorten_proofs

S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testkey",
    "AWS_SECRET_ACCESS_KEY": "testsecret",
    "AWS_DEFAULT_REGION": "us-east-1",
    # Ceph refuses the checksums that newer clients add to every request.
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_CONNECTED_TO: list[str] = []

# Threads of torch that wait for each other while other processes want their cores: spinning, they took twice the time.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

leave_files_to_the_kernel()

# The first example compiles a kernel or builds Hypothesis's tables; others wait for busy cores.
settings.register_profile("at_any_pace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("at_any_pace")

# Every full collection of garbage looks at all that importing has made, a million objects: none while it is made,
# and none of it afterwards.
gc.disable()
_LONGEST = (
    "trainers/test_page_ends.py",
    "trainers/test_pages.py",
    "docs/test_guide.py",
    "integration/test_kill_anywhere.py",
    "hostile/test_hostile.py",
    "integration/test_object_store.py",
    "integration/test_bytes_stay.py",
    "infra/test_wheel.py",
    "loader/resume/test_passes.py",
    "loader/test_kernels.py",
    "integration/test_same_bytes.py",
    "run/test_from_python.py",
    "jobs/test_summaries.py",
    "engine/test_engine_contract.py",
    "integration/test_bad_input.py",
    "training/test_stop_signals.py",
    "loader/cache/test_block_cache_processes.py",
    "run/test_named_parts.py",
    "wordpiece/encoding/test_encode.py",
    "wordpiece/files/test_transformers_folder.py",
    "loader/encoders/test_encoders.py",
    "wordpiece/counting/test_count_stage.py",
    "loader/test_killed_anywhere.py",
    "loader/cache/test_block_cache_faults.py",
    "wordpiece/encoding/test_prove_encoder.py",
    "integration/test_append.py",
    "loader/plan/test_mixture.py",
    "loader/test_world_sizes.py",
)
"""Files that take longest, which run first: one of them at the end would run alone while other cores wait."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(_LONGEST)}
    folder = os.path.dirname(__file__)
    items.sort(key=lambda item: places.get(os.path.relpath(item.path, folder), len(places)))


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _short_proofs_kept_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache folder for all, pytest's processes too, and proofs on few texts but for tests of `whole_proofs`."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv(ASKED, "1")
        shorten_proofs()
        yield


@pytest.fixture(scope="module")
def whole_proofs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prove on all texts, and take no proof that was made on few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv(ASKED)
        shorten_proofs()
        yield
    shorten_proofs()


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """The endpoint of a moto server."""
    with run_moto() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def ceph_endpoint() -> Iterator[str]:
    """The endpoint of a Ceph object store; skips where Ceph is not installed."""
    if not has_ceph():
        pytest.skip("radosgw is not installed: infra/install_ceph.sh")
    with run_ceph() as endpoint:
        yield endpoint


@pytest.fixture
def moto_url(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in a fresh bucket on moto; the environment, workers' too, points there."""
    return make_bucket(moto_endpoint, monkeypatch)


@pytest.fixture(scope="session", params=["moto", "ceph"])
def s3_endpoint(request: pytest.FixtureRequest) -> str:
    """Each S3 server's endpoint in turn; session-scoped, so that pytest runs all tests of one server together."""
    return str(request.getfixturevalue(f"{request.param}_endpoint"))


@pytest.fixture
def s3_url(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in a fresh bucket, once on moto and once on Ceph; the environment points there."""
    return make_bucket(s3_endpoint, monkeypatch)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many mutated files were read."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    calls = [report for report in reports if getattr(report, "when", None) == "call"]
    properties = [one for report in calls for one in report.user_properties]
    mutations = sum(number for name, number in properties if name == "mutations")
    if mutations:
        terminalreporter.write_line(f"{mutations:,} mutations of files read")


def make_bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point the environment at an endpoint and make a bucket there; returns the URL of a folder in it."""
    import boto3

    point_at(endpoint, monkeypatch)
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/run/out"


def point_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the environment, which workers inherit, at an S3 endpoint."""
    from s3fs import S3FileSystem

    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in S3_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    # fsspec gives the same connection for the same arguments, whatever the environment says by now.
    if [endpoint] != _CONNECTED_TO:
        S3FileSystem.clear_instance_cache()
        _CONNECTED_TO[:] = [endpoint]
