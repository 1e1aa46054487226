"""A compressed file is whole or not as `gzip -t`, `bzip2 -t`, `xz -t` and `zstd -t` say, and read as `-dc` reads it."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskmill.pipeline.corpus import decompress
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.list_inputs import list_inputs
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.schemas.errors import InputDataError

TOOLS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
SHORT, LONG = b"some text\n", random.Random(0).randbytes(3000) * 40


def compress_zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


def skippable(size: int) -> bytes:
    return b"\x5a\x2a\x4d\x18" + size.to_bytes(4, "little") + bytes(range(1, size + 1))


OLD_XZ = lzma.compress(SHORT, lzma.FORMAT_ALONE)
MEMBERS = {
    ".gz": [gzip.compress(text, mtime=0) for text in (SHORT, b"", LONG)]
    # with a name, an extra field and a comment before the data
    + [b"\x1f\x8b\x08\x1c" + bytes(6) + b"\x02\x00ab" + b"name\x00comment\x00" + gzip.compress(SHORT, mtime=0)[10:]],
    ".bz2": [bz2.compress(text) for text in (SHORT, b"", LONG)],
    ".xz": [lzma.compress(text) for text in (SHORT, b"", LONG)]
    + [lzma.compress(SHORT, check=check) for check in (lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_SHA256)]
    + [OLD_XZ],
    ".zst": [compress_zstd(text) for text in (SHORT, b"", LONG)] + [skippable(0), skippable(5)],
}
OTHERS = [b"\0", bytes(3), bytes(4), bytes(8), bytes(1 << 16), b"x", b"text after it\n", b"\x1f", b"BZ", b"\xfd7"]


@pytest.fixture(params=TOOLS)
def suffix(request: pytest.FixtureRequest) -> str:
    """One whose tool is installed."""
    if shutil.which(TOOLS[request.param]) is None:
        pytest.skip(f"{TOOLS[request.param]} is not installed")
    return str(request.param)


def ask_tool(suffix: str, data: bytes, folder: Path) -> bytes | None:
    """What the tool decompresses; `None` where `-t` says that the file is not whole, or warns of it."""
    (folder / f"tool{suffix}").write_bytes(data)
    tested, decompressed = (
        subprocess.run([TOOLS[suffix], option, f"tool{suffix}"], cwd=folder, capture_output=True, check=False)
        for option in ("-t", "-dc")
    )
    is_warned = b"trailing garbage" in tested.stderr + decompressed.stderr
    return None if tested.returncode or is_warned else decompressed.stdout


def expect(suffix: str, data: bytes, folder: Path) -> bytes | None:
    """As the tool says; `bzip2`, which warns of zeros at the end, as `gzip`, which does not."""
    found = ask_tool(suffix, data, folder)
    if suffix == ".bz2":
        end = len(data.rstrip(b"\0"))
        for stop in range(end, min(end + 5, len(data))):  # an empty member ends with four zeros of its own
            found = found if found is not None else ask_tool(suffix, data[:stop], folder)
    return found


def read(suffix: str, data: bytes, folder: Path) -> bytes | None:
    """The whole file; `None` where it is refused by its name."""
    path = folder / f"a.txt{suffix}"
    path.write_bytes(data)
    (file,) = list_inputs([str(path)])
    try:
        return read_all(file)
    except InputDataError as error:
        refused = error
    assert refused.path == str(path)
    assert refused.what == "the file cannot be read to its end"
    assert refused.found
    return None


def read_all(file: InputFile) -> bytes:
    with OpenInput(file) as opened:
        return b"".join(iter(opened.read, b""))


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_is_read_as_its_tool_reads_it(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    pieces = data.draw(st.lists(st.sampled_from(MEMBERS[suffix]) | st.sampled_from(OTHERS), max_size=4))
    stored = b"".join(pieces)
    if data.draw(st.booleans()):
        stored = stored[: data.draw(st.integers(0, len(stored)))]
    assert read(suffix, stored, tmp_path) == expect(suffix, stored, tmp_path)


@pytest.mark.parametrize("read_bytes", [1, 7, 1 << 16])
def test_a_file_that_is_cut_anywhere_is_refused(
    tmp_path: Path, suffix: str, read_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompress, "MEMBER_READ_BYTES", read_bytes)
    first, empty = MEMBERS[suffix][:2]
    whole = first + empty + first
    ends = {len(first), len(first + empty), len(whole)}
    for cut in range(len(whole) + 1):
        found = read(suffix, whole[:cut], tmp_path)
        assert found == (SHORT * whole[:cut].count(first) if cut in ends else None)
        if read_bytes == 7:
            assert found == ask_tool(suffix, whole[:cut], tmp_path)


@pytest.mark.parametrize("size", [0, 1])
def test_a_file_of_next_to_nothing_is_refused(tmp_path: Path, suffix: str, size: int) -> None:
    assert ask_tool(suffix, MEMBERS[suffix][0][:size], tmp_path) is None
    assert read(suffix, MEMBERS[suffix][0][:size], tmp_path) is None


def test_other_bytes_after_the_data_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(MEMBERS[suffix][0] + b"text that would be lost\n")
    (file,) = list_inputs([str(path)])
    words = "Unknown frame" if suffix == ".zst" else "found uncompressed bytes after the compressed data"
    with pytest.raises(InputDataError, match=words):
        read_all(file)


def test_a_file_of_the_format_before_xz_has_one_member(tmp_path: Path) -> None:
    assert read(".xz", OLD_XZ, tmp_path) == SHORT
    for after in (OLD_XZ, MEMBERS[".xz"][0], bytes(4)):
        assert read(".xz", OLD_XZ + after, tmp_path) is None


def test_a_bomb_comes_in_small_blocks(tmp_path: Path) -> None:
    for suffix, compress in {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.items():
        path = tmp_path / f"bomb.txt{suffix}"
        path.write_bytes(compress(bytes(30 << 20)))
        (file,) = list_inputs([str(path)])
        with OpenInput(file) as opened:
            sizes = [len(block) for block in iter(opened.read, b"")]
        assert sum(sizes) == 30 << 20
        assert max(sizes) <= 1 << 18
