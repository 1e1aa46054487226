"""Build the record of what a run file asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import xxhash

from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.list_inputs import digest_inputs
from maskmill.pipeline.packing.words.segmenters import find_version
from maskmill.pipeline.run.parts import Part, part_of_section
from maskmill.pipeline.run.record import ABOUT_INPUTS, Entry, RunRecord, fingerprint_parts
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.redaction import redact
from maskmill.schemas.run_file import RunFile, key_in_section
from maskmill.schemas.token_weights import RARE

SEGMENTER = "segmenter"
DECISIVE_LIBRARIES = ("maskmill", "pyarrow", "numpy", "tokenizers", "nanotoken", "sentencex", "xxhash")
NOT_INSTALLED = "not installed"


def describe_run(
    settings: RunFile, inputs: Sequence[InputFile], brought: Mapping[str, bytes], evaluation: str = ""
) -> RunRecord:
    """Describe one run file for `run.json`: its documents, tokenizer and packing.

    The fingerprints cover neither the location of the corpus nor that of the output, so that a run elsewhere over the
    same files writes the same bytes. They do cover the names of the sources, which may be those of folders; elsewhere
    `input.name` can set the same name.

    Args:
        settings: The run file.
        inputs: The files that are read.
        brought: Files of the tokenizer that the user brought.
        evaluation: Digest of the evaluation files.
    """
    run = settings.fingerprinted()
    decisive = json.loads(json.dumps(run))
    for number in range(len(settings.input)):
        decisive["input"].pop(key_in_section(number, "paths"))
        decisive["input"].pop(key_in_section(number, "name"))  # covered by `sources`
    decisive["input"]["files"] = digest_inputs(inputs)
    decisive["input"]["sources"] = sorted({file.source for file in inputs})
    if settings.filters.decontamination is not None:
        decisive["filters"]["decontamination"]["files"] = evaluation
    brought_digest = xxhash.xxh3_128_hexdigest(b"".join(brought.values())) if brought else None
    decisive["tokenizer"]["from"] = brought_digest
    names = _names_of(settings)
    versions = {name: _version(name) for name in (*DECISIVE_LIBRARIES, "ray")}
    segmenter = _find_segmenter(settings)
    paths = [redact(path) for table in settings.input for path in table.paths]
    about = (paths, len(inputs), sum(file.size_bytes for file in inputs))
    entries = {
        (part, names[part]): Entry(
            sections={name: keys for name, keys in decisive.items() if part_of_section(name) is part},
            fingerprint=fingerprint,
            versions=versions if part is not Part.PACK or segmenter is None else versions | {SEGMENTER: segmenter},
            tokenizer=names[Part.TOKENIZER] if part is Part.PACK else "",
            # What the tokenizer decides is recorded when that is made.
            masking=settings.mask.masking() if part is Part.PACK and settings.mask.token_weights != RARE else None,
        )
        for part, fingerprint in fingerprint_parts(decisive).items()
    }
    return RunRecord(entries, dict(zip(ABOUT_INPUTS, about, strict=True)))


def find_differing(ours: RunFile, theirs: RunFile | None, up_to: Part = Part.PACK) -> dict[str, tuple[Any, Any]]:
    """Find the keys that decide the output and differ between two run files, with both values.

    Tokenizers with different names, and rows with different names, are not compared: neither replaces the other.

    Args:
        ours: The first.
        theirs: The second; if it is `None`, every key differs.
        up_to: The last part to compare.
    """
    plain = {} if theirs is None else _settings_of(theirs)
    names = _names_of(ours)
    compared = [part for part in Part if part <= up_to and (theirs is None or names[part] == _names_of(theirs)[part])]
    return {
        f"{section}.{key}": (values.get(key), plain.get(section, {}).get(key))
        for section, values in _settings_of(ours).items()
        for key in values | plain.get(section, {})
        if part_of_section(section) in compared and (section not in plain or plain[section].get(key) != values.get(key))
    }


def _names_of(settings: RunFile) -> dict[Part, str]:
    return {Part.SHARD: "", Part.TOKENIZER: settings.tokenizer.name, Part.PACK: settings.pack.name}


def _settings_of(settings: RunFile) -> dict[str, dict[str, object]]:
    """What the fingerprints cover, and all keys of the sections that they cover only in part."""
    documents = settings.documents.model_dump(mode="json")
    mask = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.mask}
    pack = settings.pack.model_dump(mode="json", exclude={"name"})
    filters = settings.filters.model_dump(mode="json")
    return {**settings.fingerprinted(), "filters": filters, "documents": documents, "mask": mask, "pack": pack}


def _find_segmenter(settings: RunFile) -> str | None:
    """The library that finds words, which only packing needs; `None` if the run file asks for none."""
    try:
        return find_version(settings.pack.word_boundaries)
    except ConfigError:
        return NOT_INSTALLED


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED
