"""Write the reference pages of the documentation from the schemas and the command line.

    python infra/write_reference.py

Writes `docs/reference/{run-file,train-file,commands,events}.md`; the tests fail where a page is not what this writes.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parent.parent))

from maskmill.jobs.cli import app
from maskmill.schemas.events import Event, FiltersInspected, RunEvent, TrainEvent, VerifyEvent
from maskmill.schemas.explain_values import fields_of, section_of
from maskmill.schemas.field_docs import read_field_docs
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.train_file import TrainFile

ROOT = Path(__file__).parent.parent
WRITTEN = "<!-- Written by infra/write_reference.py: change the schemas or the command line, not this page. -->\n\n"
RUN_FILE = """# The run file

`maskmill prepare` and its parts read one TOML file. `input.paths` and `output.url` are required; every other key has a
default. An unknown key is an error that names the valid ones, the nearest first. `--set section.key=value` overrides
any key on the command line.

Some keys depend on each other; a run file that breaks a rule is refused with the rule:

- `pack.split = "fill"` needs sequences that may share a row and be cut: `segment` or `doc_sentences`. `"never"` does
  not go with sequences made of sentences.
- `pack.length_bins` needs `pack.sequences = "document"` and one `pack.seq_len`, which is the last bin.
- `tokenizer.unused`, `size_multiple` and `initial_alphabet` are of a vocabulary that is trained, so not with `from`;
  `extend` needs `from`.
- `mask.mask_share` and `mask.random_share` add up to at most 1.
- `input.reuse` needs `documents.appendable = true`.
"""
TRAIN_FILE = """# The train file

`maskmill train` reads one TOML file. `data.dataset` and `run.output` are required; every other key has a default.

The keys of `[run]` except `seed`, the two URLs of `[data]` and `micro_batch_rows` say where and how long to train: they
may change when a run continues from a checkpoint. Every other key decides the weights and may not. Without `[mask]`
rows are masked as the dataset was prepared. Held-out rows are always scored under one fixed mask, so that scores of
different settings can be compared.

- `data.held_out` needs the row length and the tokenizer of `data.dataset`; `run.target_gap_nats` needs `data.held_out`.
- `optimizer.decay_steps` is above `optimizer.warmup_steps` and at least `run.steps`.
- `mask.rate` is above 0.
"""
COMMANDS = """# Commands

Every command takes `--help`. The exit status is 0 when the work is done, 1 when it failed with one line that says what,
where and what to do, 2 for wrong usage, 130 after Ctrl-C, and 141 where nobody reads the output any more; `train` ends
with 143 after SIGTERM.
"""
EVENTS = """# Events

