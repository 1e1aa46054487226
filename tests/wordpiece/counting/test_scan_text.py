"""Bytes are UTF-8 where Python says so, up to the byte."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maskmill.pipeline.wordpiece.counting.scan_text import DONE, NOT_UTF8, UNKNOWN, decode_character, scan_texts

# Overlong, surrogates, above U+10FFFF, cut off, and the last code points.
_CODES = ["c0af", "e080af", "f08080af", "eda080", "edbfbf", "f4908080", "f5808080", "c3", "e282", "f09f98"]
_CODES += ["efbfbf", "f48fbfbf"]
_mixed_bytes = st.lists(
    st.one_of(
        st.text(max_size=3).map(str.encode),
        st.binary(max_size=3),
        st.sampled_from([bytes.fromhex(code) for code in _CODES]),
    ),
    max_size=6,
).map(b"".join)


def find_first_error(data: bytes) -> int | None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


@settings(max_examples=500, deadline=None)
@given(_mixed_bytes, st.sampled_from([0, 1, 63, 64, 65]))
@example(b"\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80\xc2\x80\xe0\xa0\x80\xf0\x90\x80\x80", 0)  # the limits
def test_the_first_byte_that_is_not_utf8_is_found(tail: bytes, ascii_bytes: int) -> None:
    data = b"a" * ascii_bytes + tail
    # A continuation byte stands behind the text: it must not complete what the text leaves open.
    buffer = np.frombuffer(data + b"\x80" * 4, np.uint8)
    offsets = np.array([0, len(data)], np.int64)
    reason, text, position, _ = scan_texts(
        buffer,
        offsets,
        np.zeros(1, np.int32),
        0,
        0,
        np.ones(0x110000, np.uint8),
        np.zeros((1, 3), np.int64),
        np.zeros(2, np.int64),
    )
    error = find_first_error(data)
    if error is None:
        assert (reason, text, position) == (DONE, 1, len(data))
    else:
        assert (reason, text, position) == (NOT_UTF8, 0, error)


def test_every_code_point_is_decoded_and_every_surrogate_refused() -> None:
    for code in range(0, 0x110000, 7):
        data = np.frombuffer(chr(code).encode(errors="surrogatepass"), np.uint8)
        expected = (-1, 0) if 0xD800 <= code < 0xE000 else (code, len(data))
        assert decode_character(data, 0, len(data)) == expected


def test_a_character_that_is_not_asked_yet_stops_the_scan_and_nothing_is_counted_twice() -> None:
    texts = ["ab\u00e9" * 50, "\u00e9\u4e2d"]
    data = np.frombuffer("".join(texts).encode(), np.uint8)
    offsets = np.cumsum([0, *(len(text.encode()) for text in texts)])
    traits = np.zeros(0x110000, np.uint8)
    traits[:128] = 1
    traits[[ord("a"), ord("b")]] = 3
    counts, state = np.zeros((2, 3), np.int64), np.zeros(2, np.int64)
    sources = np.array([0, 1], np.int32)
    reason, text, position, code_point = scan_texts(data, offsets, sources, 0, 0, traits, counts, state)
    assert (reason, text, position, chr(code_point)) == (UNKNOWN, 0, 2, "\u00e9")
    traits[code_point] = 7
    reason, text, position, code_point = scan_texts(data, offsets, sources, text, position, traits, counts, state)
    assert (reason, text, position, chr(code_point)) == (UNKNOWN, 1, 202, "\u4e2d")
    traits[code_point] = 3
    assert scan_texts(data, offsets, sources, text, position, traits, counts, state)[0] == DONE
    assert counts.tolist() == [[150, 50, 1], [2, 1, 1]]
