"""What decides the documents that a map unit reads, as one key: units of equal keys have read the same.

The number of buckets is not in it. It decides only how the documents of a run are grouped, which whoever takes them
does anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import xxhash

from maskmill.pipeline.corpus.plan_map_units import MapUnit
from maskmill.pipeline.engine.units import UnitSequence
from maskmill.schemas.filters import KEYS_OF_RECORD, filters_of_record
from maskmill.schemas.run_file import key_in_section

READING_KEYS = {
    "input": (
        "format",
        "text_field",
        "text_join",
        "id_field",
        "source_field",
        "text_document",
        "text_separator",
        "max_document_mb",
        "share",
        "filters",
    ),
    "documents": ("seed", "held_out", "deduplicate"),
}
"""Sections and keys of the run file that decide what is read of a file."""
READING_LIBRARIES = ("maskmill", "pyarrow", "numpy", "xxhash")
"""Libraries that do."""

_LATER = frozenset(("input.text_join", "input.share", "input.filters", *(f"filters.{name}" for name in KEYS_OF_RECORD)))
"""Settings that came later: where they are unset, units that were read before keep their keys."""

KEY_CHARACTERS = 32
"""Of a key, an xxh3-128 in hexadecimal."""

ReadingSettings = dict[str, Any]
"""All that decides what is read of a file beside the file itself, each by the name that a person knows."""


def list_reading_settings(sections: Mapping[str, Any], versions: Mapping[str, Any], table: int = 0) -> ReadingSettings:
    """Those of a table of a run, by what its record says of the documents; a setting that it does not have is None."""
    keys = ((section, key) for section, keys in READING_KEYS.items() for key in keys)
    settings = {
        f"{section}.{key}": _find(_find(sections, section), key_in_section(table, key) if section == "input" else key)
        for section, key in keys
    }
    filters = {f"filters.{name}": keys for name, keys in filters_of_record(sections).items()}
    return settings | filters | {name: _find(versions, name) for name in READING_LIBRARIES}


def is_appendable(sections: Mapping[str, Any]) -> bool:
    """Whether a run keeps what its map stage wrote, by what its record says of the documents."""
    return _find(_find(sections, "documents"), "appendable") is True


def key_units(units: UnitSequence[MapUnit], tables: Sequence[ReadingSettings]) -> UnitSequence[MapUnit]:
    """The units with their keys: of the settings of their table, of each file's name and more, and of the part.

    Of a file it is the name, source, size and mark. A unit with a file that has no mark gets none: nothing would tell
    that the file was written to.
    """
    everywhere = [xxhash.xxh3_128(json.dumps(_leave_out_unset(one), sort_keys=True).encode()) for one in tables]

    def key_of(unit: MapUnit) -> str:
        digest = everywhere[unit.table].copy()
        for file in unit.inputs:
            if not file.mark:
                return ""
            digest.update(json.dumps([file.path, file.source, file.size_bytes, file.mark]).encode())
        if unit.is_part:
            digest.update(json.dumps([unit.start, unit.stop]).encode())
        return digest.hexdigest()

    return units.map(lambda unit: unit.model_copy(update={"key": key_of(unit)}))


def _leave_out_unset(settings: ReadingSettings) -> ReadingSettings:
    return {name: value for name, value in settings.items() if value is not None or name not in _LATER}


def _find(values: Any, name: str) -> Any:
    return values.get(name) if isinstance(values, Mapping) else None
