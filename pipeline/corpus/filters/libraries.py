"""The libraries that some filters need: whether they are there, and whether they are those of the run."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Mapping
from typing import Any

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.filters import LIBRARIES, FiltersSection

INSTALL = 'pip install "maskmill[filters]"'


def import_library(name: str, module: str) -> Any:
    """Import a module of a filter's library.

    Args:
        name: The filter.
        module: The module.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"the library of the filter {name} is not installed",
            path=f"filters.{name}",
            expected=f"{LIBRARIES[name]} to be installed on {socket.gethostname()}",
            found=str(error),
            action=f"{INSTALL}, or leave out [filters.{name}]",
        ) from None


def require_libraries(settings: FiltersSection, versions: Mapping[str, str]) -> None:
    """Make sure that this machine has the libraries that a run was begun with.

    Args:
        settings: The filters.
        versions: Of their libraries, where the run was begun.

    Raises:
        ConfigError: It has another version of one, or lacks it.
    """
    for library, version in settings.libraries().items():
        if version != versions[library]:
            raise ConfigError(
                "this machine has another version of a filter's library than the run was begun with",
                path=socket.gethostname(),
                expected=f"{library} {versions[library]}",
                found=version,
                action="install the same version on every node",
            )
