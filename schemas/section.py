"""The building blocks of the sections in run files and train files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

AtLeastOne = Annotated[int, Field(ge=1, lt=1 << 63)]
AtLeastZero = Annotated[int, Field(ge=0, lt=1 << 63)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
UInt63 = Annotated[int, Field(ge=0, lt=1 << 63)]
"""A seed: integers in TOML are signed and have 64 bits."""
Url = Annotated[str, Field(min_length=1)]
InputFormat = Literal["jsonl", "txt", "parquet", "arrow", "csv", "tsv", "warc"]
"""The formats of raw text."""

NAME_PATTERN = "[a-z][a-z0-9_]{0,62}"
RESERVED_NAME = "heldout"
"""A part of the names of folders with held-out documents."""
SHOWN_CHARACTERS = 100
"""Characters of a rejected text in a message."""


def _check_name(value: str) -> str:
    if value and not re.fullmatch(NAME_PATTERN, value):
        raise ValueError(
            f"{value[:SHOWN_CHARACTERS]!r} is not a name: write a lower-case letter, then at most 62 lower-case "
            "letters, digits and underscores"
        )
    if value == RESERVED_NAME:
        raise ValueError(f'"{value}" is reserved for the folders of held-out documents: write another name')
    return value


Name = Annotated[str, AfterValidator(_check_name)]
"""Of a tokenizer or a packing: a lower-case letter, then such letters, digits or underscores; "" is the default."""


class Section(BaseModel):
    """The base class of all sections: frozen, no unknown keys, no silent conversions, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def leave_out_defaults(section: Section, written: dict[str, Any], later: Iterable[str]) -> dict[str, Any]:
    """What a section writes, without the keys that earlier versions did not know where they have their defaults.

    So a file that uses none of them is written, and fingerprinted, as those versions did.
    """
    fields = type(section).model_fields
    unused = {name for name in later if getattr(section, name) == fields[name].default}
    return {name: value for name, value in written.items() if name not in unused}
