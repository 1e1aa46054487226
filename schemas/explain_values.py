"""Explain what is wrong with the values of a model in one sentence, from the findings of pydantic."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.redaction import redact

SHOWN_CHARACTERS = 200
CLOSE = 0.5
"""The similarity, from 0 to 1, from which an unknown key counts as a misspelt known one."""

_EXPECTED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "int_type": lambda _: "an integer",
    "int_from_float": lambda _: "an integer",
    "float_type": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "bool_type": lambda _: "true or false",
    "string_type": lambda _: "a text in quotes",
    "string_too_short": lambda _: "a text that is not empty",
    "tuple_type": lambda _: "a list",
    "too_short": lambda context: f"a list of {context['min_length']} or more",
    "too_long": lambda context: f"a list of {context['max_length']} at most",
    "greater_than_equal": lambda context: f"at least {context['ge']}",
    "less_than_equal": lambda context: f"at most {context['le']}",
    "greater_than": lambda context: f"more than {context['gt']}",
    "less_than": lambda context: f"less than {context['lt']}",
    "enum": lambda context: str(context["expected"]).replace("'", '"'),
    "literal_error": lambda context: str(context["expected"]).replace("'", '"'),
    "missing": lambda _: "a longer list",
}
"""What was expected, by pydantic's type of a finding."""
_ALTERNATIVES = ("bool_type", "literal_error")
"""Findings about a value that is true, false or one of some texts."""


@dataclass(frozen=True)
class _Place:
    """Where in a model a finding is.

    Attributes:
        keys: The sections and the key, without the places inside a key's value that pydantic names.
        model: The model of the innermost section.
        field: The key's field; `None` for a section, and for a key that the model does not know.
        item: The number of the item in the key's list, from 0.
    """

    keys: tuple[str, ...]
    model: type[BaseModel]
    field: FieldInfo | None
    item: int | None

    @property
    def name(self) -> str:
        return ".".join(self.keys)


def explain_values(
    model: type[BaseModel],
    error: ValidationError,
    path: str,
    given: Mapping[tuple[str, ...], str] | None = None,
    under: str = "",
) -> ConfigError:
    """Turn the first of pydantic's findings into one sentence, and count the others.

    Args:
        model: The model that rejected the values.
        error: Its findings.
        path: The file of the values.
        given: Values from the command line by key, as they were written there.
        under: What has set other keys that are at fault, such as `--recipe bert`.
    """
    findings = order_findings(error)
    first = findings[0]
    place = _locate(model, first["loc"])
    alternatives = _list_alternatives(first, findings)
    others = len(findings) - len(alternatives)
    more = f" (and {others} more)" if others else ""
    said = str(first.get("ctx", {}).get("error", "")) if first["type"] == "value_error" else ""
    blamed = _blame(place, said, path, given or {}, under)
    is_inside = place.keys[-1:] != first["loc"][-1:]
    if first["type"] == "extra_forbidden":
        return _explain_unknown(model, place, blamed, more)
    if first["type"] == "missing" and not is_inside:
        return ConfigError(f"the key {place.name} is missing{more}", path=blamed, action=f"add {place.name}")
    if said:
        where = place.name if place.field else f"[{place.name}]" if place.keys else None
        action = f"change {place.name}" if place.field else "change one of these keys"
        return ConfigError(f"{said}{more}", path=blamed, place=where, action=action)
    if first["type"] in ("model_type", "dict_type"):
        return ConfigError(
            f"{place.name or 'the whole'} is not a section{more}",
            path=blamed,
            expected=f"[{place.name}] with keys below it" if place.keys else "sections with keys",
            found=show_value(first["input"]),
            action=f"write the keys of {place.name or 'the sections'} one a line",
        )
    item = "" if place.item is None or first["type"] == "missing" else f" at item {place.item + 1} of its list"
    return ConfigError(
        f"the value of {place.name} is wrong{item}{more}",
        path=blamed,
        expected=", or ".join(map(_say_expected, alternatives)),
        found=show_value(first["input"]),
        action=_advise(place, first, blamed),
    )