With `--json` a command writes one JSON object a line: `time` (seconds since 1970), `event` (its name) and the fields
below. From Python, `on_event` receives the same events as models of `maskmill.schemas.events`, and `parse_line` there
reads a line back. A later version may add events and fields, so ignore what you do not know.
"""
LARGEST_SHOWN = 1 << 53
"""A bound beyond it is that of a 64-bit integer, and of no interest to a person."""
COMMAND_EVENTS = {
    "prepare, shard, tokenizer, pack, mask": RunEvent,
    "inspect": FiltersInspected,
    "verify": VerifyEvent,
    "train": TrainEvent,
}
TYPES = {"string": "string", "integer": "integer", "number": "number", "boolean": "`true` or `false`"}


def write_pages() -> dict[str, str]:
    """The text of each page, by its path relative to the repository."""
    return {
        "docs/reference/run-file.md": WRITTEN + RUN_FILE + "".join(_iter_sections(RunFile)),
        "docs/reference/train-file.md": WRITTEN + TRAIN_FILE + "".join(_iter_sections(TrainFile)),
        "docs/reference/commands.md": WRITTEN + COMMANDS + "".join(_iter_commands()),
        "docs/reference/events.md": WRITTEN + EVENTS + "".join(_iter_events()),
    }


def _iter_sections(file: type[BaseModel]) -> Iterator[str]:
    schema = file.model_json_schema()
    sections = {name: section for name, field in file.model_fields.items() if (section := section_of(field))}
    elsewhere = {section: name for name, section in sections.items()}
    for name, section in sections.items():
        yield from _iter_keys(name, section, schema, elsewhere)


def _iter_keys(
    name: str, section: type[BaseModel], schema: dict[str, Any], elsewhere: dict[type[BaseModel], str]
) -> Iterator[str]:
    """A section and its keys, then the sections inside it, but those that are described elsewhere in the file."""
    docs = read_field_docs(section)
    yield f"\n## `[{name}]`\n\n{_describe(section, name)}\n"
    described = schema["$defs"][section.__name__]
    inner = {key: below for key, field in fields_of(section).items() if (below := section_of(field)) is not None}
    for key, values in described["properties"].items():
        if key not in inner:
            is_required = key in described.get("required", ())
            yield f"\n### `{name}.{key}`\n\n{_describe_values(values, schema, is_required)}\n\n{docs[key]}\n"
    for key, below in inner.items():
        if below in elsewhere:
            yield f"\n### `{name}.{key}`\n\n*a table as `[{elsewhere[below]}]`; default unset*\n\n{docs[key]}\n"
        else:
            yield from _iter_keys(f"{name}.{key}", below, schema, elsewhere)


def _describe(section: type[BaseModel], name: str) -> str:
    """The docstring of a section without the name that it begins with."""
    doc = inspect.cleandoc(section.__doc__ or "")
    if not doc.startswith(f"`[{name}]`: "):  # of a model that Python programs use too
        return ""
    first, _, rest = doc.removeprefix(f"`[{name}]`: ").partition("\n")
    return f"{first[0].upper()}{first[1:]}\n{rest}".strip()


def _describe_values(values: dict[str, Any], schema: dict[str, Any], is_required: bool) -> str:
    kinds = " or ".join(dict.fromkeys(_iter_kinds(values, schema)))
    default = values.get("default")
    if is_required:
        return f"*{kinds}; required*"
    shown = "unset" if default is None else f"`{_as_toml(default)}`"
    return f"*{kinds}; default {shown}*"


def _iter_kinds(values: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    if "$ref" in values:
        yield from _iter_kinds(schema["$defs"][values["$ref"].rpartition("/")[2]], schema)
    elif "anyOf" in values or "oneOf" in values:
        for one in values.get("anyOf", values.get("oneOf", ())):
            if one.get("type") != "null":
                yield from _iter_kinds(one, schema)
    elif "enum" in values or "const" in values:
        yield "one of " + ", ".join(f"`{_as_toml(one)}`" for one in values.get("enum", [values.get("const")]))
    elif values["type"] == "array":
        item = values.get("items") or values["prefixItems"][0]
        yield f"list of {' or '.join(_iter_kinds(item, schema))}"
    elif values["type"] == "object":
        inner = values.get("additionalProperties")
        is_table = isinstance(inner, dict) and inner.get("type") == "array"
        yield f"table by source, each a {' or '.join(_iter_kinds(inner, schema))}" if is_table else "object"
    else:
        yield TYPES[values["type"]] + _describe_bounds(values)


def _describe_bounds(values: dict[str, Any]) -> str:
    low, above = values.get("minimum"), values.get("exclusiveMinimum")
    high, below = (
        None if (bound := values.get(key)) is None or bound > LARGEST_SHOWN else bound
        for key in ("maximum", "exclusiveMaximum")
    )
    words = []
    if low is not None:
        words.append(f"{low} or more" if high is None and below is None else f"from {low}")
    if above is not None:
        words.append(f"above {above}")
    if high is not None:
        words.append(f"to {_as_number(high)}")
    if below is not None:
        words.append(f"below {_as_number(below)}")
    return f", {' '.join(words)}" if words else ""


def _as_number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else f"{value}"


def _as_toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else f"{value}"


def _iter_commands() -> Iterator[str]:
    yield from _iter_group("maskmill", typer.main.get_command(app))


def _iter_group(before: str, group: Any) -> Iterator[str]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        arguments = [param for param in command.params if param.param_type_name == "argument"]
        options = [param for param in command.params if param.param_type_name == "option"]
        shown = " ".join([before, name, *(param.name.upper() for param in arguments)])
        yield f"\n## `{shown}`\n\n{_as_markdown(command.help)}\n"
        if options:
            yield "\n| option | what it does |\n| --- | --- |\n"
            for param in options:
                yield f"| `{param.opts[0]}` | {' '.join(_as_markdown(param.help).split())} |\n"
        if hasattr(command, "commands"):
            yield from _iter_group(f"{before} {name}", command)


def _iter_events() -> Iterator[str]:
    for commands, union in COMMAND_EVENTS.items():
        yield f"\n## Of `{commands}`\n"
        events: tuple[type[Event], ...] = get_args(union) or (union,)
        for event in events:
            schema = event.model_json_schema()
            name = event.model_fields["event"].default
            yield f"\n### `{name}`\n\n{_as_markdown(event.__doc__ or '')}\n"
            yield "\n| field | type | what it is |\n| --- | --- | --- |\n"
            docs = read_field_docs(event)
            for field in event.model_fields:
                if field != "event":
                    kinds = " or ".join(dict.fromkeys(_iter_kinds(schema["properties"][field], schema)))
                    yield f"| `{field}` | {kinds} | {docs[field]} |\n"


def _as_markdown(text: str) -> str:
    """Help without rich's marks, which escape brackets."""
    return inspect.cleandoc(text or "").replace("\\[", "[")


if __name__ == "__main__":
    for path, text in write_pages().items():
        (ROOT / path).write_text(text)
