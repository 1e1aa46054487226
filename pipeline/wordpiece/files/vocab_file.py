"""`vocab.txt`: one piece a line, read as the WordPiece model of `tokenizers` reads it.

That model is what `BertWordPieceTokenizer` and `transformers.BertTokenizer` hand the file to. It splits at line feeds,
drops whitespace at the end of a line, keeps a byte order mark as a part of the first piece, and lets the last of two
equal lines win. What would leave an id without a piece is refused here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.mask_vocabulary import MAX_VOCAB_SIZE

_WHITESPACE = (
    "\t\n\x0b\x0c\r \x85\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space, which Rust's `trim_end` drops; `str.rstrip` would also drop U+001C to U+001F."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SHOWN_LINES = 5


def parse_vocab(content: bytes, path: str = "tokenizer.from") -> list[str]:
    """Read the pieces, the first of which has id 0.

    Args:
        content: Of the file.
        path: The file, for messages.

    Raises:
        ConfigError: It is not UTF-8, begins with a byte order mark, or has duplicate or empty lines.
    """
    if content.startswith(_BYTE_ORDER_MARK):
        raise ConfigError(
            "vocab.txt begins with a byte order mark, which is read as a part of the first piece",
            path=path,
            place="line 1",
            expected="UTF-8 without a byte order mark",
            found=repr(content[: len(_BYTE_ORDER_MARK)]),
            action="save the file without it",
        )
    num_lines = content.count(b"\n")
    if num_lines > MAX_VOCAB_SIZE:
        raise ConfigError(
            "vocab.txt has more lines than any vocabulary",
            path=path,
            expected=f"at most {MAX_VOCAB_SIZE}",
            found=str(num_lines),
            action="check tokenizer.from",
        )
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            "vocab.txt is not UTF-8",
            path=path,
            place=f"line {line}",
            expected="UTF-8, one piece a line",
            found=repr(content[error.start : error.end]),
            action="save the file as UTF-8",
        ) from error
    pieces = [line.rstrip(_WHITESPACE) for line in lines[: -1 if lines[-1] == "" else None]]
    if len(set(pieces)) < len(pieces) or "" in pieces:
        raise _refuse_lines(pieces, path)
    return pieces


def dump_vocab(pieces: Sequence[str]) -> bytes:
    """Write pieces one a line."""
    return "".join(f"{piece}\n" for piece in pieces).encode()


def find_unwritable(pieces: Sequence[str]) -> int | None:
    """The first id that a reader of `vocab.txt` would not give back its piece for; None where there is none.

    A carriage return inside a piece counts: readers in Python end a line at it.
    """
    for number, piece in enumerate(pieces):
        if not piece or piece != piece.rstrip(_WHITESPACE) or "\n" in piece or "\r" in piece:
            return number
    if pieces and pieces[0].encode().startswith(_BYTE_ORDER_MARK):
        return 0
    return None


def _refuse_lines(pieces: Sequence[str], path: str) -> ConfigError:
    lines_of: dict[str, list[int]] = defaultdict(list)
    for number, piece in enumerate(pieces, 1):
        lines_of[piece].append(number)
    piece, numbers = next((piece, lines) for piece, lines in lines_of.items() if len(lines) > 1 or not piece)
    return ConfigError(
        "vocab.txt has duplicate or empty lines, compared without whitespace at their ends",
        path=path,
        place=f"line {numbers[-1]}",
        expected="every piece once, one a line",
        found=f"{piece!r} on lines {', '.join(map(str, numbers[:_SHOWN_LINES]))}",
        action="remove or rename the lines; note that this shifts the ids after them",
    )
