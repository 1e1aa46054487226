"""Decide whether a run may write into an output: never mix two runs, add to one, or delete a part to replace it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from maskmill.pipeline.corpus.unit_keys import is_appendable
from maskmill.pipeline.run.describe_run import DECISIVE_LIBRARIES, SEGMENTER
from maskmill.pipeline.run.list_parts import list_parts
from maskmill.pipeline.run.parts import KINDS, PARTS, KindEntry, Part, Scope
from maskmill.pipeline.run.record import DOCUMENTS, Entry, RunRecord, read_record, write_record
from maskmill.pipeline.run.stages import STAGES
from maskmill.pipeline.storage.datasets import MANIFEST
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ConfigError, StaleArtifactError
from maskmill.schemas.layout import QUARANTINE, RECEIPTS, RUN_RECORD, Folder, is_of_quarantined_documents, named
from maskmill.schemas.wording import count_of, setting_of

INPUT_KEYS = frozenset(("input.files", "input.sources"))
"""The keys of a record that describe the input files, not how they are read."""
Differing = list[tuple[str, str, tuple[Any, Any]]]
"""Section, key, and its values in the two records."""
_ANOTHER = "give another output.url"


def claim_output(
    output: Store,
    asked: RunRecord,
    up_to: Part = Part.PACK,
    *,
    replace: bool,
    warn: Callable[[str], None] = lambda _: None,
) -> None:
    """Write the record if there is none; otherwise make sure that the existing one has the same documents.

    A tokenizer or a packing with a new name is added to the record, and nothing else changes. An existing one of which
    no file was written yet is replaced. A run over other inputs replaces one that has finished no part: nobody can have
    used anything of it, and a user who renames a file after an interruption can give the same command again.

    Args:
        output: The output, held by this driver.
        asked: What the run file asks for, as `describe_run` returns it. Other parts of the output may differ.
        up_to: The last part to make now; later ones are compared when they are made.
        replace: Delete a tokenizer or rows with other settings, so that those asked for can be made.
        warn: Callback that receives warnings for the user.

    Raises:
        ConfigError: The settings differ, and nothing may be replaced.
        StaleArtifactError: Only the inputs differ and a part is finished, or the remaining work would use other
            library versions.
    """
    if output.create(RUN_RECORD, asked.dump()):
        return
    standing = read_record(output)
    record = dataclasses.replace(asked, entries={key: entry for key, entry in asked.entries.items() if key[0] <= up_to})
    differing = [scope for scope in record.entries if _differs(record, standing, scope)]
    if not differing:
        _check_unfinished(record, standing, output, record.entries)
        _add(output, record, standing)
        return
    shared = [scope for scope in record.entries if scope in standing.entries]
    keys = _differing_keys(_settings(record, shared), _settings(standing, shared))
    if differing[0] == DOCUMENTS:
        if {f"{section}.{key}" for section, key, _ in keys} <= INPUT_KEYS and not any(list_parts(output).values()):
            warn("the input files are not those that this run began with, and no part is finished: reading all again")
            _delete(output, standing, list(standing.entries))
            write_record(output, asked)
            return
        raise _refusal(record, standing, output, differing[0], keys)
    gone = list(dict.fromkeys(one for scope in differing for one in _made_of(standing, scope)))
    if not replace and not _is_nothing_made(output, standing, gone):
        raise _refusal(record, standing, output, differing[0], keys)
    _check_unfinished(record, standing, output, [scope for scope in record.entries if scope not in gone])
    _delete(output, standing, gone)
    left = {scope: entry for scope, entry in standing.entries.items() if scope not in gone}
    again = {scope: asked.entries[scope] for scope in gone if scope in asked.entries}
    for scope in again:  # its default masking is recorded by `record_masking`
        if standing.entries[scope].masking is not None:
            again[scope] = dataclasses.replace(again[scope], masking=standing.entries[scope].masking)
    write_record(output, dataclasses.replace(standing, entries={**record.entries, **again, **left}))


def _is_nothing_made(output: Store, standing: RunRecord, scopes: Iterable[Scope]) -> bool:
    """Whether deleting these entries loses nothing: they have no files but those that are valid for any settings."""
    return all(
        {path.removeprefix(f"{folder}/") for path in output.list(folder)} <= set(PARTS[scope[0]].kept)
        for scope in scopes
        for folder in standing.folders(scope)
    )


def _differs(record: RunRecord, standing: RunRecord, scope: Scope) -> bool:
    ours, theirs = record.entries[scope], standing.entries.get(scope)
    return theirs is not None and (ours.fingerprint, ours.tokenizer) != (theirs.fingerprint, theirs.tokenizer)


def _add(output: Store, record: RunRecord, standing: RunRecord) -> None:
    """Add the missing entries to the record."""
    if not record.entries.keys() <= standing.entries.keys():
        write_record(output, dataclasses.replace(standing, entries={**record.entries, **standing.entries}))


def _made_of(standing: RunRecord, scope: Scope) -> list[Scope]:
    """A tokenizer and all rows made with it, or one packing."""
    part, name = scope
    return [scope, *standing.packings_of(name)] if part is Part.TOKENIZER else [scope]


def _settings(record: RunRecord, scopes: Iterable[Scope]) -> dict[str, dict[str, Any]]:
    """The settings of some entries of a record, and the name of the tokenizer of its rows."""
    found: dict[str, dict[str, Any]] = {}
    for scope in scopes:
        found |= record.entries[scope].sections
        if scope[0] is Part.PACK:
            found["tokenizer"] = {**found.get("tokenizer", {}), "name": record.entries[scope].tokenizer}
    return found


def _delete(output: Store, standing: RunRecord, gone: Collection[Scope]) -> None:
    """Delete parts: their manifests and receipts first, then their files.

    So after a kill nothing incomplete looks complete. Kept token ids stay if all of them are there.
    """
    used = {entry.tokenizer for scope, entry in standing.entries.items() if scope not in gone and _keeps_ids(entry)}
    partly = {
        (Part.TOKENIZER, tokenizer)
        for part, name in gone
        if part is Part.PACK and (tokenizer := standing.entries[part, name].tokenizer) not in used
    }
    folders: dict[str, KindEntry] = {}
    for folder, is_finished in list_parts(output).items():
        if found := Folder.parse(folder):
            kind = KINDS[found.kind]
            scope = (kind.part, found.of)
            if scope in gone or (scope in partly and kind.is_by_product and not is_finished):
                folders[folder] = kind
    for folder in folders:
        output.delete(f"{folder}/{MANIFEST}")
    for part, name in gone:
        for stage in STAGES[part]:
            output.delete_tree(f"{RECEIPTS}/{named(stage.name, name)}")
    for scope in gone:
        _delete_work(output, standing, scope)
    for folder, kind in folders.items():
        kept = {f"{folder}/{name}" for name in PARTS[kind.part].kept} & set(output.list(folder))
        if kept:
            _delete_files(output, set(output.list(folder)) - kept)
        else:
            output.delete_tree(folder)


def _keeps_ids(entry: Entry) -> bool:
    return bool(entry.sections.get("pack", {}).get("keep_encoded"))


def _delete_work(output: Store, standing: RunRecord, scope: Scope) -> None:
    part, name = scope
    for folder in PARTS[part].work:
        output.delete_tree(named(folder, name))
    _delete_files(output, PARTS[part].work_files)
    if part is not Part.TOKENIZER:
        folders = standing.folders(scope)
        set_aside = (
            path
            for path in output.list(QUARANTINE)
            if part is Part.SHARD or any(is_of_quarantined_documents(path, folder) for folder in folders)
        )
        _delete_files(output, set_aside)


def _delete_files(output: Store, paths: Iterable[str]) -> None:
    for path in paths:
        output.delete(path)


def _differing_keys(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Differing:
    """Section, key and both values of every key that differs, including keys that only one of the two has."""
    keys = [(section, key) for record in (ours, theirs) for section, values in record.items() for key in values]
    both = {(section, key): (ours.get(section, {}).get(key), theirs.get(section, {}).get(key)) for section, key in keys}
    differing = [(section, key, values) for (section, key), values in both.items() if values[0] != values[1]]
    # If only one side stores copies, the other has no other keys of [mask].
    names = {(section, key) for section, key, _ in differing}
    return [one for one in differing if one[0] != "mask" or one[1] == "copies" or ("mask", "copies") not in names]


def _refusal(
    ours: RunRecord, theirs: RunRecord, output: Store, first: Scope, differing: Differing
) -> ConfigError | StaleArtifactError:
    path = output.locate(RUN_RECORD)
    names = [f"{section}.{key}" for section, key, _ in differing]
    files = [
        f"{count_of(one.about_inputs['input_files'], 'file')} of {count_of(one.about_inputs['input_bytes'], 'byte')}"
        for one in (theirs, ours)
    ]
    if names == ["input.files"]:
        return StaleArtifactError(
            "the input files are not those that this run began with: their names or sizes differ",
            path=path,
            expected=f"{files[0]}, as when it began",
            found=files[1],
            action=f"restore the inputs, {_advise_appending(theirs, output)}, or delete this output",
        )
    made_with, asked_for = [], []
    for name, (_, _, (asked, made)) in zip(names, differing, strict=True):
        is_content = name in ("input.files", "tokenizer.from")  # a checksum, which means nothing to a person
        shown = files if name == "input.files" else [f"content {made}", f"content {asked}"] if is_content else None
        made_with.append(f"{name} = {shown[0] if shown else setting_of(made)}")
        asked_for.append(f"{name} = {shown[1] if shown else setting_of(asked)}")
    subject = (
        f'the rows "{first[1]}" were made with' if first[0] is Part.PACK and first[1] else "the output was made with"
    )
    elsewhere = _advise_appending(theirs, output) if INPUT_KEYS.issuperset(names) else _ANOTHER
    action = f"{elsewhere}, or delete this output" if first == DOCUMENTS else _explain_ways(ours, theirs, first)
    if all(section == "mask" for section, _, _ in differing):
        action += "; `maskmill mask` gives rows other static copies without packing them again"
    return ConfigError(
        f"{subject} {', '.join(made_with)}, and you ask for {', '.join(asked_for)}", path=path, action=action
    )


def _advise_appending(theirs: RunRecord, output: Store) -> str:
    """The advice for making documents from files other than those of an output."""
    if not is_appendable(theirs.entries[DOCUMENTS].sections):
        return _ANOTHER
    return f'{_ANOTHER} with input.reuse = "{output.display_url}", which reads only the files that are new'


def _explain_ways(asked: RunRecord, standing: RunRecord, first: Scope) -> str:
    """The advice for a tokenizer or a packing whose name is already used with other settings."""
    part, name = first
    gone = [folder for scope in _made_of(standing, first) for folder in standing.folders(scope)]
    value = "another value"
    if part is Part.PACK and name and name == asked.entries[first].tokenizer:
        value += f' than "{name}", which it takes from tokenizer.name where it is unset,'
    trained_on = [f"{folder}/" for folder in gone if (found := Folder.parse(folder)) and not found.split.is_held_out]
    return (
        f"give {part.key}.name {value} to add to this output, {_ANOTHER}, or --replace to delete "
        f"{' and '.join(trained_on)} and make new ones"
    )


def _check_unfinished(ours: RunRecord, theirs: RunRecord, output: Store, scopes: Iterable[Scope]) -> None:
    """Refuse to finish a part with library versions other than those that began it; a finished part does not matter."""
    for scope in scopes:
        if scope not in theirs.entries or _are_whole(output, theirs.folders(scope, by_products=False)):
            continue
        began, installed = theirs.entries[scope].versions, ours.entries[scope].versions
        decisive = [*DECISIVE_LIBRARIES, *({SEGMENTER} & installed.keys())]
        differing = [name for name in decisive if installed[name] != began.get(name)]
        if differing:
            raise StaleArtifactError(
                f"this run was begun with another {', '.join(differing)}",
                path=output.locate(RUN_RECORD),
                expected=", ".join(f"{name} {began.get(name)}, as when it began" for name in differing),
                found=", ".join(f"{name} {installed[name]} installed" for name in differing),
                action="finish it with the libraries that began it, or give another output.url",
            )


def _are_whole(output: Store, folders: Sequence[str]) -> bool:
    return all(output.exists(f"{folder}/{MANIFEST}") for folder in folders)
