"""Whatever a web server or a store answers, no credential reaches an error, a traceback, a log, a table or an event."""

from __future__ import annotations

import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from s3fs import S3FileSystem

from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.list_inputs import list_inputs
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.pipeline.engine.answers import Failed, _make_portable, answer_unit
from maskmill.pipeline.loader import MaskedBatches
from maskmill.pipeline.run.compare_tokenizers import name_tokenizers
from maskmill.pipeline.settings import read_toml
from maskmill.pipeline.standard_error import say_traceback
from maskmill.pipeline.storage import failures
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.wordpiece.files.brought_files import read_brought_files
from maskmill.schemas.errors import MaskmillError
from maskmill.schemas.redaction import redact, remember_secrets
from maskmill.schemas.run_file import RunFile
from tests.integration.runs import run_maskmill
from tests.servers.refusing_server import REFUSALS, run_refusing_server

SIGNATURE = "5d41402abc4b2a76b9719d911017c592deadbeef0123456789abcdef01234567"
CREDENTIAL = "AKIAIOSFODNN7EXAMPLE/20261129/us-east-1/s3/aws4_request"
TOKEN = "FwoGZXIvYXdzEBYaDKz+token/with=signs=="  # noqa: S105
SAS = "bXkgc2lnbmF0dXJlIGlzIHNlY3JldA=="
PASSWORD = "correct-horse:battery"  # noqa: S105
KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SECRETS = (SIGNATURE, CREDENTIAL, TOKEN, SAS, PASSWORD, KEY, "hunter2hunter2")
QUERIES = {
    "aws": f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={quote(CREDENTIAL, safe='')}&X-Amz-Date=20261129T000000Z"
    f"&X-Amz-Security-Token={quote(TOKEN, safe='')}&X-Amz-Signature={SIGNATURE}",
    "google": f"X-Goog-Credential={quote(CREDENTIAL, safe='')}&X-Goog-Signature={SIGNATURE}",
    "azure": f"sv=2026-01-01&sig={quote(SAS, safe='')}&se=2026-11-30",
    "token": f"file=a.jsonl&token={quote(TOKEN, safe='')}&download=1",
}


def forms() -> Iterator[str]:
    for secret in SECRETS:
        yield from {secret, quote(secret, safe=""), quote(secret)}
    yield from (SIGNATURE[:16], SAS[:16], PASSWORD.partition(":")[2], KEY[:16], TOKEN[:16])


