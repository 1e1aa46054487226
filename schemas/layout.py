"""The names of all folders and files in a run's output; no other module spells them.

<kind>[-heldout][-<name>][-<length of rows>]/shard-<number>[-<part>].arrow
quarantine/inputs-<map unit>-<part>.arrow
quarantine/<folder of rows>-shard-<document shard>.arrow
quarantine/contamination.parquet

Rows that `mask` has given other static copies lie in a folder of their dataset, under the same names:

<folder of rows>/masks-<digest of rows and settings>/shard-<number>[-<part>].arrow

An output has one set of documents, and any number of tokenizers and packings: the default ones without a name, and
others named by `tokenizer.name` and `pack.name`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from maskmill.schemas.pack_section import PackSection
from maskmill.schemas.section import NAME_PATTERN, RESERVED_NAME

RUN_RECORD = "run.json"
TIMINGS = "timings.json"
WORK = "work"
RECEIPTS = f"{WORK}/receipts"
EXCHANGE = f"{WORK}/exchange"
NEAR_DUPLICATES = f"{WORK}/near-duplicates"
NEAR_DUPLICATES_REPORT = "near_duplicates.json"
"""In the folder of the documents to train on."""
INPUT_MARKS = f"{WORK}/input-marks"
WORDS = f"{WORK}/words"
QUARANTINE = "quarantine"
EVALUATION_INDEX = f"{WORK}/evaluation-index"
CONTAMINATION = f"{QUARANTINE}/contamination.parquet"
WORD_COUNTS = "word_counts.parquet"
"""In a tokenizer's folder."""
_QUARANTINED_INPUTS = f"{QUARANTINE}/inputs-"


class DataSplit(Enum):
    """The documents to train on or the held-out ones. The value is a part of the names of folders."""

    TRAIN = ""
    HELD_OUT = "-heldout"

    @property
    def is_held_out(self) -> bool:
        """Whether these are the held-out documents, as in manifests."""
        return self is DataSplit.HELD_OUT

    @classmethod
    def of(cls, held_out: bool) -> DataSplit:
        """The split for the flag of a manifest or a unit."""
        return cls.HELD_OUT if held_out else cls.TRAIN


class Kind(StrEnum):
    """What a folder of a run's output contains; also the `kind` in its manifest."""

    DOCUMENTS = "documents"
    TOKENIZER = "tokenizer"
    ENCODED = "encoded"
    PACKED = "packed"


@dataclass(frozen=True)
class Folder:
    """The parts of the name of a folder in a run's output.

    Attributes:
        kind: What it contains.
        split: The split of its documents.
        of: The name of the tokenizer or packing that it belongs to; "" for the default one.
        seq_len: The row length, if it is a part of the name.
    """

    kind: Kind
    split: DataSplit = DataSplit.TRAIN
    of: str = ""
    seq_len: int | None = None

    @property
    def name(self) -> str:
        """The name of the folder."""
        words = (self.of, "" if self.seq_len is None else str(self.seq_len))
        return f"{self.kind}{self.split.value}" + "".join(f"-{word}" for word in words if word)

    @property
    def place_in_order(self) -> tuple[int, str, bool, int]:
        """Sort key: kinds in the order in which they are made, then names, splits and row lengths."""
        return list(Kind).index(self.kind), self.of, self.split.is_held_out, self.seq_len or 0

    @property
    def held_out_side(self) -> Folder | None:
        """The held-out counterpart of a folder to train on; `None` if there can be none."""
        if self.kind is Kind.TOKENIZER or self.split is DataSplit.HELD_OUT:
            return None
        return replace(self, split=DataSplit.HELD_OUT)

    @classmethod
    def parse(cls, name: str) -> Folder | None:
        """Parse a folder's name; `None` if the folder belongs to no part of a run."""
        found = _FOLDER.fullmatch(name)
        if found is None or any(found[part] and found[1] in kinds for part, kinds in _NEVER.items()):
            return None
        seq_len = None if found[4] is None else int(found[4])
        return cls(Kind(found[1]), DataSplit(found[2] or ""), found[3] or "", seq_len)


_FOLDER = re.compile(
    f"({'|'.join(Kind)})({DataSplit.HELD_OUT.value})?(?:-(?!{RESERVED_NAME}(?:-|$))({NAME_PATTERN}))?(?:-([0-9]+))?"
)


