"""Encoded shards are read back as they were written, and ids that the vocabulary has not are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maskmill.pipeline.packing.encoded_documents import EncodedDocuments, read_encoded, write_encoded
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ShardCorruptError


def test_ids_beyond_the_vocabulary_are_refused(tmp_path: Path) -> None:
    """They would index the tables of the vocabulary."""
    store = open_store(str(tmp_path))
    documents = EncodedDocuments(np.array([5, 9, 7], np.uint16), np.array([0, 2, 2, 3]), {1: "no text"}, 7)
    receipt = write_encoded(store, "encoded", 0, 10, documents)
    back = read_encoded(store, receipt.path, receipt.checksum, 10, 7)
    assert (back.ids.tolist(), back.offsets.tolist(), list(back.rejected)) == ([5, 9, 7], [0, 2, 2, 3], [1])
    with pytest.raises(ShardCorruptError, match=r"shard-00000.arrow, record batch 0: .*ids below 9; found 9"):
        read_encoded(store, receipt.path, receipt.checksum, 9, 7)
    with pytest.raises(ShardCorruptError, match="the schema is not the expected one"):
        read_encoded(store, receipt.path, receipt.checksum, 70_000, 7)
