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
The comment above the first section is the recipe's description. A recipe may also say what only a file can know:

```toml
[needs.model]
init = "the folder of the model to go on with"
```

It may have other values for a `model.size`, in tables of the sections of a train file:

```toml
[sizes.large.mask]
rate = 0.25
```

Where `pack.seq_len` has several lengths, it may say how long and how to train on each, one after the other:

```toml
[lengths.128.run]
steps = 900000
[lengths.512.run]
steps = 100000
```

Commands print these keys for the train file of each length; they do not know which one a train file is about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from maskmill.schemas import masking
from maskmill.schemas.defaults import Defaults, Sections, lay_over
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.explain_values import fields_of, section_of, show_value
from maskmill.schemas.model_section import SIZE_KEYS, ModelSection, ModelSize
from maskmill.schemas.pack_section import PackSection
from maskmill.schemas.run_file import DocumentsSection, MaskSection, TokenizerSection
from maskmill.schemas.section import Section
from maskmill.schemas.toml_files import load_toml, parse_values
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


NEEDS = "needs"
"""The table of keys that a file must set: below each section, a text for each key that says what it is."""
SIZES = "sizes"
"""The table of keys of a train file that hold instead for a `model.size`."""
LENGTHS = "lengths"
"""The table of keys of a train file for each row length."""
_OF_TRAINING = ("mask", "data", "model", "optimizer", "run")


@dataclass(frozen=True)
class Recipe:
    """A recipe as it was read.

    Attributes:
        name: As the user gave it: a name, or the path of a file.
        text: The file, with its comments.
        sections: Its keys by section.
        needs: What each key is that a file must set, by section.
        sizes: By `model.size`, the keys of a train file that hold instead of those of `sections`.
        lengths: By row length, the keys that a train file for rows of that length should set.
    """

    name: str
    text: str
    sections: Sections
    needs: Mapping[str, Mapping[str, str]]
    sizes: Mapping[str, Sections]
    lengths: Mapping[int, Sections]

    @property
    def summary(self) -> str:
        """Its first line, which says in one sentence what it is."""
        first = self.text.partition("\n")[0]
        return first.removeprefix("#").strip() if first.startswith("#") else ""

    def keys_of(self, model: type[BaseModel]) -> dict[str, dict[str, Any]]:
        """The keys that a run file or a train file has."""
        return _keep_known(self.sections, model)

    def defaults_of(self, model: type[BaseModel], said_by: str) -> Defaults:
        """The keys that hold where a run file or a train file does not set them.

        Args:
            model: `RunFile` or `TrainFile`.
            said_by: The option that names the recipe, for messages.
        """
        instead = {("model", "size", size): _keep_known(keys, model) for size, keys in self.sizes.items()}
        return Defaults(said_by, self.keys_of(model), GIVE_WAY, NEED, instead, _keep_known(self.needs, model))

    def keys_in(self, file: BaseModel) -> list[str]:
        """The keys, such as `mask.rate`, that a run file or a train file has as this recipe sets them."""
        values = file.model_dump(mode="json", by_alias=True)
        return [
            f"{name}.{key}"
            for name, keys in self.defaults_of(type(file), self.name).choose(dict(file)).items()
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
    sections = load_toml(text, path)
    needs, sizes, lengths = (sections.pop(name, {}) for name in (NEEDS, SIZES, LENGTHS))
    found = parse_values(RecipeFile, sections, path)
    _check_needs(needs, path)
    seq_len = found.pack.seq_len
    known = [str(length) for length in (seq_len if isinstance(seq_len, tuple) else (seq_len,))]
    _check_variants(sizes, SIZES, list(ModelSize), sections, path, key="size")
    _check_variants(lengths, LENGTHS, known, sections, path)
    return Recipe(name, text, sections, needs, sizes, {int(length): keys for length, keys in lengths.items()})


def _check_variants(
    value: object, name: str, known: Sequence[str], sections: Sections, path: str, key: str | None = None
) -> None:
    """Check tables whose keys replace those of a recipe: each of them gives a recipe too.

    Args:
        value: The tables.
        name: What they are called.
        known: Which there may be.
        sections: The keys of the recipe.
        path: Its path, for messages.
        key: The key of `[model]` that has a table's name for its value.
    """
    for variant, tables in _tables_of(value, name, path):
        if variant not in known:
            raise _refuse(f"{name}.{variant}", path, "one of " + ", ".join(known))
        for section, _ in _tables_of(tables, f"{name}.{variant}", path):
            if section not in _OF_TRAINING:
                raise _refuse(f"{name}.{variant}.{section}", path, "one of the sections " + ", ".join(_OF_TRAINING))
        model = {} if key is None else {"model": {key: variant}}
        together = lay_over(lay_over(sections, model, GIVE_WAY), tables, GIVE_WAY)
        parse_values(RecipeFile, together, f"{path}, [{name}.{variant}]")


def _check_needs(needs: object, path: str) -> None:
    for section, keys in _tables_of(needs, NEEDS, path):
        known = _keys_by_section(RecipeFile).get(section)
        if known is None:
            raise _refuse(f"{NEEDS}.{section}", path, "one of the sections " + ", ".join(RecipeFile.model_fields))
        for key, reason in keys.items():
            place = f"{NEEDS}.{section}.{key}"
            if key not in known:
                raise _refuse(place, path, "one of " + ", ".join(sorted(known)))
            if not isinstance(reason, str) or not reason:
                raise _refuse(place, path, "a text that says what the key is", show_value(reason))


def _tables_of(value: object, name: str, path: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The tables of a table.

    Raises:
        ConfigError: It is none, or holds something else.
    """
    if not isinstance(value, Mapping) or not all(isinstance(keys, Mapping) for keys in value.values()):
        raise _refuse(name, path, f"tables such as [{name}.model]", show_value(value))
    return list(value.items())


def _refuse(place: str, path: str, expected: str, found: str = "") -> ConfigError:
    what = f"the value of {place} is wrong" if found else f"unknown key {place}"
    return ConfigError(what, path=path, expected=expected, found=found, action=f"change {place}")


def _keep_known(sections: Mapping[str, Mapping[str, Any]], model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """The sections and the keys that a model has."""
    return {
        name: {key: value for key, value in sections[name].items() if key in keys}
        for name, keys in _keys_by_section(model).items()
        if name in sections
    }


def _keys_by_section(model: type[BaseModel]) -> dict[str, set[str]]:
    sections = {name: section_of(field) for name, field in fields_of(model).items()}
    return {name: set(fields_of(section)) for name, section in sections.items() if section is not None}