def assert_clean(text: str, where: str) -> None:
    for form in forms():
        assert form not in text, f"{form} in {where}: {text}"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with run_refusing_server() as number:
        yield number


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything logged by any library, above the level of wire traffic."""
    monkeypatch.setattr(failures, "FIRST_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(failures.retry_transient, "__kwdefaults__", {"attempts": 3})
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.INFO)
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


def read_input(url: str) -> None:
    with OpenInput(InputFile(url, "a.jsonl", 10)) as file:
        while file.read():
            pass


PLACES: dict[str, Callable[[str], object]] = {
    "input": lambda url: list_inputs([url]),
    "input that is read": read_input,
    "run file": lambda url: read_toml(RunFile, url),
    "tokenizer": read_brought_files,
    "dataset": lambda url: MaskedBatches(url, global_batch_rows=8),
    "store": lambda url: open_store(url).write_bytes("a", b"x"),
}


def check_error(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    whole = "".join(traceback.format_exception(error))
    assert_clean(str(error), "the message")
    assert_clean(repr(error), "its repr")
    if isinstance(error, MaskmillError):
        assert_clean(whole, "the traceback")
        assert_clean(json.dumps(vars(error)), "the fields")
    assert_clean(repr(vars(pickle.loads(pickle.dumps(error)))), "the pickle")  # noqa: S301
    say_traceback(error)
    shown = capsys.readouterr()
    assert_clean(shown.err + shown.out, "what is printed")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_no_answer_of_a_web_server_shows_a_credential(
    port: int, place: str, refusal: str, log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    number = list(REFUSALS).index(refusal) + list(PLACES).index(place)
    query = list(QUERIES.values())[number % len(QUERIES)]
    user = f"user:{quote(PASSWORD, safe='')}@" if number // len(QUERIES) % 2 else ""
    try:
        PLACES[place](f"http://{user}127.0.0.1:{port}/{refusal}/a.jsonl?{query}")
    except (MaskmillError, FileNotFoundError) as error:
        check_error(error, capsys)
    assert_clean(log.getvalue(), "the log")


@pytest.mark.parametrize("refusal", ["401", "403", "loop", "status", "500", "400"])
def test_no_answer_of_a_store_shows_the_keys_it_was_opened_with(
    port: int, refusal: str, log: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = {"endpoint_url": f"http://127.0.0.1:{port}"}
    client = {
        "retries": {"total_max_attempts": 1},
        "connect_timeout": 2,
        "read_timeout": 2,
        "s3": {"addressing_style": "path"},
    }
    store = Store(
        f"s3://{refusal}/x",
        {"key": "AKIAIOSFODNN7EXAMPLE", "secret": KEY, "client_kwargs": endpoint, "config_kwargs": client},
    )
    web = Store(
        f"http://127.0.0.1:{port}/{refusal}", {"headers": {"Authorization": f"Bearer {TOKEN}", "X-Api-Key": KEY}}
    )
    for call in (
        lambda: store.read_bytes("a"),
        lambda: store.exists("a"),
        lambda: store.list(),
        lambda: store.write_bytes("a", b"x"),
        lambda: store.read_range("a", 0, 10),
        lambda: web.read_bytes("a"),
        lambda: web.exists("a"),
    ):
        try:
            call()
        except (MaskmillError, FileNotFoundError) as error:
            check_error(error, capsys)
    assert_clean(log.getvalue(), "the log")
    assert_clean(repr(store), "the store")


def test_a_units_error_travels_without_a_credential() -> None:
    remember_secrets([PASSWORD])

    def fail(*_: object) -> None:
        raise RuntimeError(f"a library says {PASSWORD}, 'X-Amz-Signature': '{SIGNATURE}'")

    answer = answer_unit(fail, None, open_store("memory://x"), None)  # type: ignore[arg-type]  # it never comes to it
    assert isinstance(answer, Failed)
    assert_clean(answer.trace, "the worker's traceback")
    assert_clean(str(_make_portable(UnpicklableError(f"at {PASSWORD}"))), "an error that cannot travel")


class UnpicklableError(Exception):
    def __reduce__(self) -> str:
        raise TypeError


@pytest.mark.parametrize("name", QUERIES)
def test_a_tokenizer_is_shown_without_its_query(name: str) -> None:
    urls = [f"https://host/{folder}/vocab.txt?{QUERIES[name]}" for folder in "ab"]
    assert name_tokenizers(urls[:1]) == ["vocab"]
    assert name_tokenizers(urls) == ["https://host/a/vocab.txt", "https://host/b/vocab.txt"]
    twice = [f"https://host/vocab.txt?{query}" for query in (QUERIES[name], "v=2")]
    assert name_tokenizers(twice) == ["https://host/vocab.txt (1)", "https://host/vocab.txt (2)"]


@pytest.mark.parametrize("name", QUERIES)
def test_messages_of_libraries_are_redacted_whatever_their_form(name: str) -> None:
    query = QUERIES[name]
    for text in (
        f"GET /bucket/a.jsonl?{query} HTTP/1.1",
        f"403, message='Forbidden', url=URL('https://host/a?{query}')",
        f"Cannot redirect to ftp://host/a?{query}",
        f"https://user:{quote(PASSWORD, safe='')}@host/a?{query} failed",
        f'{{"url": "https://host/a?{query}", "next": "b"}}',
        f"{{'Authorization': 'Bearer {TOKEN}', 'x-amz-security-token': '{quote(TOKEN, safe='')}'}}",
        f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders=host, Signature={SIGNATURE}",
    ):
        assert_clean(redact(text), "a message")


def test_the_commands_show_no_credential(port: int, tmp_path: Path) -> None:
    url = f"http://user:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/403/a.jsonl?{QUERIES['aws']}"
    (tmp_path / "run.toml").write_text(f'[input]\npaths = ["{url}"]\n[output]\nurl = "{tmp_path}/out"\n')
    for arguments in (("prepare", tmp_path / "run.toml", "--debug"), ("verify", url)):
        ended = run_maskmill(*arguments)
        assert ended.status == 1
        assert "127.0.0.1" in ended.stderr
        assert "unexpected" not in ended.stderr
        assert_clean(ended.stdout + ended.stderr, str(arguments[0]))
