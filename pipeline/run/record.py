"""`run.json`, the record of a run in its output: its settings, the fingerprint of each part, the libraries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import xxhash
from pydantic import ValidationError

from maskmill.pipeline.corpus.list_inputs import InputFile, digest_inputs
from maskmill.pipeline.run.parts import Part, part_of_section
from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.bounded_json import parse_json
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.layout import RUN_RECORD
from maskmill.schemas.masking import Masking
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.version import SCHEMA_VERSION, check_schema_version

DECISIVE_LIBRARIES = ("maskmill", "pyarrow", "numpy", "tokenizers", "nanotoken", "sentencex", "xxhash")


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


def fingerprint_parts(decisive: Mapping[str, Any]) -> dict[str, str]:
    """The fingerprint of each part, by its name."""
    fingerprints = {}
    for part in Part:
        sections = {name: keys for name, keys in decisive.items() if part_of_section(name) <= part}
        fingerprints[part.key] = xxhash.xxh3_128_hexdigest(json.dumps(sections, sort_keys=True).encode())
    return fingerprints


def find_differing(ours: RunFile, theirs: RunFile | None) -> dict[str, tuple[Any, Any]]:
    """Keys that decide what is written and differ between two run files: the value of the first, then of the second.

    Args:
        ours: The first.
        theirs: The second; of none, every key differs.
    """
    plain = {} if theirs is None else _settings_of(theirs)
    return {
        f"{section}.{key}": (value, plain.get(section, {}).get(key))
        for section, values in _settings_of(ours).items()
        for key, value in values.items()
        if section not in plain or plain[section][key] != value
    }


def _settings_of(settings: RunFile) -> dict[str, dict[str, object]]:
    """What the fingerprints cover, and all of `[mask]`: without copies it is only the default of loaders."""
    return {**settings.fingerprinted(), "mask": settings.mask.model_dump(mode="json")}


def record_masking(output: Store, masking: Masking) -> Masking | None:
    """Note the masking that the manifests of the rows name; without stored copies it may change at any time.

    Returns:
        The one that was noted before; None in a record that an earlier version wrote.
    """
    standing = read_record(output)
    noted = standing.get("masking")
    wanted = masking.model_dump(mode="json")
    if noted != wanted:
        output.write_bytes(RUN_RECORD, dump_record({**standing, "masking": wanted}))
    return None if noted is None else Masking.model_validate(noted)


def dump_record(record: Mapping[str, Any]) -> bytes:
    """The bytes of `run.json`."""
    return (json.dumps(record, indent=2) + "\n").encode()


def read_record(output: Store) -> dict[str, Any]:
    """Read and check the record in an output.

    Raises:
        ShardCorruptError: It is not what was written.
        ConfigError: A newer or older maskmill wrote it.
        FileNotFoundError: There is none.
    """
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


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"
