"""The parts of a run: the settings that decide each, its folders, their manifests and its name for people.

A run makes its parts one after the other, and the settings that decide a part also decide all later ones:

    shard       [input], the files it names, [documents], [filters]
    tokenizer   and [tokenizer], the tokenizer that is brought
    pack        and [pack], and [mask] where static copies are stored

An output holds the documents once, and any number of tokenizers and packings by name. Each has its own fingerprint, so
a change of `[pack]` leaves documents and tokenizer valid. This table is the only place that knows which folder and
which manifest belong to which part; `stages` has the stages, and `record` what is in an output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any

from maskmill.pipeline.storage.datasets import MANIFEST
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.layout import (
    EVALUATION_INDEX,
    EXCHANGE,
    INPUT_MARKS,
    NEAR_DUPLICATES,
    QUARANTINE,
    WORD_COUNTS,
    WORDS,
    WORK,
    DataSplit,
    Folder,
    Kind,
    documents_folder,
    encoded_folder,
    packed_folders,
    tokenizer_folder,
)
from maskmill.schemas.manifest import (
    MAX_MANIFEST_BYTES,
    DocumentsManifest,
    EncodedManifest,
    KindOfManifest,
    PackedManifest,
    TokenizerManifest,
    kind_of_manifest,
)
from maskmill.schemas.run_file import PackSection


class Part(IntEnum):
    """The parts of a run in the order in which they are made."""

    SHARD = 1
    TOKENIZER = 2
    PACK = 3

    @property
    def key(self) -> str:
        """The name of the part in `run.json` and in `up_to`."""
        return self.name.lower()


Scope = tuple[Part, str]
"""A part and the name of its tokenizer or packing: the unit that has its own settings and fingerprint."""


@dataclass(frozen=True)
class PartEntry:
    """Everything known about a part.

    Attributes:
        label: The name of its output for people.
        sections: The sections of the run file that decide it and no earlier part.
        work: Folders of intermediate results, deleted with the part.
        work_files: Files of intermediate results.
        kept: Files in its folders that stay when it is made again; their users check whether they are still valid.
    """

    label: str
    sections: tuple[str, ...]
    work: tuple[str, ...] = ()
    work_files: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


PARTS = {
    Part.SHARD: PartEntry(
        "the documents",
        ("input", "documents", "filters"),
        (EXCHANGE, NEAR_DUPLICATES),
        (INPUT_MARKS, EVALUATION_INDEX),
    ),
    Part.TOKENIZER: PartEntry("the tokenizer", ("tokenizer",), (WORDS,), kept=(WORD_COUNTS,)),
    Part.PACK: PartEntry("the rows", ("pack", "mask")),
}

Names = Mapping[Part, str]
"""The names of a tokenizer and a packing; the default ones, and the documents, have none."""
FoldersOf = Callable[[Mapping[str, Any], Names, DataSplit], list[str]]


@dataclass(frozen=True)
class KindEntry:
    """Everything known about a kind of folder.

    Attributes:
        part: The part whose settings decide it and whose fingerprint its manifest has.
        manifest: The model of its manifest.
        folders: Returns the folders of a split in a finished run, by the settings in its record and the names.
        is_by_product: Whether a run counts as finished without it.
    """

    part: Part
    manifest: type[KindOfManifest]
    folders: FoldersOf
    is_by_product: bool = False


def _folders_of_documents(_: Mapping[str, Any], __: Names, split: DataSplit) -> list[str]:
    return [documents_folder(split)]


def _folders_of_tokenizer(_: Mapping[str, Any], names: Names, split: DataSplit) -> list[str]:
    return [tokenizer_folder(names.get(Part.TOKENIZER, ""))] if split is DataSplit.TRAIN else []


def _folders_of_encoded(decisive: Mapping[str, Any], names: Names, split: DataSplit) -> list[str]:
    is_kept = decisive.get("pack", {}).get("keep_encoded")
    return [encoded_folder(split, names.get(Part.TOKENIZER, ""))] if is_kept else []


def _folders_of_rows(decisive: Mapping[str, Any], names: Names, split: DataSplit) -> list[str]:
    known = {key: value for key, value in decisive["pack"].items() if key in PackSection.model_fields}
    pack = PackSection.model_validate({**known, "name": names.get(Part.PACK, "")})
    return list(packed_folders(pack, split).values())


KINDS = {
    Kind.DOCUMENTS: KindEntry(Part.SHARD, DocumentsManifest, _folders_of_documents),
    Kind.TOKENIZER: KindEntry(Part.TOKENIZER, TokenizerManifest, _folders_of_tokenizer),
    Kind.ENCODED: KindEntry(Part.TOKENIZER, EncodedManifest, _folders_of_encoded, is_by_product=True),
    Kind.PACKED: KindEntry(Part.PACK, PackedManifest, _folders_of_rows),
}


def part_of_section(section: str) -> Part:
    """The first part that a section of the run file decides; an unknown section decides the rows."""
    return next((part for part, entry in PARTS.items() if section in entry.sections), Part.PACK)


def is_of_run(folder: str) -> bool:
    """Whether a run writes into a folder of its output; others, such as a trainer's, belong to other programs."""
    return Folder.parse(folder) is not None or folder in (QUARANTINE, WORK)


def splits_of(decisive: Mapping[str, Any]) -> list[DataSplit]:
    """The splits of a run, by the settings in its record or its run file."""
    return list(DataSplit) if decisive["documents"]["held_out"] else [DataSplit.TRAIN]


def scope_of_folder(folder: str) -> Scope | None:
    """The part that a folder of an output belongs to, by the folder's name; `None` if it belongs to none."""
    found = Folder.parse(folder)
    return None if found is None else (KINDS[found.kind].part, found.of)


def promised_folders(
    decisive: Mapping[str, Any],
    names: Names = MappingProxyType({}),
    *,
    up_to: Part = Part.PACK,
    by_products: bool = True,
) -> list[str]:
    """The folders of a finished run, by the settings in its record, in the order in which they are made.

    Args:
        decisive: The settings of the documents, of one tokenizer and of one packing, as far as they are needed.
        names: The names of this tokenizer and this packing.
        up_to: The last part to include.
        by_products: Whether to include the folders without which a run counts as finished too.
    """
    return [
        folder
        for entry in KINDS.values()
        if entry.part <= up_to and (by_products or not entry.is_by_product)
        for split in splits_of(decisive)
        for folder in entry.folders(decisive, names, split)
    ]


def model_of_manifest(dataset: Store) -> type[KindOfManifest]:
    """The model for the kind that a manifest names; `PackedManifest`, whose errors explain the fault, if it names none.

    Raises:
        ConfigError: It is larger than any manifest, or no regular file.
    """
    try:
        kind = kind_of_manifest(dataset.read_bytes(MANIFEST, MAX_MANIFEST_BYTES))
    except FileNotFoundError:
        return PackedManifest
    return KINDS[Kind(kind)].manifest if kind in list(Kind) else PackedManifest


def parse_part(name: object, argument: str) -> Part:
    """Look up a part by its name.

    Args:
        name: `shard`, `tokenizer` or `pack`, or the part itself.
        argument: The argument that has the value, for the message.

    Raises:
        ConfigError: There is no such part.
    """
    for part in Part:
        if name is part or name == part.key:
            return part
    raise ConfigError(
        "unknown part of a run",
        path=argument,
        expected=", ".join(part.key for part in Part),
        found=repr(name),
        action=f'give for example {argument}="{Part.SHARD.key}"',
    )
