"""What a run is: the record that stands in its output, and the refusal to mix two runs in one place.

A run has parts, and what decides the bytes of a part decides those of all later ones:

    shard       [input], the files it names, [documents]
    tokenizer   and [tokenizer], the tokenizer that is brought
    pack        and [pack], and [mask] where static copies are stored

Each part has a fingerprint of its own, so a change of `[pack]` leaves documents and tokenizer valid.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from importlib import metadata
from typing import Any

import xxhash
from pydantic import ValidationError

from maskmill.pipeline.corpus.list_inputs import InputFile, digest_inputs
from maskmill.pipeline.engine.receipts import RECEIPTS
from maskmill.pipeline.storage.datasets import MANIFEST
from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.bounded_json import parse_json
from maskmill.schemas.errors import ConfigError, ShardCorruptError, StaleArtifactError
from maskmill.schemas.layout import (
    QUARANTINE,
    RUN_RECORD,
    TOKENIZER,
    WORD_COUNTS,
    WORK,
    encoded_folder,
    promised_documents,
    promised_rows,
)
from maskmill.schemas.masking import Masking
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.version import SCHEMA_VERSION, check_schema_version
from maskmill.schemas.wording import count_of, setting_of

TIMINGS = "timings.json"
ENCODED = encoded_folder(held_out=False)
INPUT_MARKS = f"{WORK}/input-marks"
EXCHANGE = f"{WORK}/exchange"
DECISIVE_LIBRARIES = ("maskmill", "pyarrow", "numpy", "tokenizers", "nanotoken", "sentencex", "xxhash")


class Part(IntEnum):
    """The parts of a run in the order they are done."""

    SHARD = 1
    TOKENIZER = 2
    PACK = 3


SECTIONS = {"input": Part.SHARD, "documents": Part.SHARD, "tokenizer": Part.TOKENIZER}
"""The part that a section of the run file decides first; any other decides the rows."""

INPUT_KEYS = frozenset(("input.files", "input.sources"))
"""What a record says of the files that are read, and not of how they are."""

STAGES = {
    Part.SHARD: ("map", "sort"),
    Part.TOKENIZER: ("count", "gather", "merge", "collect", "train", "bring", "prove"),
    Part.PACK: ("pack",),
}


def describe_run(settings: RunFile, inputs: Sequence[InputFile], brought: Mapping[str, bytes]) -> dict[str, Any]:
    """What `run.json` says.

    The fingerprints hold neither where the corpus nor where the output lies, so that a run elsewhere over the same
    files gives the same bytes. The names of the sources are in them, which may be those of the last folders; elsewhere
    `input.name` gives the same.
    """
    run = settings.fingerprinted()
    decisive = json.loads(json.dumps(run))
    decisive["input"].pop("paths")
    decisive["input"].pop("name")  # `sources` has it, or what it is unset
    decisive["input"]["files"] = digest_inputs(inputs)
    decisive["input"]["sources"] = sorted({file.source for file in inputs})
    brought_digest = xxhash.xxh3_128_hexdigest(b"".join(brought.values())) if brought else None
    decisive["tokenizer"]["from"] = brought_digest
    return {
        "schema_version": SCHEMA_VERSION,
        "fingerprints": fingerprint_parts(decisive),
        "decisive": decisive,
        "masking": settings.mask.masking().model_dump(mode="json"),
        "input_paths": run["input"]["paths"],
        "input_files": len(inputs),
        "input_bytes": sum(file.size_bytes for file in inputs),
        "versions": {name: _version(name) for name in (*DECISIVE_LIBRARIES, "ray")},
    }


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
    if output.create(RUN_RECORD, _dump(record)):
        return
    standing = _read_record(output)
    if record["fingerprints"] != standing["fingerprints"]:
        differing = _differing_keys(record["decisive"], standing["decisive"])
        first = min(SECTIONS.get(section, Part.PACK) for section, _, _ in differing)
        if {f"{section}.{key}" for section, key, _ in differing} <= INPUT_KEYS and not _has_finished_part(output):
            warn("the input files are not those that this run began with, and no part is finished: reading all again")
            _delete_parts(output, Part.SHARD)
            output.write_bytes(RUN_RECORD, _dump(record))
            return
        if first == Part.SHARD or not replace:
            raise _refusal(record, standing, output, first, differing)
        kept = promised_documents(record["decisive"]) + ([TOKENIZER] if first > Part.TOKENIZER else [])
        _check_unfinished(record, standing, output, kept)
        _delete_parts(output, first)
        output.write_bytes(RUN_RECORD, _dump({**record, "masking": standing.get("masking", record["masking"])}))
        return
    decisive = record["decisive"]
    promised = [*promised_documents(decisive), TOKENIZER, *promised_rows(decisive)]
    _check_unfinished(record, standing, output, promised)


def record_masking(output: Store, masking: Masking) -> Masking | None:
    """Note the masking that the manifests of the rows name; without stored copies it may change at any time.

    Returns:
        The one that was noted before; None in a record that an earlier version wrote.
    """
    standing = _read_record(output)
    noted = standing.get("masking")
    wanted = masking.model_dump(mode="json")
    if noted != wanted:
        output.write_bytes(RUN_RECORD, _dump({**standing, "masking": wanted}))
    return None if noted is None else Masking.model_validate(noted)


def _dump(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=2) + "\n").encode()


def _delete_parts(output: Store, first: Part) -> None:
    """Delete a part and all later ones: what says that they, or units of them, are whole before what it speaks of.

    So a kill leaves nothing that is taken for whole. Ids that are kept stay where all of them are there; counted words
    stay: whether they serve is decided where they are wanted.
    """
    folders = list_folders(output)
    gone = [folder for folder in folders if part_of(folder) >= first]
    unfinished = [folder for folder in folders if folder.startswith(ENCODED) and folder not in gone]
    gone += [folder for folder in unfinished if not output.exists(f"{folder}/{MANIFEST}")]
    for folder in gone:
        output.delete(f"{folder}/{MANIFEST}")
    stages = [stage for part, stages in STAGES.items() if part >= first for stage in stages]
    for stage in stages:
        output.delete_tree(f"{RECEIPTS}/{stage}")
    if first <= Part.TOKENIZER:
        output.delete_tree("work/words")
    if first == Part.SHARD:
        output.delete_tree(EXCHANGE)
        output.delete(INPUT_MARKS)
    of_parts = QUARANTINE if first == Part.SHARD else f"{QUARANTINE}/packed"
    loose = [path for path in output.list(QUARANTINE) if path.startswith(of_parts)]
    if TOKENIZER in gone:
        gone.remove(TOKENIZER)
        loose += [path for path in output.list(TOKENIZER) if path != WORD_COUNTS]
    for path in loose:
        output.delete(path)
    for tree in gone:
        output.delete_tree(tree)


def _has_finished_part(output: Store) -> bool:
    return any(output.exists(f"{folder}/{MANIFEST}") for folder in list_folders(output))


def list_folders(output: Store) -> list[str]:
    """The folders of an output's parts that hold anything, finished or not, in the order of the parts and names."""
    folders = {path.partition("/")[0] for path in output.list("")}
    return sorted((folder for folder in folders if part_of(folder)), key=lambda folder: (part_of(folder), folder))


