"""Reading TOML into strict models, with errors that name the key and the nearest valid one."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from maskmill.schemas.defaults import NO_DEFAULTS, Defaults
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.explain_values import explain_values, find_sections, keys_at, order_findings, show_value

Model = TypeVar("Model", bound=BaseModel)


def parse_toml(
    model: type[Model], text: str, path: str, overrides: Sequence[str] = (), defaults: Defaults = NO_DEFAULTS
) -> Model:
    """Validate a TOML document against a model.

    Args:
        model: The model of the whole document.
        text: The document.
        path: Its file, for messages.
        overrides: Strings `section.key=value`, with the value as TOML or, failing that, as plain text.
        defaults: Keys for what neither the document nor an override sets.

    Raises:
        ConfigError: The text is not TOML, a key is unknown, missing, or has a value that is not allowed.
    """
    return parse_values(model, load_toml(text, path), path, overrides, defaults)


def load_toml(text: str, path: str) -> dict[str, Any]:
    """The values of a TOML document.

    Raises:
        ConfigError: The text is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            "not valid TOML", path=path, found=str(error), action="fix it; text values need quotes"
        ) from error


def parse_values(
    model: type[Model],
    values: dict[str, Any],
    path: str,
    overrides: Sequence[str] = (),
    defaults: Defaults = NO_DEFAULTS,
) -> Model:
    """Validate what a TOML document says, and overrides of it; see `parse_toml`."""
    plain = copy.deepcopy(values)
    given = apply_overrides(model, values, overrides)
    alone, values = values, defaults.under(values)
    try:
        return _validate(model, values, path, defaults)
    except ValidationError as error:
        for finding in error.errors():
            key = keys_at(model, finding["loc"])
            is_text = finding["type"] == "string_type" and not isinstance(finding["input"], (list, dict))
            if key in given and is_text and key[-1] == finding["loc"][-1]:  # TOML parses it as a number or a date
                _set_value(values, key, given[key])
    try:
        return _validate(model, values, path, defaults)
    except ValidationError as error:
        of_options = {} if _findings(error)[0] in _findings_of(model, plain) else given
        raise explain_settings(model, error, alone, path, defaults, of_options) from None


def explain_settings(
    model: type[BaseModel],
    error: ValidationError,
    values: Mapping[str, Any],
    path: str,
    defaults: Defaults,
    given: Mapping[tuple[str, ...], str] | None = None,
) -> ConfigError:
    """Turn the first finding of values with defaults under them into a sentence that names all that set a key in it.

    Args:
        model: The model that rejected the values.
        error: Its findings.
        values: The values without the defaults.
        path: Their file or argument, for messages.
        defaults: Keys that were under them.
        given: Values from the command line by key, as they were written there.
    """
    (location, message), *_ = _findings(error)
    is_alone = (location, message) in _findings_of(model, values) and not defaults.take_part(values, location, message)
    return explain_values(model, error, path, given, "" if is_alone else defaults.said_by)


def _validate(model: type[Model], values: dict[str, Any], path: str, defaults: Defaults) -> Model:
    found = model.model_validate(values)
    defaults.require(values, path)
    return found


def apply_overrides(
    model: type[BaseModel], values: dict[str, Any], overrides: Sequence[str]
) -> dict[tuple[str, ...], str]:
    """Apply overrides to the values of a TOML document; returns each as text, by its key.

    Raises:
        ConfigError: One is not of the form `section.key=value`.
    """
    return dict(_apply_override(model, values, override) for override in overrides)


def _findings_of(model: type[BaseModel], values: Mapping[str, Any]) -> list[tuple[tuple[int | str, ...], str]]:
    try:
        model.model_validate(values)
    except ValidationError as error:
        return _findings(error)
    return []


def _findings(error: ValidationError) -> list[tuple[tuple[int | str, ...], str]]:
    return [(finding["loc"], finding["msg"]) for finding in order_findings(error)]


def _apply_override(model: type[BaseModel], values: dict[str, Any], override: str) -> tuple[tuple[str, ...], str]:
    """Apply an override to the values; returns its key and its value as text."""
    key, separator, raw = override.partition("=")
    *sections, name = (part.strip() for part in key.split("."))
    if not separator or not sections or not name or not all(sections):
        meant = [f"{section}.{override}" for section in find_sections(model, name)] if not sections else []
        example = meant[0] if meant and separator else f"{meant[0]}=VALUE" if meant else "pack.seq_len=1024"
        raise ConfigError(
            "an override cannot be read",
            path="--set",
            expected="section.key=value",
            found=show_value(override),
            action=f"write for example --set {example}",
        )
    here: Any = values
    for section in sections:
        here = _enter(here, section)
        if not isinstance(_first_of(here), dict):
            raise ConfigError(
                f"{section} is not a section",
                path="--set",
                expected="section.key=value",
                found=show_value(override),
                action=f"take {section} out of the run file, or name another key",
            )
    place = (*sections, name)
    _set_value(values, place, _parse_value(raw.strip()))
    return place, raw.strip()


def _enter(values: Any, section: str) -> Any:
    """A section inside others, made where it is missing; `2` leads from the first of several tables to the second."""
    if isinstance(values, list):
        if section.isdecimal() and 1 <= int(section) <= len(values):
            return values[int(section) - 1]
        values = _first_of(values)
    return values.setdefault(section, {}) if isinstance(values, dict) else None


def _first_of(values: Any) -> Any:
    return values[0] if isinstance(values, list) and values else values


def _set_value(values: dict[str, Any], place: Sequence[str], value: Any) -> None:
    *sections, name = place
    here: Any = values
    for section in sections:
        here = _enter(here, section)
    _first_of(here)[name] = value


def _parse_value(raw: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        return raw
    return parsed["value"] if len(parsed) == 1 else raw
