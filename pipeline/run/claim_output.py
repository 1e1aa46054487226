"""Whether a run may write into an output: refuse to mix two runs, and make way for one that replaces parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from maskmill.pipeline.run.parts import KINDS, PARTS, Part, PartEntry, list_parts, part_of_section, promised_folders
from maskmill.pipeline.run.record import DECISIVE_LIBRARIES, dump_record, read_record
from maskmill.pipeline.run.stages import STAGES
from maskmill.pipeline.storage.datasets import MANIFEST
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ConfigError, StaleArtifactError
from maskmill.schemas.layout import QUARANTINE, RECEIPTS, RUN_RECORD, Folder
from maskmill.schemas.wording import count_of, setting_of

INPUT_KEYS = frozenset(("input.files", "input.sources"))
"""What a record says of the files that are read, and not of how they are."""


def claim_output(
    output: Store, record: Mapping[str, Any], *, replace: bool, warn: Callable[[str], None] = lambda _: None
) -> None:
    """Write the record where there is none, and make sure that one that stands is of the same run.

    A run over other inputs takes the place of one that has finished no part: nobody can have used anything of it, and
    whoever renames a file after a stop gives the same command again.

    Args:
        output: The output, held by this driver.
        record: As `describe_run` gives it.
        replace: Delete the tokenizer or the rows of other settings, to make way for those of this record.
        warn: Takes what a person should know.

    Raises:
        ConfigError: The settings differ, and may not be replaced.
        StaleArtifactError: Only the inputs differ and a part is finished, or what is left to do would be done by other
            libraries.
    """
    if output.create(RUN_RECORD, dump_record(record)):
        return
    standing = read_record(output)
    if record["fingerprints"] != standing["fingerprints"]:
        differing = _differing_keys(record["decisive"], standing["decisive"])
        first = min(part_of_section(section) for section, _, _ in differing)
        if {f"{section}.{key}" for section, key, _ in differing} <= INPUT_KEYS and not any(list_parts(output).values()):
            warn("the input files are not those that this run began with, and no part is finished: reading all again")
            _delete_parts(output, Part.SHARD)
            output.write_bytes(RUN_RECORD, dump_record(record))
            return
        if first == Part.SHARD or not replace:
            raise _refusal(record, standing, output, first, differing)
        kept = promised_folders(record["decisive"], up_to=Part(first - 1), by_products=False)
        _check_unfinished(record, standing, output, kept)
        _delete_parts(output, first)
        output.write_bytes(RUN_RECORD, dump_record({**record, "masking": standing.get("masking", record["masking"])}))
        return
    _check_unfinished(record, standing, output, promised_folders(record["decisive"], by_products=False))


def _delete_parts(output: Store, first: Part) -> None:
    """Delete a part and all later ones: what says that they, or units of them, are whole before what it speaks of.

    So a kill leaves nothing that is taken for whole. Ids that are kept stay where all of them are there.
    """
    later = [part for part in Part if part >= first]
    gone = [
        folder for folder, is_finished in list_parts(output).items() if _is_deleted_with(folder, first, is_finished)
    ]
    for folder in gone:
        output.delete(f"{folder}/{MANIFEST}")
    for part in later:
        for stage in STAGES[part]:
            output.delete_tree(f"{RECEIPTS}/{stage.name}")
    for part in later:
        _delete_work(output, PARTS[part])
    kept = {path for part in later for path in PARTS[part].kept}
    for folder in gone:
        if any(path.startswith(f"{folder}/") for path in kept):
            _delete_files(output, set(output.list(folder)) - kept)
        else:
            output.delete_tree(folder)


def _delete_work(output: Store, part: PartEntry) -> None:
    for folder in part.work:
        output.delete_tree(folder)
    _delete_files(output, part.work_files)
    if part.quarantine:
        _delete_files(output, [path for path in output.list(QUARANTINE) if path.startswith(part.quarantine)])


def _delete_files(output: Store, paths: Iterable[str]) -> None:
    for path in paths:
        output.delete(path)


def _is_deleted_with(folder: str, first: Part, is_finished: bool) -> bool:
    found = Folder.parse(folder)
    if found is None:
        return False
    entry = KINDS[found.kind]
    return entry.part >= first or (entry.is_by_product and not is_finished)


def _differing_keys(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[tuple[str, str, tuple[Any, Any]]]:
    """Section, key and both values of every key that differs, those that only one of the two knows among them."""
    keys = [(section, key) for record in (ours, theirs) for section, values in record.items() for key in values]
    both = {(section, key): (ours.get(section, {}).get(key), theirs.get(section, {}).get(key)) for section, key in keys}
    differing = [(section, key, values) for (section, key), values in both.items() if values[0] != values[1]]
    # With copies stored on one side only, the other has no further keys of [mask].
    names = {(section, key) for section, key, _ in differing}
    return [one for one in differing if one[0] != "mask" or one[1] == "copies" or ("mask", "copies") not in names]


def _refusal(
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    output: Store,
    first: Part,
    differing: list[tuple[str, str, tuple[Any, Any]]],
) -> ConfigError | StaleArtifactError:
    path = output.locate(RUN_RECORD)
    names = [f"{section}.{key}" for section, key, _ in differing]
    files = [
        f"{count_of(one['input_files'], 'file')} of {count_of(one['input_bytes'], 'byte')}" for one in (theirs, ours)
    ]
    if names == ["input.files"]:
        return StaleArtifactError(
            "the input files are not those that this run began with: their names or sizes differ",
            path=path,
            expected=f"{files[0]}, as when it began",
            found=files[1],
            action="restore the inputs, give another output.url, or delete this output",
        )
    made_with, asked_for = [], []
    for name, (_, _, (asked, made)) in zip(names, differing, strict=True):
        is_content = name in ("input.files", "tokenizer.from")  # by its checksum, which says nothing to a person
        shown = files if name == "input.files" else [f"content {made}", f"content {asked}"] if is_content else None
        made_with.append(f"{name} = {shown[0] if shown else setting_of(made)}")
        asked_for.append(f"{name} = {shown[1] if shown else setting_of(asked)}")
    again = " and ".join(entry.label for part, entry in PARTS.items() if part >= first)
    return ConfigError(
        f"the output was made with {', '.join(made_with)}, and you ask for {', '.join(asked_for)}",
        path=path,
        action="give another output.url, or delete this output"
        if first == Part.SHARD
        else f"give another output.url, or --replace to delete {again} and make new ones",
    )


def _check_unfinished(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], output: Store, folders: Sequence[str]
) -> None:
    """What is left to do of some datasets must be done by the libraries that began it; once done, they may change."""
    if all(output.exists(f"{folder}/{MANIFEST}") for folder in folders):
        return
    theirs_of = {name: theirs["versions"].get(name) for name in DECISIVE_LIBRARIES}
    differing = [name for name in DECISIVE_LIBRARIES if ours["versions"][name] != theirs_of[name]]
    if differing:
        raise StaleArtifactError(
            f"this run was begun with another {', '.join(differing)}",
            path=output.locate(RUN_RECORD),
            expected=", ".join(f"{name} {theirs_of[name]}, as when it began" for name in differing),
            found=", ".join(f"{name} {ours['versions'][name]} installed" for name in differing),
            action="finish it with the libraries that began it, or give another output.url",
        )
