"""Reading TOML into strict models, with errors that name the key and the nearest valid one."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from schemas.errors import ConfigError
from schemas.redaction import without_user_info

SHOWN_CHARACTERS = 200

Model = TypeVar("Model", bound=BaseModel)


def parse_toml(model: type[Model], text: str, path: str, overrides: Sequence[str] = ()) -> Model:
    """Validate a TOML document against a model.

    Args:
        model: The model of the whole document.
        text: The document.
        path: Its file, for messages.
        overrides: `section.key=value` each, the value as TOML or, failing that, as plain text.

    Raises:
        ConfigError: The text is no TOML, a key is unknown or a value is not allowed.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            "not valid TOML", path=path, found=str(error), action="mend it; texts stand in quotes"
        ) from error
    given = dict(_apply_override(values, override) for override in overrides)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for finding in error.errors():
            key = _key_of(finding)
            is_text = finding["type"] == "string_type" and not isinstance(finding["input"], (list, dict))
            if key in given and is_text:  # TOML reads it as a number or a date
                _set_value(values, key, given[key])
    try:
        return model.model_validate(values)
    except ValidationError as error:
        key = _key_of(error.errors()[0])
        place = "--set" if any(key[: len(one)] == one for one in given) else path
        raise _explain(model, error, place) from None


def _key_of(finding: Any) -> tuple[str, ...]:
    return tuple(str(part) for part in finding["loc"])


def _apply_override(values: dict[str, Any], override: str) -> tuple[tuple[str, ...], str]:
    """Put an override among the values; returns its key and its value as text."""
    key, separator, raw = override.partition("=")
    *sections, name = (part.strip() for part in key.split("."))
    if not separator or not sections or not name or not all(sections):
        raise ConfigError(
            "an override is not readable",
            path="--set",
            expected="section.key=value",
            found=_show(override),
            action="write for example --set pack.seq_len=1024",
        )
    here = values
    for section in sections:
        here = here.setdefault(section, {})
        if not isinstance(here, dict):
            raise ConfigError(
                f"{section} is not a section",
                path="--set",
                expected="section.key=value",
                found=_show(override),
                action=f"take {section} out of the run file, or name another key",
            )
    place = (*sections, name)
    _set_value(values, place, _parse_value(raw.strip()))
    return place, raw.strip()


def _set_value(values: dict[str, Any], place: Sequence[str], value: Any) -> None:
    *sections, name = place
    for section in sections:
        values = values[section]
    values[name] = value


def _parse_value(raw: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        return raw
    return parsed["value"] if len(parsed) == 1 else raw


def _explain(model: type[BaseModel], error: ValidationError, path: str) -> ConfigError:
    """Turn the first of pydantic's findings into one sentence; further ones are counted."""
    findings = error.errors()
    first = findings[0]
    location = _drop_inner(model, [str(part) for part in first["loc"] if not isinstance(part, int)])
    key = ".".join(location) or "the whole file"
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.0)
        return ConfigError(
            f"unknown key {key}{more}",
            path=path,
            expected="one of " + ", ".join(known),
            action=f"did you mean {'.'.join([*location[:-1], *near])}?" if near else "take it out",
        )
    if first["type"] == "missing":
        return ConfigError(f"the key {key} is missing{more}", path=path, action=f"add {key}")
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ConfigError(
        f"{key} is not allowed{more}",
        path=path,
        expected=message.replace("a valid tuple", "a list").replace("a valid dictionary", "a section"),
        found=_show(first["input"]),
        action=f"change {key}",
    )


def _show(value: object) -> str:
    """A value as a message may show it: without credentials, and not a screen long."""
    text = without_user_info(repr(value))
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _drop_inner(model: type[BaseModel], location: list[str]) -> list[str]:
    """A finding's location up to the key: within a key that takes a number or a list, pydantic names which it tried."""
    for depth, part in enumerate(location):
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        if part not in fields:
            return location
        section = _section_of(fields[part].annotation)
        if section is None:
            return location[: depth + 1]
        model = section
    return location


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a section, which may be optional; None for a key."""
    for one in get_args(annotation) or (annotation,):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _keys_at(model: type[BaseModel], location: list[str]) -> list[str]:
    for part in location:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        section = _section_of(fields[part].annotation) if part in fields else None
        if section is None:
            return []
        model = section
    return sorted(field.alias or name for name, field in model.model_fields.items())
