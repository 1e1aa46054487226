"""What an input file holds: as configured, by its suffix, or by its first bytes where the suffix says nothing."""

from __future__ import annotations

import dataclasses
import os

from maskmill.pipeline.corpus.decompress import COMPRESSIONS, compression_of
from maskmill.pipeline.corpus.formats.table import FORMATS, format_suffix, name_format, recognise_format
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.name_content import LOOKED_AT, recognise_compression
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.schemas.errors import ConfigError, InputDataError
from maskmill.schemas.redaction import redact


def recognise_file(file: InputFile, format_name: str | None) -> InputFile:
    """A file with its format.

    Args:
        file: As it was found.
        format_name: Its format, as configured.

    Raises:
        ConfigError: Its format is unknown, or cannot be compressed as a whole.
        TransientStorageError: The store did not answer.
    """
    if format_name is not None:
        file = dataclasses.replace(file, format_name=format_name)
    elif not file.format:
        file = _look_into(file)
    if not file.format:
        raise _unknown(file)
    if file.compression and not name_format(file.format).is_compressible:
        raise ConfigError(
            "files of this format are not compressed as a whole",
            path=redact(file.url),
            expected=f"a .{file.format} file, which compresses its own columns",
            found=f"one compressed by {file.compression}",
            action="decompress it, or leave it out of input.paths",
        )
    return file


def _look_into(file: InputFile) -> InputFile:
    try:
        start = _read_start(file)
        if (suffix := recognise_compression(start)) is not None and not compression_of(file.path):
            file = dataclasses.replace(file, compression_name=COMPRESSIONS[suffix])
            start = _read_start(file)
    except InputDataError:  # its compression is not that of its suffix
        return file
    found = recognise_format(start)
    return file if found is None else dataclasses.replace(file, format_name=found.name)


def _read_start(file: InputFile) -> bytes:
    with OpenInput(file) as opened:
        return opened.read()[:LOOKED_AT]


def _unknown(file: InputFile) -> ConfigError:
    suffix = format_suffix(file.path)
    known = ", ".join(suffix for format_ in FORMATS for suffix in format_.suffixes)
    return ConfigError(
        "unknown input format",
        path=redact(file.url),
        expected=f"one of {known}, plain or with {', '.join(COMPRESSIONS)}",
        found=suffix + (os.path.splitext(file.path)[1] if compression_of(file.path) else "") or "no suffix",
        action="set input.format if all files are of one format, or leave it out of input.paths",
    )
