"""The settings of `maskmill mask`: what the user gives, over what the dataset has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from maskmill.pipeline.settings import refuse_argument
from maskmill.schemas.defaults import Defaults
from maskmill.schemas.explain_values import explain_values
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.masking import GIVE_WAY
from maskmill.schemas.run_file import EngineSection, MaskFile
from maskmill.schemas.toml_files import apply_overrides, parse_values


def read_mask_settings(manifest: PackedManifest, overrides: Sequence[str], path: str) -> MaskFile:
    """Read the settings of a command line.

    A key of `[mask]` that is not given is as the dataset has it, unless one that is given replaces it: another strategy
    than the dataset's sets all but `copies` back.

    Args:
        manifest: Of the dataset.
        overrides: As given with `--set`.
        path: The dataset, for messages.

    Raises:
        ConfigError: A key is unknown, or its value is not allowed.
    """
    given: dict[str, Any] = {}
    apply_overrides(MaskFile, given, overrides)
    mask = given.get("mask", {})
    own = manifest.masking.model_dump(mode="json")
    if isinstance(mask, dict) and mask.get("strategy", own["strategy"]) != own["strategy"]:
        own = {}
    defaults = Defaults("the dataset", {"mask": own}, {("mask", key): names for key, names in GIVE_WAY.items()})
    own = defaults.under({"mask": mask})["mask"] if isinstance(mask, dict) else own
    own = {name: value for name, value in own.items() if not isinstance(mask, dict) or name not in mask}
    return parse_values(MaskFile, {"mask": own | {"copies": manifest.copies}}, path, overrides)


def check_mask_settings(values: Mapping[str, Any], engine: object) -> MaskFile:
    """Check settings that a program gives, as those of `[mask]` and `[engine]`.

    Raises:
        ConfigError: One is unknown, or its value is not allowed.
    """
    sections = {"mask": dict(values)}
    if isinstance(engine, EngineSection):
        sections["engine"] = engine.model_dump()
    elif isinstance(engine, Mapping):
        sections["engine"] = dict(engine)
    elif engine is not None:
        raise refuse_argument(
            "engine",
            engine,
            "the keys of [engine], or None",
            'give for example engine={"kind": "ray"}',
            "these are not settings of an engine",
        )
    try:
        return MaskFile.model_validate(sections)
    except ValidationError as error:
        raise explain_values(MaskFile, error, "mask") from None
