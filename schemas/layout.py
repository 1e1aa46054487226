"""What everything below a run's output is called: the one place that spells names of folders and files.

<kind>[-heldout][-<name>][-<length of rows>]/shard-<number>[-<part>].arrow
quarantine/inputs-<map unit>-<part>.arrow
quarantine/<folder of rows>-shard-<document shard>.arrow

An output holds one set of documents, and any number of tokenizers and packings: the default ones without a name, and
others that `tokenizer.name` and `pack.name` name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from maskmill.schemas.run_file import NAME_PATTERN, RESERVED_NAME, PackSection

RUN_RECORD = "run.json"
TIMINGS = "timings.json"
WORK = "work"
RECEIPTS = f"{WORK}/receipts"
EXCHANGE = f"{WORK}/exchange"
INPUT_MARKS = f"{WORK}/input-marks"
WORDS = f"{WORK}/words"
QUARANTINE = "quarantine"
WORD_COUNTS = "word_counts.parquet"
"""In a tokenizer's folder."""
_QUARANTINED_INPUTS = f"{QUARANTINE}/inputs-"


class DataSplit(Enum):
    """Which documents: those to train on, or those that are held out of it. The value ends the name of a folder."""

    TRAIN = ""
    HELD_OUT = "-heldout"

    @property
    def is_held_out(self) -> bool:
        """Whether these are the held-out documents, as manifests say it."""
        return self is DataSplit.HELD_OUT

    @classmethod
    def of(cls, held_out: bool) -> DataSplit:
        """The split that a manifest or a unit speaks of."""
        return cls.HELD_OUT if held_out else cls.TRAIN


class Kind(StrEnum):
    """What a folder of a run's output holds, and what its manifest names as its kind."""

    DOCUMENTS = "documents"
    TOKENIZER = "tokenizer"
    ENCODED = "encoded"
    PACKED = "packed"


@dataclass(frozen=True)
class Folder:
    """A folder of a run's output, taken apart.

    Attributes:
        kind: What it holds.
        split: Of which documents.
        of: The name of the tokenizer or packing that it belongs to; "" for the default one.
        seq_len: The length of its rows, where its name says it.
    """

    kind: Kind
    split: DataSplit = DataSplit.TRAIN
    of: str = ""
    seq_len: int | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        words = (self.of, "" if self.seq_len is None else str(self.seq_len))
        return f"{self.kind}{self.split.value}" + "".join(f"-{word}" for word in words if word)

    @property
    def place_in_order(self) -> tuple[int, str, bool, int]:
        """Sorts folders: kinds in the order in which they are made, then names, splits and lengths of rows."""
        return list(Kind).index(self.kind), self.of, self.split.is_held_out, self.seq_len or 0

    @property
    def held_out_side(self) -> Folder | None:
        """The folder of the held-out documents that goes with one to train on; `None` where there can be none."""
        if self.kind is Kind.TOKENIZER or self.split is DataSplit.HELD_OUT:
            return None
        return replace(self, split=DataSplit.HELD_OUT)

    @classmethod
    def parse(cls, name: str) -> Folder | None:
        """What a folder's name says; `None` if it is no folder of a part."""
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
"""Kinds of which no folder is of held-out documents, has a name, or has a length of rows."""


def named(name: str, of: str) -> str:
    """What something of the default tokenizer or packing is called for the one of this name."""
    return f"{name}-{of}" if of else name


def documents_folder(split: DataSplit) -> str:
    """The folder of document shards."""
    return Folder(Kind.DOCUMENTS, split).name


def tokenizer_folder(of: str) -> str:
    """The folder of a tokenizer."""
    return Folder(Kind.TOKENIZER, of=of).name


def encoded_folder(split: DataSplit, of: str) -> str:
    """The folder of the shards that a tokenizer has encoded."""
    return Folder(Kind.ENCODED, split, of).name


def packed_folders(pack: PackSection, split: DataSplit) -> dict[int, str]:
    """The length of rows of each packed dataset that is asked for, and its folder.

    One `seq_len` is `packed/`; of several, and of length bins, each has its length in its name: `packed-128/` and
    `packed-heldout-128/`. The packing's own name comes before: `packed-short/`, `packed-heldout-short-128/`.
    """
    if isinstance(pack.seq_len, int) and not pack.length_bins:
        return {pack.seq_len: Folder(Kind.PACKED, split, pack.name).name}
    return {length: Folder(Kind.PACKED, split, pack.name, length).name for length in pack.length_bins or pack.seq_lens}


def shard_path(dataset: str, shard: int) -> str:
    """The path of shard number `shard` of a dataset."""
    return f"{dataset}/shard-{shard:05d}.arrow"


def packed_shard_path(dataset: str, shard: int, part: int, is_whole: bool) -> str:
    """The path of the rows of a document shard, or of part number `part` of them where they are several files."""
    return shard_path(dataset, shard) if is_whole else f"{dataset}/shard-{shard:05d}-{part:04d}.arrow"


def quarantined_inputs_path(unit: int, part: int) -> str:
    """The path of part number `part` of the inputs that a map unit rejects."""
    return f"{_QUARANTINED_INPUTS}{unit:06d}-{part:03d}.arrow"


def is_of_quarantined_inputs(path: str) -> bool:
    """Whether a file of the quarantine holds rejected inputs, not documents that could not be packed."""
    return path.startswith(_QUARANTINED_INPUTS)


def quarantined_documents_path(dataset: str, shard: int) -> str:
    """The path of the documents of document shard number `shard` that come to no row of a packed dataset."""
    return f"{QUARANTINE}/{shard_path(dataset, shard).replace('/', '-')}"


def is_of_quarantined_documents(path: str, dataset: str) -> bool:
    """Whether a file of the quarantine holds documents that come to no row of a packed dataset."""
    return re.fullmatch(rf"{QUARANTINE}/{re.escape(dataset)}-shard-[0-9]{{5,}}\.arrow", path) is not None
