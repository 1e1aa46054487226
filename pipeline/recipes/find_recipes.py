"""Find a recipe by its name in this package, or by the path of a user's own file."""

from __future__ import annotations

import difflib
from importlib import resources

from maskmill.pipeline.storage.paths import split_file_url
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.recipe_file import Recipe, parse_recipe
from maskmill.schemas.redaction import redact

SUFFIX = ".toml"
MAX_BYTES = 1 << 20


def list_recipes() -> list[Recipe]:
    """The recipes of the package, sorted by name."""
    return [_read_packaged(name) for name in _list_names()]


def read_recipe(name: str, given_as: str = "--recipe") -> Recipe:
    """Read a recipe.

    Args:
        name: The name of a recipe of the package, or the path or URL of a TOML file: whatever ends in `.toml` or
            contains a slash.
        given_as: The option, argument or command that names it, for messages.

    Raises:
        ConfigError: There is no such recipe, or one of its keys or values is wrong.
    """
    if name.endswith(SUFFIX) or "/" in name:
        return _read_file(name)
    names = _list_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        raise ConfigError(
            "there is no such recipe",
            path=given_as,
            expected="one of " + ", ".join(names) + ", or the path of a .toml file",
            found=name,
            action=f"did you mean {near[0]}?" if near else "give one of these names; `maskmill recipes` explains them",
        )
    return _read_packaged(name)


def _list_names() -> list[str]:
    files = (file.name for file in resources.files(__package__).iterdir())
    return sorted(name.removesuffix(SUFFIX) for name in files if name.endswith(SUFFIX))


def _read_packaged(name: str) -> Recipe:
    text = resources.files(__package__).joinpath(f"{name}{SUFFIX}").read_text(encoding="utf-8")
    return parse_recipe(name, text, f"recipe {name}")


def _read_file(path: str) -> Recipe:
    folder, name = split_file_url(path)
    shown = redact(path)
    try:
        text = open_store(folder).read_bytes(name, MAX_BYTES).decode()
    except FileNotFoundError:
        raise ConfigError(
            "the recipe does not exist",
            path=shown,
            action="check the path, or give a name that `maskmill recipes` lists",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError("the recipe is not UTF-8", path=shown, found=str(error), action="save it as UTF-8") from None
    return parse_recipe(path, text, shown)
