"""Keys that hold where a file does not set them, such as those of a recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import BaseModel

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.explain_values import fields_of

Sections: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Keys with their values, by section."""


@dataclass(frozen=True)
class Defaults:
    """Keys that hold where a file does not set them.

    Attributes:
        said_by: The option that gave them, for messages.
        sections: The keys by section.
        give_way: Keys of the same section that do not hold where a file sets a certain one to another value, by section
            and that key: it says the same in other words, or excludes them.
        need: Keys that hold only where a file sets a certain one of the same section.
        instead: Keys that replace those of `sections` where a certain key has a certain value, by section, key and
            value.
        required: What each key is that a file must set, by section.
    """

    said_by: str
    sections: Sections
    give_way: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    need: Mapping[tuple[str, str], str] = field(default_factory=dict)
    instead: Mapping[tuple[str, str, str], Sections] = field(default_factory=dict)
    required: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def under(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a file with these keys under them; a section that is none is left for validation."""
        return self._lay(self.choose(values), values)

    def choose(self, values: Mapping[str, Any]) -> Sections:
        """The keys that hold for the values of a file, before these are laid over them."""
        together = self._lay(self.sections, values)
        for (section, key, value), sections in self.instead.items():
            if _look_up(together, section, key) == value:
                return lay_over(self.sections, sections, self.give_way)
        return self.sections

    def _lay(self, sections: Sections, values: Mapping[str, Any]) -> dict[str, Any]:
        together = {name: dict(keys) for name, keys in sections.items()}
        for (section, key), needed in self.need.items():
            if not _look_up(values, section, needed):
                together.get(section, {}).pop(key, None)
        return lay_over(together, values, self.give_way)

    def take_part(self, values: Mapping[str, Any], location: Sequence[str | int], message: str) -> bool:
        """Whether a message about several keys names one that these defaults have set.

        Args:
            values: The values of the file.
            location: Where the keys are: a section, or nothing for keys of several sections.
            message: It names keys of a section as they are, and others as `section.key`.
        """
        together = self.under(values)
        for section, keys in self.choose(values).items():
            held = together[section] if isinstance(together[section], Mapping) else {}
            own = values.get(section, {})
            for key in keys:
                named = key if location == (section,) else "" if location else f"{section}.{key}"
                is_set_here = key in held and not (isinstance(own, Mapping) and key in own)
                if named and is_set_here and re.search(rf"(?<![\w.]){re.escape(named)}(?!\w)", message):
                    return True
        return False

    def require(self, values: Mapping[str, Any], path: str) -> None:
        """Check that a file, with these keys under it, has what only the file can say.

        Raises:
            ConfigError: It does not set a key that it must set.
        """
        for section, keys in self.required.items():
            for key, reason in keys.items():
                if _look_up(values, section, key) is None:
                    raise ConfigError(
                        f"{section}.{key} is missing, which this recipe cannot know",
                        path=f"{path} with {self.said_by}",
                        expected=f"{section}.{key}, {reason}",
                        action=f"add {key} below [{section}]",
                    )


NO_DEFAULTS = Defaults("", {})


def lay_over(
    sections: Sections, values: Mapping[str, Any], give_way: Mapping[tuple[str, str], Sequence[str]]
) -> dict[str, Any]:
    """Lay values over the keys of sections.

    Args:
        sections: The keys below.
        values: What wins; what is no section replaces one as a whole.
        give_way: See `Defaults`.
    """
    together: dict[str, Any] = {name: dict(keys) for name, keys in sections.items()}
    for (section, key), names in give_way.items():
        given = values.get(section)
        if isinstance(given, Mapping) and given.get(key, own := sections.get(section, {}).get(key)) != own:
            for name in names:
                together.get(section, {}).pop(name, None)
    for name, keys in values.items():
        together[name] = {**together.get(name, {}), **keys} if isinstance(keys, Mapping) else keys
    return together


def _look_up(values: Mapping[str, Any], section: str, key: str) -> Any:
    """The value that sections give a key, whether they are tables or models; `None` if they give none."""
    keys = values.get(section)
    if isinstance(keys, BaseModel):
        names = zip(fields_of(type(keys)), type(keys).model_fields, strict=True)
        keys = {alias: getattr(keys, name) for alias, name in names if name in keys.model_fields_set}
    return keys.get(key) if isinstance(keys, Mapping) else None
