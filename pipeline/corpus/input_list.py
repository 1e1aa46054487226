"""A list of inputs: `@files.txt` in `input.paths` stands for the lines of `files.txt`.

A line is anything that `input.paths` takes but another list; a relative path starts in the folder of the list, wherever
that is. Blank space around a line, blank lines and lines that begin with `#` are skipped. Lists may be compressed.
"""

from __future__ import annotations

from collections.abc import Iterator

from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.pipeline.corpus.read_lines import iter_lines
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.redaction import redact

MAX_ENTRY_BYTES = 1 << 14
MAX_ENTRIES = 1 << 20
"""Each takes some 2 KB in the driver, and a million files are as many requests to a store."""
_MARK = "@"
_COMMENT = b"#"


def is_list(written: str) -> bool:
    """Whether an entry of `input.paths` is the path of a list."""
    return written.startswith(_MARK)


def path_of_list(written: str) -> str:
    """The path or URL of the list that an entry of `input.paths` names."""
    return written.removeprefix(_MARK)


def read_list(file: InputFile) -> Iterator[tuple[int, str]]:
    """The entries of a list, each with the number of its line.

    Raises:
        ConfigError: A line is not UTF-8, too long or a list itself, there are too many, or none.
        InputDataError: The list cannot be read to its end.
    """
    num_entries = 0
    with OpenInput(file) as opened:
        for lines in iter_lines(opened, MAX_ENTRY_BYTES):
            for number, line, length in lines:
                entry = line.strip()
                if length > MAX_ENTRY_BYTES:
                    raise _refuse(file, number, "a line is too long", f"{length:,} bytes, at most {MAX_ENTRY_BYTES:,}")
                if not entry or entry.startswith(_COMMENT):
                    continue
                num_entries += 1
                if num_entries > MAX_ENTRIES:
                    raise _refuse(file, number, "the list is too long", f"more than {MAX_ENTRIES:,} entries")
                yield number, _decode(file, number, entry)
    if not num_entries:
        raise ConfigError(
            "the list names no file",
            path=redact(file.url),
            expected="a path, URL or pattern a line",
            found="blank lines and comments" if file.size_bytes else "an empty file",
            action="check input.paths",
        )


def _decode(file: InputFile, number: int, entry: bytes) -> str:
    try:
        decoded = entry.decode()
    except UnicodeDecodeError:
        raise _refuse(file, number, "a line is not UTF-8", ascii(entry)) from None
    if is_list(decoded):
        raise _refuse(file, number, "a list cannot name another one", f"{decoded}; write ./{decoded} for a file")
    return decoded


def _refuse(file: InputFile, number: int, what: str, found: str) -> ConfigError:
    return ConfigError(
        what,
        path=redact(file.url),
        place=f"line {number}",
        expected="a path, URL or pattern a line",
        found=found,
        action="fix the list; a file whose own name begins with @ is written ./@name in input.paths",
    )
