"""`run.json`, the record in an output: settings, fingerprints and versions of the documents, tokenizers and packings.

Settings of the documents, the default tokenizer and the default packing are in `decisive`, their fingerprints in
`fingerprints`; tokenizers and packings with a name are in `tokenizers` and `packings`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import xxhash
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from maskmill.pipeline.run.parts import Names, Part, Scope, part_of_section, promised_folders, scope_of_folder
from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.bounded_json import parse_json
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.layout import RUN_RECORD
from maskmill.schemas.masking import Masking
from maskmill.schemas.section import Name
from maskmill.schemas.version import SCHEMA_VERSION, check_schema_version

DOCUMENTS: Scope = (Part.SHARD, "")
_NAMED = {Part.TOKENIZER: "tokenizers", Part.PACK: "packings"}
ABOUT_INPUTS = ("input_paths", "input_files", "input_bytes")


@dataclass(frozen=True)
class Entry:
    """What the record says about the documents, a tokenizer or a packing.

    Attributes:
        sections: The sections of the run file that decide it, but nothing that it is made from.
        fingerprint: Of these sections and those of everything that it is made from.
        versions: Library versions when it was begun.
        tokenizer: The name of a packing's tokenizer.
        masking: The masking in a packing's manifests; `None` in a record that an earlier version wrote.
    """

    sections: Mapping[str, Any]
    fingerprint: str
    versions: Mapping[str, Any]
    tokenizer: str = ""
    masking: Masking | None = None


@dataclass(frozen=True)
class RunRecord:
    """The content of a record.

    Attributes:
        entries: By part and name.
        about_inputs: For people: the paths, number and size of the inputs.
    """

    entries: dict[Scope, Entry]
    about_inputs: dict[str, Any] = field(default_factory=dict)

    def names(self, scope: Scope) -> Names:
        """The names of an entry's tokenizer and packing."""
        part, name = scope
        of_tokenizer = self.entries[scope].tokenizer if part is Part.PACK else name
        return {Part.TOKENIZER: of_tokenizer, Part.PACK: name}

    def decisive(self, scope: Scope) -> dict[str, Any]:
        """The settings that decide an entry: its own sections and those of everything that it is made from."""
        part, _ = scope
        names = self.names(scope)
        made_from = [(before, names[before]) for before in Part if Part.SHARD < before < part]
        return {
            section: keys
            for one in (DOCUMENTS, *made_from, scope)
            for section, keys in self.entries[one].sections.items()
        }

    def folders(self, scope: Scope, *, by_products: bool = True) -> list[str]:
        """The folders of an entry."""
        decisive, names = self.decisive(scope), self.names(scope)
        promised = promised_folders(decisive, names, up_to=scope[0], by_products=by_products)
        return [folder for folder in promised if scope_of_folder(folder) == scope]

    def promised(self) -> dict[str, Scope]:
        """Every folder of the finished run, including by-products, and the entry that it belongs to."""
        found: dict[str, Scope] = {}
        for scope in self.entries:
            for folder in promised_folders(self.decisive(scope), self.names(scope), up_to=scope[0]):
                owner = scope_of_folder(folder)
                if owner is not None:
                    found[folder] = owner
        return found

    def packings_of(self, tokenizer: str) -> list[Scope]:
        """The packings that use a tokenizer."""
        return [
            scope for scope, entry in self.entries.items() if scope[0] is Part.PACK and entry.tokenizer == tokenizer
        ]

    def dump(self) -> bytes:
        """The bytes of `run.json`."""
        default = {part: self.entries[part, ""] for part in Part if (part, "") in self.entries}
        versions = self.entries[DOCUMENTS].versions
        record: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "fingerprints": {part.key: entry.fingerprint for part, entry in default.items()},
            "decisive": {name: keys for entry in default.values() for name, keys in entry.sections.items()},
        }
        if Part.PACK in default and (masking := default[Part.PACK].masking) is not None:
            record["masking"] = masking.model_dump(mode="json")
        record |= {**self.about_inputs, "versions": versions}
        for part, key in _NAMED.items():
            described = {
                name: _describe(entry, is_default=not name)
                for (of, name), entry in sorted(self.entries.items())
                if of is part and (name or entry.versions != versions)
            }
            if described:
                record[key] = described
        return (json.dumps(record, indent=2) + "\n").encode()


MAX_NAMED = 1 << 10
"""Most tokenizers, or packings, in a record."""
Sections = Annotated[dict[str, Any], Field(max_length=16)]


