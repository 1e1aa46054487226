"""A recipe: keys of run files and train files that belong together, such as those of a paper.

```toml
# RoBERTa: whole sentences of one document after the other, and no sentence task.
[pack]
sequences = "full_sentences"  # arXiv 1907.11692, section 4.2
[mask]
rate = 0.15  # section 2.3
[model]
family = "roberta"  # section 2
[optimizer]
learning_rate = 6e-4  # appendix A, table 9
```

It has any of the sections below, and its keys go under those of a run file or a train file: what the file says wins.
The comment above the first section is the recipe's description.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from maskmill.schemas import masking
from maskmill.schemas.explain_values import fields_of, section_of
from maskmill.schemas.model_section import SIZE_KEYS, ModelSection
from maskmill.schemas.pack_section import PackSection
from maskmill.schemas.run_file import DocumentsSection, MaskSection, TokenizerSection
from maskmill.schemas.section import Section
from maskmill.schemas.toml_files import parse_toml
from maskmill.schemas.train_file import DataSection, OptimizerSection, RunSection


class _DataSection(DataSection):
    dataset: str = "that of the train file"
    more_datasets: tuple[str, ...] = ("those of the train file",)


class _RunSection(RunSection):
    output: str = "that of the train file"


class RecipeFile(Section):
    """The sections of a recipe: four of the run file, then four of the train file; both have `[mask]`."""

    documents: DocumentsSection = DocumentsSection()
    tokenizer: TokenizerSection = TokenizerSection()
    pack: PackSection = PackSection()
    mask: MaskSection = MaskSection()
    data: _DataSection = _DataSection()
    model: ModelSection = ModelSection()
    optimizer: OptimizerSection = OptimizerSection()
    run: _RunSection = _RunSection()


GIVE_WAY = {
    ("model", "size"): SIZE_KEYS,
    ("model", "init"): ("size", *SIZE_KEYS),
    **{("mask", key): names for key, names in masking.GIVE_WAY.items()},
}
"""Keys of a recipe that a file's own size, the folder that it begins with, or another way to mask replaces."""

NEED = {("data", "alpha"): "more_datasets"}
"""Keys of a recipe that mean nothing without another one, which only the file itself can have."""


@dataclass(frozen=True)
class Recipe:
    """A recipe as it was read.

    Attributes:
        name: As the user gave it: a name, or the path of a file.
        text: The file, with its comments.
        sections: Its keys by section.
    """

    name: str
    text: str
    sections: Mapping[str, Mapping[str, Any]]

    @property
    def summary(self) -> str:
        """Its first line, which says in one sentence what it is."""
        first = self.text.partition("\n")[0]
        return first.removeprefix("#").strip() if first.startswith("#") else ""

    def keys_of(self, model: type[BaseModel]) -> dict[str, dict[str, Any]]:
        """The keys that a run file or a train file has."""
        sections = {name: section_of(field) for name, field in fields_of(model).items()}
        return {
            name: {key: value for key, value in self.sections[name].items() if key in fields_of(section)}
            for name, section in sections.items()
            if section is not None and name in self.sections
        }

    def keys_in(self, file: BaseModel) -> list[str]:
        """The keys, such as `mask.rate`, that a run file or a train file has as this recipe sets them."""
        values = file.model_dump(mode="json", by_alias=True)
        return [
            f"{name}.{key}"
            for name, keys in self.keys_of(type(file)).items()
            for key, value in keys.items()
            if (values[name] or {}).get(key) == value
        ]


def parse_recipe(name: str, text: str, path: str) -> Recipe:
    """Check a recipe.

    Args:
        name: As the user gave it.
        text: The file.
        path: Its path, for messages.

    Raises:
        ConfigError: It is not TOML, or a key does not exist or has a value that is not allowed.
    """
    parse_toml(RecipeFile, text, path)
    return Recipe(name, text, tomllib.loads(text))
