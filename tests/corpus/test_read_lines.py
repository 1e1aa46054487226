"""Lines are those of `bytes.split`, however the file comes in blocks and however long a line is."""

from __future__ import annotations

import tracemalloc

from hypothesis import example, given
from hypothesis import strategies as st

from maskmill.pipeline.corpus.open_input import READ_BYTES
from maskmill.pipeline.corpus.read_lines import is_blank, iter_lines
from tests.corpus.raw_bytes import RawBytes

BOM = b"\xef\xbb\xbf"
RAW = st.lists(st.sampled_from([b"\n", b"\r", b"a", b"bc", BOM, b"\xef", b"\x00", b"long " * 9])).map(b"".join)


def split_lines(data: bytes, max_line_bytes: int) -> list[tuple[int, bytes, int]]:
    """The oracle: the whole file at once."""
    lines = data.removeprefix(BOM).split(b"\n")
    if not lines[-1]:
        lines.pop()  # the file ended with a newline, or is empty
    whole = [line.removesuffix(b"\r") for line in lines]
    return [(number, line[:max_line_bytes], len(line)) for number, line in enumerate(whole, 1)]


@given(RAW | st.binary(), st.integers(1, 50), st.integers(1, 12) | st.just(1000))
@example(BOM + b"a", 1, 10)
@example(b"ab\r\nab\n", 1, 2)
@example(b"abc\r", 2, 3)
@example(b"\r", 1, 1)
@example(b"\xef\xbb", 1, 1)
def test_lines_are_those_of_split(data: bytes, block_bytes: int, max_line_bytes: int) -> None:
    found = [line for lines in iter_lines(RawBytes(data, block_bytes), max_line_bytes) for line in lines]
    assert found == split_lines(data, max_line_bytes)


def test_a_long_line_is_not_held() -> None:
    data = b"x" * (1 << 25) + b"\nend"
    opened = RawBytes(data)
    tracemalloc.start()
    try:
        lines = [line for lines in iter_lines(opened, 1000) for line in lines]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert lines == [(1, b"x" * 1000, 1 << 25), (2, b"end", 3)]
    assert peak < 4 << 20


def test_no_list_holds_more_lines_than_a_block_has_bytes() -> None:
    lists = list(iter_lines(RawBytes(b"\n" * 10_000, 100), 10))
    assert sum(map(len, lists)) == 10_000
    assert max(map(len, lists)) <= 101
    assert READ_BYTES <= 1 << 18  # 120 bytes of Python objects for each of them


def test_a_blank_line_is_one_that_strip_leaves_nothing_of() -> None:
    for code in range(0x110000):
        if not 0xD800 <= code < 0xE000:
            assert is_blank(chr(code).encode()) == (not chr(code).strip()), hex(code)


@given(st.text(st.sampled_from("  \t\r\x0b\x1c\x1f\x85\xa0\u2028\u3000\ufeffa\u00e9\u3042")), st.binary(max_size=2))
@example("", b"")
@example("\u3000 \xa0", b"")
@example("", b"\xe3\x80")
def test_a_blank_line_has_spaces_alone(text: str, after: bytes) -> None:
    line = text.encode() + after
    try:
        expected = not line.decode().strip()
    except UnicodeDecodeError:
        expected = False
    assert is_blank(line) == expected
