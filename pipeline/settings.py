"""Run and train files, and the other arguments that a user passes, checked where they are given."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from maskmill.pipeline.recipes import read_recipe
from maskmill.pipeline.storage.paths import split_file_url
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.defaults import NO_DEFAULTS, Defaults
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.explain_values import show_value
from maskmill.schemas.redaction import redact
from maskmill.schemas.toml_files import Model, explain_settings, parse_toml

MAX_TOML_BYTES = 4 << 20
"""Limit of a run or train file; one that lists ten thousand inputs has a fifth of it."""


def load_settings(model: type[Model], given: object, argument: str, recipe: str | None = None) -> Model:
    """A run or train file in whichever form a program has it.

    Args:
        model: `RunFile` or `TrainFile`.
        given: The path or URL of a TOML file, a dictionary of its sections, or a model.
        argument: What it was given as, for the message.
        recipe: The name or path of a recipe whose keys go under what was given.

    Raises:
        ConfigError: It is none of these, a file is missing, or a key or value is wrong.
    """
    if isinstance(given, model):
        if recipe is not None:
            raise refuse_argument(
                "recipe",
                recipe,
                f"None: a {model.__name__} is complete, and a recipe goes under what is not set",
                f"give {argument} as a path or a dictionary of its sections",
                "this cannot be applied",
            )
        return given
    if isinstance(given, Mapping):
        defaults = _read_defaults(model, recipe, "recipe")
        values = defaults.under(given)
        try:
            found = model.model_validate(values)
        except ValidationError as error:
            raise explain_settings(model, error, given, argument, defaults) from None
        defaults.require(values, argument)
        return found
    if isinstance(given, (str, os.PathLike)):
        return _read_toml(model, check_url(given, argument), (), _read_defaults(model, recipe, "recipe"))
    example = (
        '{"input": {"paths": ["corpus/*.jsonl"]}, "output": {"url": "out"}}'
        if argument == "run"
        else '{"data": {"dataset": "out/packed"}, ...}'
    )
    kind = model.__name__
    expected = f"the path or URL of a TOML file, a dictionary of its sections, or a {kind}"
    raise refuse_argument(argument, given, expected, f"give for example {example}", f"this is not a {kind}")


def read_toml(model: type[Model], path: str, overrides: Sequence[str] = (), recipe: str | None = None) -> Model:
    """Read and check a run or train file at any fsspec URL.

    Args:
        model: `RunFile` or `TrainFile`.
        path: The path or URL.
        overrides: As given with `--set`; they win over the file.
        recipe: The name or path of a recipe, whose keys go under those of the file.

    Raises:
        ConfigError: A file is missing or no TOML, or a key or value is wrong.
    """
    return _read_toml(model, path, overrides, _read_defaults(model, recipe, "--recipe"))


def list_keys(path: str) -> dict[str, Any]:
    """The keys that a run or train file sets itself, such as `pack.seq_len`, and their values; it was read before."""
    sections: dict[str, Mapping[str, Any]] = {}
    for name, given in tomllib.loads(_read_text(path)).items():
        for number, keys in enumerate(given if isinstance(given, list) else [given], 1):
            sections[name if number == 1 else f"{name}.{number}"] = keys if isinstance(keys, Mapping) else {}
    return {f"{name}.{key}": value for name, keys in sections.items() for key, value in keys.items()}


def _read_toml(model: type[Model], path: str, overrides: Sequence[str], defaults: Defaults) -> Model:
    return parse_toml(model, _read_text(path), redact(path), overrides, defaults)


def _read_text(path: str) -> str:
    folder, name = split_file_url(path)
    shown = redact(path)
    try:
        return open_store(folder).read_bytes(name, MAX_TOML_BYTES).decode()
    except FileNotFoundError:
        raise ConfigError("the file does not exist", path=shown, action="check the path") from None
    except UnicodeDecodeError as error:
        raise ConfigError("the file is not UTF-8", path=shown, found=str(error), action="save it as UTF-8") from None


def find_origins(file: BaseModel, recipe: str | None) -> dict[str, str]:
    """For messages, the keys of a run file or a train file that a recipe has set, such as `mask.rate`, and its name."""
    if recipe is None:
        return {}
    return dict.fromkeys(read_recipe(recipe).keys_in(file), f"recipe {redact(recipe)}")


def _read_defaults(model: type[Model], recipe: object, given_as: str) -> Defaults:
    if recipe is None:
        return NO_DEFAULTS
    if not isinstance(recipe, str) or not recipe:
        expected = "the name of a recipe, or the path or URL of one"
        raise refuse_argument("recipe", recipe, expected, 'give for example recipe="roberta"', "this is no recipe")
    return read_recipe(recipe, given_as).defaults_of(model, f"{given_as} {redact(recipe)}")


def check_url(given: object, argument: str) -> str:
    """A path or URL as text.

    Raises:
        ConfigError: It is neither, or empty.
    """
    path = os.fspath(given) if isinstance(given, (str, os.PathLike)) else None
    if isinstance(path, str) and path:
        return path
    expected = "a path or an fsspec URL, as text or as a pathlib.Path"
    raise refuse_argument(argument, given, expected, f'give for example {argument}="out"', "this is not a path or URL")


def check_callback(given: object, argument: str) -> None:
    """Refuse what cannot be called with an event; None is no callback.

    Raises:
        ConfigError: It is neither.
    """
    if given is not None and not callable(given):
        expected = "a function that takes one event, or None"
        raise refuse_argument(argument, given, expected, f"give for example {argument}=print", "this cannot be called")


def check_flag(given: Any, argument: str) -> bool:
    """A yes or no as it is.

    Raises:
        ConfigError: It is neither.
    """
    if isinstance(given, bool):
        return given
    action, what = f"give for example {argument}=True", "this is neither yes nor no"
    raise refuse_argument(argument, given, "True or False", action, what)


def refuse_argument(
    name: str,
    value: object,
    expected: str,
    action: str = "give another value",
    what: str = "",
) -> ConfigError:
    """The error that says what is wrong with an argument.

    Args:
        name: What the caller calls it.
        value: What was given.
        expected: What it may be.
        action: What to do.
        what: What is wrong; by default that no such value exists.
    """
    what = what or f"no such {name.rpartition('.')[2]}"
    return ConfigError(what, path=name, expected=expected, found=show_value(value), action=action)
