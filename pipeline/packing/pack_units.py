"""The input of pack units: what all units of a run share, and the document shard of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from maskmill.pipeline.engine.units import UnitDescription
from maskmill.pipeline.storage.shard_table import ShardTable
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.encoding.load_encoders import SpecialInText
from maskmill.pipeline.wordpiece.encoding.prove_encoder import Proof
from maskmill.schemas.layout import DataSplit, documents_folder, encoded_folder
from maskmill.schemas.masking import Masking
from maskmill.schemas.run_file import PackSection


@dataclass(frozen=True)
class PackContext:
    """The context of every pack unit.

    Attributes:
        output: The run's output.
        pack: `[pack]` of the run file.
        masking: Settings of the static masks.
        copies: How many of them.
        seed: Key of the order of rows, and of the random choices of pairs.
        tokenizer_json: The tokenizer.
        special_in_text: What a special token's string in raw text is.
        proof: Whether the fast encoder may be used for it.
        tokenizer_name: Of the tokenizer in the output; "" for the default one.
        segmenter: Name and version of the library that finds words; `None` if `pack.word_boundaries` names none.
    """

    output: Store
    pack: PackSection
    masking: Masking
    copies: int
    seed: int
    tokenizer_json: bytes
    special_in_text: SpecialInText
    proof: Proof | None
    tokenizer_name: str = ""
    segmenter: str | None = None


class PackUnit(UnitDescription):
    """Pack one document shard.

    Attributes:
        held_out: Whether it is of the held-out documents.
        shard: Number of the document shard.
        path: Of it.
        checksum: Of it, xxh3-128.
        tokenizer_checksum: Of tokenizer.json.
        text_bytes: UTF-8 bytes of its text, as its table says.
        encoded_path: Of the ids of its documents, where they are kept already; else they are encoded.
        encoded_checksum: Of that, xxh3-128.
    """

    stage: str = "pack"
    held_out: bool
    shard: int
    path: str
    checksum: str
    tokenizer_checksum: str
    text_bytes: int = 0
    encoded_path: str = ""
    encoded_checksum: str = ""

    @property
    def split(self) -> DataSplit:
        """Which of the two sets of documents."""
        return DataSplit.of(self.held_out)

    def digest(self) -> str:
        """xxh3-128 of the description but for where ids come from: they are the same, and so are the rows.

        So a run that is killed after its encoded shards are complete can use the receipts of the units that wrote them.
        """
        encoded_anew = self.model_copy(update={"encoded_path": "", "encoded_checksum": ""})
        return UnitDescription.digest(encoded_anew)


def plan_pack_units(
    documents: Mapping[DataSplit, ShardTable],
    tokenizer_checksum: str,
    encoded: Mapping[DataSplit, ShardTable] | None = None,
    tokenizer_name: str = "",
) -> list[PackUnit]:
    """One unit a document shard, the held-out ones after the others.

    Args:
        documents: The tables of document shards, by their split.
        tokenizer_checksum: xxh3-128 of tokenizer.json.
        encoded: The tables of the encoded shards of the same documents, if they are to be packed again.
        tokenizer_name: Of the tokenizer that encoded them.
    """
    units: list[PackUnit] = []
    for split in DataSplit:
        if split not in documents:
            continue
        table = documents[split]
        kept = encoded[split] if encoded else None
        for shard, checksum in enumerate(table.checksums.to_pylist()):
            units.append(
                PackUnit(
                    unit=len(units),
                    held_out=split.is_held_out,
                    shard=shard,
                    path=f"{documents_folder(split)}/{table.path(shard)}",
                    checksum=checksum,
                    tokenizer_checksum=tokenizer_checksum,
                    text_bytes=int(table.text_bytes[shard]),
                    encoded_path=f"{encoded_folder(split, tokenizer_name)}/{kept.path(shard)}" if kept else "",
                    encoded_checksum=kept.checksums[shard].as_py() if kept else "",
                )
            )
    return units