class _Written(BaseModel):
    """An entry of `tokenizers` or `packings`; a default one is here only for versions other than the documents'."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decisive: Sections = {}
    fingerprint: str = ""
    versions: dict[str, Any]
    tokenizer: Name = ""
    masking: Masking | None = None


_NAMED_ENTRIES = TypeAdapter(dict[Name, _Written])


def _describe(entry: Entry, *, is_default: bool) -> dict[str, Any]:
    if is_default:
        return {"versions": entry.versions}
    written = _Written(
        decisive=dict(entry.sections),
        fingerprint=entry.fingerprint,
        versions=dict(entry.versions),
        tokenizer=entry.tokenizer,
        masking=entry.masking,
    )
    return written.model_dump(mode="json", exclude_defaults=True)


def fingerprint_parts(decisive: Mapping[str, Any]) -> dict[Part, str]:
    """The fingerprint of each part, from the settings of all of them."""
    fingerprints = {}
    for part in Part:
        sections = {name: keys for name, keys in decisive.items() if part_of_section(name) <= part}
        fingerprints[part] = xxhash.xxh3_128_hexdigest(json.dumps(sections, sort_keys=True).encode())
    return fingerprints


def record_masking(output: Store, packing: str, masking: Masking) -> Masking | None:
    """Record the masking in the manifests of a packing; without stored copies it may change at any time.

    Returns:
        The one recorded before; `None` in a record that an earlier version wrote.
    """
    standing = read_record(output)
    scope = (Part.PACK, packing)
    noted = standing.entries[scope].masking
    if noted != masking:
        changed = dataclasses.replace(standing.entries[scope], masking=masking)
        write_record(output, dataclasses.replace(standing, entries={**standing.entries, scope: changed}))
    return noted


def write_record(output: Store, record: RunRecord) -> None:
    """Replace the record."""
    output.write_bytes(RUN_RECORD, record.dump())


def read_record(output: Store, *, checked: bool = True) -> RunRecord:
    """Read the record in an output.

    Args:
        output: The output.
        checked: Refuse a record of an older or newer maskmill, or one whose fingerprints do not match its settings.
            Code that only looks at an output, and does not continue it, accepts those too.

    Raises:
        ShardCorruptError: It is not what was written.
        ConfigError: A newer or older maskmill wrote it.
        FileNotFoundError: There is none.
    """
    path = output.locate(RUN_RECORD)
    try:
        record: dict[str, Any] = parse_json(output.read_bytes(RUN_RECORD, MAX_TEXT_BYTES), MAX_TEXT_BYTES)
        if checked:
            check_schema_version(record["schema_version"], path)
            if missing := sorted({"fingerprints", "decisive", "versions", *ABOUT_INPUTS} - record.keys()):
                raise _damaged(path, f"without {', '.join(missing)}")
        found = parse_record(record)
        entries = found.entries.items() if checked else ()
        wrong = [scope for scope, entry in entries if _fingerprint(found, scope) != entry.fingerprint]
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise _damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None
    if wrong:
        raise _damaged(path, f"without the fingerprint of its settings for {' '.join(filter(None, _said(wrong[0])))}")
    return found


def parse_record(record: Mapping[str, Any]) -> RunRecord:
    """Parse a record without checking its fingerprints and versions.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is not a record.
    """
    decisive, versions = record["decisive"], dict(record.get("versions", {}))
    noted = None if record.get("masking") is None else Masking.model_validate(record["masking"])
    for key in _NAMED.values():
        if len(record.get(key, {})) > MAX_NAMED:  # pydantic would list every wrong one
            raise ValueError(f"more than {MAX_NAMED} {key}")
    named = {part: _NAMED_ENTRIES.validate_python(record.get(key, {})) for part, key in _NAMED.items()}
    entries: dict[Scope, Entry] = {}
    for part in Part:
        sections = {name: dict(keys) for name, keys in decisive.items() if part_of_section(name) is part}
        default = named.get(part, {}).pop("", None)
        if sections:
            entries[part, ""] = Entry(
                sections,
                str(record["fingerprints"].get(part.key, "")),
                versions if default is None else default.versions,
                masking=noted if part is Part.PACK else None,
            )
        for name, one in named.get(part, {}).items():
            sections = {section: dict(keys) for section, keys in one.decisive.items()}
            entries[part, name] = Entry(sections, one.fingerprint, one.versions, one.tokenizer, one.masking)
    about = {key: record[key] for key in ABOUT_INPUTS if key in record}
    if any(not isinstance(value, int) or value < 0 for key, value in about.items() if key != "input_paths"):
        raise ValueError("the number of input files or their size is not a count")
    found = RunRecord(entries, about)
    found.promised()  # raises if what an entry is made from is missing, or its settings cannot be read
    return found


def _fingerprint(record: RunRecord, scope: Scope) -> str:
    return fingerprint_parts(record.decisive(scope))[scope[0]]


def _said(scope: Scope) -> tuple[str, str]:
    return scope[0].key, scope[1]


def _damaged(path: str, found: str) -> ShardCorruptError:
    return ShardCorruptError(
        "the record of the run is damaged",
        path=path,
        expected="the run's settings as JSON",
        found=found,
        action="restore it, or give another output.url",
    )