def _list_alternatives(first: ErrorDetails, findings: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """The findings about one value that may be of several simple kinds; pydantic has one for each kind."""
    loc = first["loc"]
    simple = [one for one in findings if one["loc"][:-1] == loc[:-1] and one["type"] in _ALTERNATIVES]
    return simple if first in simple else [first]


def _say_expected(finding: ErrorDetails) -> str:
    expect = _EXPECTED.get(finding["type"])
    return expect(finding.get("ctx", {})) if expect else finding["msg"].removeprefix("Input should be ")


def order_findings(error: ValidationError) -> list[ErrorDetails]:
    """Sort pydantic's findings, unknown keys first: a missing key may be one of them, misspelt."""
    return sorted(error.errors(), key=lambda finding: finding["type"] != "extra_forbidden")


def show_value(value: object) -> str:
    """A value as text for a message: without credentials, and of limited length."""
    try:
        text = redact(repr(value))
    except Exception:  # noqa: BLE001  # of a foreign object, or of a number of more digits than Python prints
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def find_sections(model: type[BaseModel], key: str) -> list[str]:
    """The sections that have a key of this name."""
    sections = ((name, section_of(field)) for name, field in fields_of(model).items())
    return [name for name, section in sections if section is not None and key in fields_of(section)]


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section, an optional one or a list of them too."""
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind not in (type(None), ...)]
    if len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel):
        return kinds[0]
    return None


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model by their keys in a file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def keys_at(model: type[BaseModel], location: Sequence[str | int]) -> tuple[str, ...]:
    """The sections and the key of a finding, as `--set` names them."""
    return _locate(model, location).keys


def _locate(model: type[BaseModel], location: Sequence[str | int]) -> _Place:
    """The place of a finding. Within a key that takes a number or a list, pydantic also names which it tried."""
    keys: list[str] = []
    for depth, part in enumerate(location):
        if isinstance(part, int):  # the table of a section that is a list; the first goes without its number
            keys += [str(part + 1)] if part else []
            continue
        field = fields_of(model).get(part)
        keys.append(part)
        section = section_of(field) if field else None
        if section is None:
            numbers = [inner for inner in location[depth + 1 :] if isinstance(inner, int)]
            return _Place(tuple(keys), model, field, numbers[0] if numbers else None)
        model = section
    return _Place(tuple(keys), model, None, None)


def _blame(place: _Place, said: str, path: str, given: Mapping[tuple[str, ...], str], under: str) -> str:
    """The options that set the wrong values, else the file; conflicting keys may come from both."""
    at_fault = [one for one in given if one[: len(place.keys)] == place.keys or place.keys[: len(one)] == one]
    if said and not place.field:
        at_fault = [one for one in at_fault if one[-1] in said] or at_fault
    options = " ".join(f"--set {'.'.join(one)}={redact(given[one])}" for one in at_fault)
    if options and (place.field or not said):
        return options
    beside = " and ".join(filter(None, (under, options)))
    return f"{path} with {beside}" if beside else path


def _explain_unknown(model: type[BaseModel], place: _Place, path: str, more: str) -> ConfigError:
    *sections, key = place.keys
    known = sorted(fields_of(place.model))
    near = difflib.get_close_matches(key, known, n=len(known), cutoff=CLOSE)
    elsewhere = find_sections(model, key)
    if elsewhere:
        action = f"did you mean {elsewhere[0]}.{key}?"
    elif near:
        action = f"did you mean {'.'.join([*sections, near[0]])}?"
    else:
        action = "take it out"
    return ConfigError(
        f"unknown key {place.name}{more}",
        path=path,
        expected="one of " + ", ".join([*near, *(name for name in known if name not in near)]),
        action=action,
    )


def _advise(place: _Place, finding: ErrorDetails, path: str) -> str:
    option = f"--set {place.name}=" if path.startswith("--set") else f"{place.name} = "
    if finding["type"] == "tuple_type" and isinstance(finding["input"], str):
        listed = f"{option}{json.dumps([redact(finding['input'])])}"
        return f"write {listed}" if not path.startswith("--set") else f"write '{listed}'".replace("'--set ", "--set '")
    default = place.field.get_default() if place.field is not None and not place.field.is_required() else None
    if isinstance(default, bool | int | float | str):
        return f"change {place.name}; its default is {json.dumps(default)}"
    return f"change {place.name}"