_NEVER = {
    2: (Kind.TOKENIZER,),
    3: (Kind.DOCUMENTS,),
    4: (Kind.DOCUMENTS, Kind.TOKENIZER, Kind.ENCODED),
}
"""By group of `_FOLDER`, the kinds whose names never have it: a split, a name, a row length."""


def named(name: str, of: str) -> str:
    """Add the name of a tokenizer or packing to a name; the default one has none."""
    return f"{name}-{of}" if of else name


def documents_folder(split: DataSplit) -> str:
    """The folder of document shards."""
    return Folder(Kind.DOCUMENTS, split).name


def numbered_folder(split: DataSplit) -> str:
    """The folder of the document shards from which near duplicates are left out."""
    return f"{NEAR_DUPLICATES}/{documents_folder(split)}"


def tokenizer_folder(of: str) -> str:
    """The folder of a tokenizer."""
    return Folder(Kind.TOKENIZER, of=of).name


def encoded_folder(split: DataSplit, of: str) -> str:
    """The folder of the documents that a tokenizer has encoded."""
    return Folder(Kind.ENCODED, split, of).name


def packed_folders(pack: PackSection, split: DataSplit) -> dict[int, str]:
    """The folder of each requested packed dataset, by its row length.

    A single `seq_len` is in `packed/`; with several, or with length bins, each has its length in the name, such as
    `packed-128/` and `packed-heldout-128/`. The packing's name comes before it: `packed-heldout-short-128/`.
    """
    if isinstance(pack.seq_len, int) and not pack.length_bins:
        return {pack.seq_len: Folder(Kind.PACKED, split, pack.name).name}
    return {length: Folder(Kind.PACKED, split, pack.name, length).name for length in pack.length_bins or pack.seq_lens}


def shard_path(dataset: str, shard: int) -> str:
    """The path of shard number `shard` of a dataset."""
    return f"{dataset}/shard-{shard:05d}.arrow"


def packed_shard_path(dataset: str, shard: int, part: int, is_whole: bool) -> str:
    """The path of the rows of a document shard, or of part number `part` if they are in several files."""
    return shard_path(dataset, shard) if is_whole else f"{dataset}/shard-{shard:05d}-{part:04d}.arrow"


MASKS_PATTERN = "masks-[0-9a-f]{32}"
"""The names of folders with the shards that `mask` writes."""
_MASKS = re.compile(MASKS_PATTERN)
_PACKED_SHARD = re.compile(r"shards\.arrow|shard-[0-9]{5,}(-[0-9]{4,})?\.arrow")


def masks_folder(digest: str) -> str:
    """The folder inside a packed dataset for the shards with new static copies, by the digest of what decides them."""
    return f"masks-{digest}"


def version_of_path(path: str) -> str | None:
    """The version of a packed dataset that a file belongs to: the folder of its shards, "" for those of packing.

    Args:
        path: Relative to the dataset, or the name of a folder in it. `None` is returned for what is of no version.
    """
    first, _, _ = path.partition("/")
    if _MASKS.fullmatch(first):
        return first
    return "" if _PACKED_SHARD.fullmatch(path) else None


def quarantined_inputs_path(unit: int, part: int) -> str:
    """The path of part number `part` of the inputs that a map unit rejects."""
    return f"{_QUARANTINED_INPUTS}{unit:06d}-{part:03d}.arrow"


def is_of_quarantined_inputs(path: str) -> bool:
    """Whether a file of the quarantine has rejected inputs, not documents that could not be packed."""
    return path.startswith(_QUARANTINED_INPUTS)


def quarantined_documents_path(dataset: str, shard: int) -> str:
    """The path of the documents of document shard number `shard` that are in no row of a packed dataset."""
    return f"{QUARANTINE}/{shard_path(dataset, shard).replace('/', '-')}"


def is_of_quarantined_documents(path: str, dataset: str) -> bool:
    """Whether a file of the quarantine has documents that are in no row of a packed dataset."""
    return re.fullmatch(rf"{QUARANTINE}/{re.escape(dataset)}-shard-[0-9]{{5,}}\.arrow", path) is not None
