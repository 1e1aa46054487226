"""Any URL of a file or a folder works, or one of our errors names it; nothing hangs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fsspec.registry import known_implementations
from s3fs import S3FileSystem

from maskmill.jobs.report import report
from maskmill.jobs.verify import verify
from maskmill.pipeline.corpus.list_inputs import list_inputs
from maskmill.pipeline.loader import Cache, MaskedBatches
from maskmill.pipeline.run.open_run import open_run
from maskmill.pipeline.settings import read_toml
from maskmill.pipeline.storage import failures
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.files.brought_files import read_brought_files
from maskmill.schemas.errors import MaskmillError
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.train_file import TrainFile

LONG = 4000
NOWHERE = "127.0.0.1:9/none"  # where nothing listens
ODD = [
    "",
    ":",
    "/",
    "//",
    "://",
    "://x",
    "x://",
    "nosuch://x/y",
    "FILE:///none",
    "S3://bucket/none",
    "memory:",
    "data:,abc",
    "data:text/plain;base64,YWJj",
    "data://x",
    "zip::none.zip",
    "zip://a::none.zip",
    "tar::none.tar",
    "tar://a::file://none.tar",
    "simplecache::none",
    "simplecache::memory://none/x",
    "simplecache::http://127.0.0.1:9/none",
    "filecache::s3://bucket/none",
    "reference::{}",
    "dir::file:///none",
    "s3://",
    "s3:///",
    "s3://b\x00/x",
    "gs://",
    "http://",
    "http:///none",
    "http://[::1/none",
    "http://127.0.0.1:99999/none",
    "http://127.0.0.1:x/none",
    "http://\u202e/none",
    "memory://",
    "memory://none",
    "local://none",
    "local:///none/none",
    "file://none",
    "file:none",
    "~nobody-of-this-name/none",
    "a\x00b",
    "a\udcffb",
    "memory://a\udcffb",
    "\x1b[31mnone",
    "x" * 5000,
    "/".join(["x"] * 2500),
    "C:\\none",
    "\\\\host\\share",
    "/dev/null",
    "/proc/self/mem",
    "/dev/stdin/x",
    *(f"{protocol}://{NOWHERE}" for protocol in sorted(known_implementations) if protocol not in ("s3", "s3a")),
    *(f"{protocol}://" for protocol in sorted(known_implementations) if protocol not in ("s3", "s3a")),
]


def open_output(url: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a text\n")
    values = {"input": {"paths": [str(tmp_path / "in.txt")]}, "output": {"url": url}}
    settings = read_toml_values(values, tmp_path)
    with open_run(settings, lambda _: None):
        raise Opened


class Opened(Exception):  # noqa: N818
    """The output can be written."""


def read_toml_values(values: dict[str, dict[str, object]], tmp_path: Path) -> RunFile:
    lines = []
    for section, keys in values.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    (tmp_path / "run.toml").write_text("\n".join(lines), "utf-8", "surrogatepass")
    return read_toml(RunFile, str(tmp_path / "run.toml"))


def use_store(url: str, _: Path) -> None:
    store = Store(url)
    for call in (
        lambda: store.exists("a"),
        lambda: store.list(),
        lambda: store.read_bytes("a", 10),
        lambda: store.read_range("a", 0, 1),
        lambda: store.map_file("a"),
        lambda: store.open_input("a").read(),
        lambda: store.delete("a"),
    ):
        try:
            call()
        except (MaskmillError, FileNotFoundError):
            continue


PLACES: dict[str, Callable[[str, Path], object]] = {
    "store": use_store,
    "run file": lambda url, _: read_toml(RunFile, url),
    "train file": lambda url, _: read_toml(TrainFile, url),
    "override": lambda url, path: read_toml(RunFile, str(path / "run.toml"), [f"output.url={url}"]),
    "no override": lambda url, path: read_toml(RunFile, str(path / "run.toml"), [url]),
    "override of a list": lambda url, path: read_toml(RunFile, str(path / "run.toml"), [f"input.paths={url}"]),
    "input": lambda url, _: list_inputs([url]),
    "pattern": lambda url, _: list_inputs([f"{url}/*.txt"]),
    "everything below": lambda url, _: list_inputs([f"{url}/**"]),
    "tokenizer": lambda url, _: read_brought_files(url),
    "verify": lambda url, _: verify(url, as_json=False),
    "report": lambda url, _: report(url),
    "loader": lambda url, _: MaskedBatches(url, global_batch_rows=8),
    "cache": lambda url, _: MaskedBatches("memory://none", global_batch_rows=8, cache=Cache(folder=url)),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Few attempts, and nothing asked of a cloud: no credentials, and a closed port for its endpoint."""
    monkeypatch.setattr(failures, "FIRST_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(failures.retry_transient, "__kwdefaults__", {"attempts": 1})
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", PLACES)
def test_any_location_works_or_is_an_error_of_ours(place: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[input]\npaths = ["x"]\n[output]\nurl = "out"\n')
    wrong = {}
    for url in ODD:
        try:
            PLACES[place](url, tmp_path)
        except MaskmillError as error:
            if "Traceback" in str(error) or "object at 0x" in str(error):
                wrong[url[:60]] = str(error)
        except Exception as error:  # noqa: BLE001  # whatever escapes is what is looked for
            wrong[url[:60]] = f"{type(error).__name__}: {error}"
    assert not wrong, "\n".join(f"{url!r}: {said}" for url, said in wrong.items())


@pytest.mark.timeout(120)
def test_any_output_works_or_is_an_error_of_ours(tmp_path: Path) -> None:
    wrong = {}
    for number, url in enumerate(ODD):
        if url.removeprefix("local://").removeprefix("file://").startswith(("/", "\\")) and url.strip("/"):
            continue  # nothing of this machine's own is written into
        if len(url) > LONG:
            continue  # nor are folders made so deep that no program can delete them
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            open_output(url, folder)
        except (MaskmillError, Opened):
            continue
        except Exception as error:  # noqa: BLE001  # whatever escapes is what is looked for
            wrong[url[:60]] = f"{type(error).__name__}: {error}"
    assert not wrong, "\n".join(f"{url!r}: {said}" for url, said in wrong.items())
