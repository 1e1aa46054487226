"""What is refused of any document, whatever its format: its text, id and source as bytes."""

from __future__ import annotations

import codecs

from maskmill.pipeline.corpus.formats.document_block import Reason

MAX_NAME_CHARACTERS = 1 << 16  # of an id or a source
PIECE_BYTES = 1 << 20


def judge_document(
    text: bytes, doc_id: bytes | None, source: bytes | None, max_text_bytes: int, *, is_known_utf8: bool = False
) -> Reason | None:
    """Why a document is refused, or None; see `judge_text`."""
    return judge_name(doc_id) or judge_name(source) or judge_text(text, max_text_bytes, is_known_utf8=is_known_utf8)


def judge_text(text: bytes, max_text_bytes: int, *, is_known_utf8: bool = False) -> Reason | None:
    """Why a text is no document, or None.

    Args:
        text: The text.
        max_text_bytes: Limit of its length.
        is_known_utf8: Whether it need not be looked at for that.
    """
    if not text:
        return Reason.EMPTY
    if not is_known_utf8 and not is_utf8(text):
        return Reason.INVALID_UTF8
    return Reason.TOO_LARGE if len(text) > max_text_bytes else None


def judge_name(name: bytes | None) -> Reason | None:
    """Why an id or a source is refused, or None."""
    if name is None:
        return None
    try:
        characters = len(name.decode())
    except UnicodeDecodeError:
        return Reason.INVALID_UTF8
    return Reason.TOO_LARGE if characters > MAX_NAME_CHARACTERS else None


def is_utf8(text: bytes) -> bool:
    """Whether some bytes are UTF-8.

    Of a long text a piece at a time is decoded: with one character above U+FFFF all take four bytes each.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        if len(text) <= PIECE_BYTES:
            text.decode()
            return True
        pieces = memoryview(text)
        for start in range(0, len(text), PIECE_BYTES):
            decoder.decode(pieces[start : start + PIECE_BYTES], final=start + PIECE_BYTES >= len(text))
    except UnicodeDecodeError:
        return False
    return True
