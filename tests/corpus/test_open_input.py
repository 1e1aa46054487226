"""A raw file is read whole, or the failure says which file it was and who must act."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from maskmill.pipeline.corpus import open_input
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.list_inputs import list_inputs
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.schemas.errors import InputDataError, TransientStorageError


def compress_zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


CODECS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": compress_zstd,
}
TEXT = b"".join(b"%d lines of text\n" % (number * 7919 % 10007) for number in range(30_000))


def write(folder: Path, name: str, data: bytes) -> InputFile:
    (folder / name).write_bytes(data)
    (file,) = list_inputs([str(folder / name)])
    return file


def read_all(file: InputFile) -> bytes:
    with OpenInput(file) as opened:
        blocks = []
        while block := opened.read():
            blocks.append(block)
            assert 0 < opened.share_read <= 1
        assert opened.read() == b""
        assert opened.share_read == 1
    return b"".join(blocks)


@pytest.mark.parametrize("read_bytes", [1000, 1 << 18])
@pytest.mark.parametrize("suffix", ["", *CODECS])
def test_what_was_written_is_read(
    tmp_path: Path, suffix: str, read_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_input, "READ_BYTES", read_bytes)
    compress = CODECS.get(suffix, bytes)
    assert read_all(write(tmp_path, f"a.txt{suffix}", compress(TEXT))) == TEXT
    assert read_all(write(tmp_path, f"b.txt{suffix}", compress(b""))) == b""


@pytest.mark.parametrize("suffix", CODECS)
def test_members_one_after_the_other_are_all_read(tmp_path: Path, suffix: str) -> None:
    compress = CODECS[suffix]
    data = compress(b"") + compress(TEXT) + compress(b"") + b"".join(map(compress, [b"one ", b"two ", b"three"]))
    assert read_all(write(tmp_path, f"a.txt{suffix}", data)) == TEXT + b"one two three"


def test_padding_between_members_of_xz_is_no_text(tmp_path: Path) -> None:
    data = lzma.compress(b"one") + bytes(8) + lzma.compress(b"two") + bytes(4)
    assert read_all(write(tmp_path, "a.txt.xz", data)) == b"onetwo"


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("damage", ["cut", "cut at the start", "garbage after it", "not compressed"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, suffix: str, damage: str) -> None:
    whole = CODECS[suffix](TEXT)
    data = {
        "cut": whole[:-5],
        "cut at the start": whole[:9],
        "garbage after it": whole + b"garbage",
        "not compressed": TEXT,
    }[damage]
    file = write(tmp_path, f"a.txt{suffix}", data)
    with pytest.raises(InputDataError, match="cannot be read to its end") as refused:
        read_all(file)
    error = refused.value
    assert error.path == file.url
    assert str(error.place).startswith("near byte ")
    assert file.compression in str(error.expected)
    assert error.found
    assert error.action


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changed_its_length_is_refused(tmp_path: Path, suffix: str, change: int) -> None:
    data = CODECS.get(suffix, bytes)(TEXT)
    file = write(tmp_path, f"a.txt{suffix}", data)
    listed = InputFile(file.url, file.path, len(data) + change)
    with pytest.raises(InputDataError, match="has changed") as refused:
        read_all(listed)
    assert (refused.value.expected, refused.value.found) == (f"{len(data) + change} bytes", f"{len(data)} bytes")


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "a.txt", b"x")
    os.unlink(tmp_path / "a.txt")
    with pytest.raises(InputDataError, match="is gone") as refused, OpenInput(file):
        pass
    assert refused.value.path == file.url


@pytest.mark.parametrize("suffix", ["", *CODECS])
def test_a_store_that_does_not_answer_is_asked_again_later(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = CODECS.get(suffix, bytes)(TEXT)
    url = f"memory://{uuid.uuid4().hex}/a.txt{suffix}"

    class Failing:
        def read(self, _: int) -> bytes:
            raise ConnectionResetError("read of memory://me:pass@host failed")

        def close(self) -> None: ...

    class Opener:
        def open(self, *_: object) -> Any:
            return Failing()

    monkeypatch.setattr(open_input, "open_filesystem", lambda url: (Opener(), url))
    file = InputFile(url.replace("//", "//me:pass@"), "a.txt" + suffix, len(data))
    with OpenInput(file) as opened, pytest.raises(TransientStorageError) as failed:
        opened.read()
    assert "pass" not in str(failed.value)


def test_reading_is_the_same_in_memory_and_on_s3(moto_url: str) -> None:
    for url in (f"memory://{uuid.uuid4().hex}", moto_url):
        for suffix, compress in CODECS.items():
            with fsspec.open(f"{url}/a.txt{suffix}", "wb") as file:
                file.write(compress(TEXT))
            (listed,) = list_inputs([f"{url}/*.txt{suffix}"])
            assert read_all(listed) == TEXT