def part_of(folder: str) -> int:
    """The part that writes a folder of an output, by the folder's name; 0 if none does."""
    kind = folder.partition("-")[0]
    parts = {"documents": Part.SHARD, TOKENIZER: Part.TOKENIZER, ENCODED: Part.TOKENIZER, "packed": Part.PACK}
    return parts.get(kind, 0)


def is_of_run(folder: str) -> bool:
    """Whether a run writes into a folder of its output; others, such as a trainer's, have writers of their own."""
    return part_of(folder) > 0 or folder in (QUARANTINE, WORK)


def fingerprint_parts(decisive: Mapping[str, Any]) -> dict[str, str]:
    """The fingerprint of each part, by its name."""
    fingerprints = {}
    for part in Part:
        sections = {name: keys for name, keys in decisive.items() if SECTIONS.get(name, Part.PACK) <= part}
        fingerprints[part.name.lower()] = xxhash.xxh3_128_hexdigest(json.dumps(sections, sort_keys=True).encode())
    return fingerprints


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
    again = "the tokenizer and the rows" if first == Part.TOKENIZER else "the rows"
    return ConfigError(
        f"the output was made with {', '.join(made_with)}, and you ask for {', '.join(asked_for)}",
        path=path,
        action="give another output.url, or delete this output"
        if first == Part.SHARD
        else f"give another output.url, or --replace to delete {again} and make new ones",
    )


def _read_record(output: Store) -> dict[str, Any]:
    try:
        record: dict[str, Any] = parse_json(output.read_bytes(RUN_RECORD, MAX_TEXT_BYTES), MAX_TEXT_BYTES)
        check_schema_version(record["schema_version"], output.locate(RUN_RECORD))
        missing = {"fingerprints", "decisive", "versions"} - record.keys()
        if not missing and record["fingerprints"] != fingerprint_parts(record["decisive"]):
            missing = {"the fingerprints of its settings"}
        if not _is_masking(record.get("masking")):
            missing |= {"settings of masking that can be read"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        missing = {f"{type(error).__name__}: {error}"}
    if missing:
        raise ShardCorruptError(
            "the record of the run is damaged",
            path=output.locate(RUN_RECORD),
            expected="the run's settings as JSON",
            found=f"without {', '.join(sorted(missing))}",
            action="restore it, or give another output.url",
        )
    return record


def _is_masking(noted: object) -> bool:
    """Whether it is what `record_masking` notes: the settings, or None in a record of an earlier version."""
    try:
        return noted is None or bool(Masking.model_validate(noted))
    except ValidationError:
        return False


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


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"
