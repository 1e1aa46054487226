"""Reading a run or train file from wherever it lies."""

from __future__ import annotations

from collections.abc import Sequence

from maskmill.pipeline.storage.paths import split_file_url
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.redaction import redact
from maskmill.schemas.toml_files import Model, parse_toml

MAX_TOML_BYTES = 4 << 20
"""Of a run or train file; one that lists ten thousand inputs has a fifth of it."""


def read_toml(model: type[Model], path: str, overrides: Sequence[str] = ()) -> Model:
    """Read and check a run or train file at any fsspec URL.

    Raises:
        ConfigError: It is missing, no TOML, or a key or value is wrong.
    """
    folder, name = split_file_url(path)
    shown = redact(path)
    try:
        text = open_store(folder).read_bytes(name, MAX_TOML_BYTES).decode()
    except FileNotFoundError:
        raise ConfigError("no such file", path=shown, action="check the path") from None
    except UnicodeDecodeError as error:
        raise ConfigError("the file is not UTF-8", path=shown, found=str(error), action="save it as UTF-8") from None
    return parse_toml(model, text, shown, overrides)
