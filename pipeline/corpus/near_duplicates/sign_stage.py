"""Sign documents, and partition a record for each band of a signature by the band's key.

A record is two words of key, the document's place and its number. A document shorter than a shingle has one record,
whose key is of all its words; a document without any word has none, so it is nobody's duplicate.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.corpus.exchange import CorpusContext
from maskmill.pipeline.corpus.hash_documents import assign_to_intervals
from maskmill.pipeline.corpus.near_duplicates.characters import tabulate_characters
from maskmill.pipeline.corpus.near_duplicates.numbered_shards import iter_shards
from maskmill.pipeline.corpus.near_duplicates.plan import SignUnit
from maskmill.pipeline.corpus.near_duplicates.records import RecordDetails, Records, write_records
from maskmill.pipeline.corpus.near_duplicates.signatures import Permutations, hash_bands, sign_documents
from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitOutcome
from maskmill.pipeline.storage.arrow_views import view_texts
from maskmill.schemas.near_duplicates import NearDuplicatesSection


def sign_shards(context: CorpusContext, unit: SignUnit) -> UnitOutcome[RecordDetails]:
    """Write the records of some shards; the unit of the sign stage.

    Raises:
        ShardCorruptError: A shard is not what the sort stage wrote.
        StaleArtifactError: A shard is gone.
    """
    settings = settings_of(context)
    permutations = Permutations.of(settings.seed, settings.num_permutations)
    text_bytes = 0

    def iter_pieces() -> Iterator[tuple[Records, npt.NDArray[np.int64]]]:
        nonlocal text_bytes
        for shard in iter_shards(context.output, unit):
            text_bytes += shard.receipt.text_bytes
            for documents, numbers in shard.iter_blocks():
                places = documents.column("place").to_numpy()
                records = list_bands(documents.column("text"), places, numbers, settings, permutations)
                yield records, assign_to_intervals(records[:, 0], unit.num_partitions)

    details = write_records(context.output, unit.stage, unit.unit, unit.num_partitions, iter_pieces())
    return UnitOutcome([], {"text_bytes": text_bytes}, details)


SIGN: Stage[CorpusContext, SignUnit, RecordDetails] = Stage(
    "sign documents", "computing MinHash signatures", SignUnit, RecordDetails, sign_shards
)


def settings_of(context: CorpusContext) -> NearDuplicatesSection:
    """The settings of a run that leaves near duplicates out."""
    settings = context.run.documents.near_duplicates
    if settings is None:
        raise ValueError("a run without documents.near_duplicates")
    return settings


def list_bands(
    texts: pa.StringArray,
    places: npt.NDArray[np.uint64],
    numbers: npt.NDArray[np.uint64],
    settings: NearDuplicatesSection,
    permutations: Permutations,
) -> Records:
    """The records of N documents.

    Args:
        texts: Their texts, not a slice of others.
        places: `(N,)` where they were read.
        numbers: `(N,)` their numbers.
        settings: Of the signatures.
        permutations: As many as a signature has minima.
    """
    offsets, text = view_texts(texts)
    minima = np.empty((len(texts), settings.num_permutations), np.uint32)
    exact = np.zeros((len(texts), 2), np.uint64)
    characters = tabulate_characters()
    factors, addends = permutations.factors, permutations.addends
    num_words = sign_documents(text, offsets, characters, factors, addends, settings.shingle_words, minima, exact)
    keys = np.empty((len(texts), settings.bands, 2), np.uint64)
    hash_bands(minima, settings.bands, settings.rows, keys)
    signed, short = num_words >= settings.shingle_words, (num_words > 0) & (num_words < settings.shingle_words)
    both = np.concatenate(
        [
            np.column_stack([places, numbers])[signed].repeat(settings.bands, axis=0),
            np.column_stack([places, numbers])[short],
        ]
    )
    return np.column_stack([np.concatenate([keys[signed].reshape(-1, 2), exact[short]]), both])
