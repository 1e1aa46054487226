"""Where everything stands below a run's output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskmill.schemas.run_file import PackSection

RUN_RECORD = "run.json"
WORK = "work"
QUARANTINE = "quarantine"
TOKENIZER = "tokenizer"
WORD_COUNTS = f"{TOKENIZER}/word_counts.parquet"


def shard_path(dataset: str, shard: int) -> str:
    """Where shard number `shard` of a dataset stands."""
    return f"{dataset}/shard-{shard:05d}.arrow"


def packed_shard_path(dataset: str, shard: int, part: int, is_whole: bool) -> str:
    """Where the rows of a document shard stand, or part number `part` of them where they are several files."""
    return shard_path(dataset, shard) if is_whole else f"{dataset}/shard-{shard:05d}-{part:04d}.arrow"


def documents_folder(held_out: bool) -> str:
    """The folder of document shards."""
    return "documents-heldout" if held_out else "documents"


def encoded_folder(held_out: bool) -> str:
    """The folder of encoded shards."""
    return "encoded-heldout" if held_out else "encoded"


def packed_folders(pack: PackSection, held_out: bool) -> dict[int, str]:
    """The length of rows of each packed dataset that is asked for, and its folder.

    One `seq_len` is `packed/`; of several, and of length bins, each has its length in its name: `packed-128/` and
    `packed-heldout-128/`.
    """
    folder = "packed-heldout" if held_out else "packed"
    if pack.length_bins:
        return {length: f"{folder}-{length}" for length in pack.length_bins}
    if isinstance(pack.seq_len, int):
        return {pack.seq_len: folder}
    return {length: f"{folder}-{length}" for length in pack.seq_len}


def promised_documents(decisive: Mapping[str, Any]) -> list[str]:
    """The folders of documents that a finished run has, by the settings in its record."""
    return [documents_folder(held_out) for held_out in _sides(decisive)]


def promised_rows(decisive: Mapping[str, Any]) -> list[str]:
    """The folders of packed rows that a finished run has, by the settings in its record."""
    pack = PackSection.model_validate(decisive["pack"])
    return [folder for held_out in _sides(decisive) for folder in packed_folders(pack, held_out).values()]


def promised_folders(decisive: Mapping[str, Any]) -> list[str]:
    """The folders of every part that a finished run has, by the settings in its record, in their order."""
    kept = [encoded_folder(held_out) for held_out in _sides(decisive)] if decisive["pack"].get("keep_encoded") else []
    return [*promised_documents(decisive), TOKENIZER, *kept, *promised_rows(decisive)]


def _sides(decisive: Mapping[str, Any]) -> list[bool]:
    return [False, True] if decisive["documents"]["held_out"] else [False]
