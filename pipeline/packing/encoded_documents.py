"""The token ids of a document shard: encoded from its text, kept as a shard of their own, and read back.

    text -> ids -> `encoded/shard-00000.arrow` -> ids

Packing again, with rows of another length or cut elsewhere, then needs neither the text nor the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.arrow_reader import open_whole
from maskmill.pipeline.storage.arrow_views import view_lists
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.encoding.encode import Encoder, Sample
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.layout import shard_path
from maskmill.schemas.receipt import ShardReceipt
from maskmill.schemas.rows import encoded_schema, id_type

_BLOCK_DOCUMENTS = 4096
_BLOCK_TOKENS = 1 << 19  # 1 MiB of uint16, unless one document has more


@dataclass(frozen=True)
class EncodedDocuments:
    """Token ids of the N documents of a shard, T in all, and how they were encoded.

    Attributes:
        ids: uint16 or uint32 (T,), without [CLS] and [SEP].
        offsets: int64 (N + 1,): document d is `ids[offsets[d] : offsets[d + 1]]`.
        rejected: Documents that cannot be encoded and so have no ids: index to reason.
        text_bytes: UTF-8 bytes of the shard's text.
        special_in_text: Strings of special tokens that occur in it.
        sample: The comparison with `tokenizers`; None if the fast path encoded nothing.
        is_fallback: Whether `tokenizers` encoded all of it.
        fell_back: Why the fast path was abandoned at this shard.
    """

    ids: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]
    rejected: dict[int, str]
    text_bytes: int
    special_in_text: int = 0
    sample: Sample | None = None
    is_fallback: bool = False
    fell_back: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """The fields about the encoding in manifests of encoded and packed datasets."""
        return {
            "special_in_text": self.special_in_text,
            "proof_documents": self.sample.documents if self.sample else 0,
            "proof_bytes": self.sample.bytes if self.sample else 0,
            "fallback_shards": int(self.is_fallback),
        }


def encode_documents(encoder: Encoder, texts: pa.ChunkedArray) -> EncodedDocuments:
    """Encode the texts of a document shard, Arrow strings (N,)."""
    encoded = encoder.encode_proven(texts)
    return EncodedDocuments(
        ids=encoded.ids,
        offsets=encoded.offsets,
        rejected=encoded.rejected,
        text_bytes=int(pc.sum(pc.binary_length(texts)).as_py() or 0),
        special_in_text=sum(encoded.special_in_text.values()),
        sample=encoded.sample,
        is_fallback=encoder.fast_encode is None,
        fell_back=encoded.fell_back,
    )


def write_encoded(output: Store, folder: str, shard: int, vocab_size: int, encoded: EncodedDocuments) -> ShardReceipt:
    """Write the ids of a shard's documents into a folder, in blocks of a bounded number of documents and tokens."""
    schema = encoded_schema(vocab_size)
    path = shard_path(folder, shard)
    return write_blocks(
        output,
        path,
        schema,
        _iter_blocks(encoded, schema),
        tokens=len(encoded.ids),
        text_bytes=encoded.text_bytes,
        first_row_id=shard << 32,
    )


def _iter_blocks(encoded: EncodedDocuments, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    offsets = encoded.offsets
    num_documents = len(offsets) - 1
    is_rejected = np.zeros(num_documents, np.bool_)
    is_rejected[list(encoded.rejected)] = True
    values = schema.field("input_ids").type.value_type.to_pandas_dtype()
    start = 0
    while start < num_documents:
        fitting = int(np.searchsorted(offsets, offsets[start] + _BLOCK_TOKENS, side="right")) - 1
        stop = max(start + 1, min(fitting, start + _BLOCK_DOCUMENTS))
        ids = encoded.ids[offsets[start] : offsets[stop]].astype(values, copy=False)
        lists = pa.ListArray.from_arrays(
            pa.array((offsets[start : stop + 1] - offsets[start]).astype(np.int32)), pa.array(ids)
        )
        columns = [lists.cast(schema.field("input_ids").type), pa.array(is_rejected[start:stop])]
        yield pa.record_batch(columns, schema=schema)
        start = stop


def read_encoded(output: Store, path: str, checksum: str, vocab_size: int, text_bytes: int) -> EncodedDocuments:
    """Read the ids of a shard's documents back; why a document was rejected is not kept with them.

    Raises:
        ShardCorruptError: The shard has changed, or holds an id outside the vocabulary.
    """
    dtype = id_type(vocab_size).to_pandas_dtype()
    parts: list[npt.NDArray[Any]] = []
    lengths: list[npt.NDArray[Any]] = []
    is_rejected: list[npt.NDArray[np.bool_]] = []
    for number, batch in enumerate(open_whole(output, path, checksum, encoded_schema(vocab_size)).iter_batches()):
        starts, ids = view_lists(batch.column("input_ids"), dtype)
        if starts[0] or ids.max(initial=0) >= vocab_size:
            raise ShardCorruptError(
                "an encoded document has a token outside the vocabulary",
                path=output.locate(path),
                place=f"record batch {number}",
                expected=f"ids below {vocab_size}",
                found=f"{ids.max(initial=0)}",
                action="delete the folder and encode the documents again",
            )
        parts.append(ids)
        lengths.append(np.diff(starts))
        is_rejected.append(batch.column("is_rejected").to_numpy(zero_copy_only=False))
    offsets = np.zeros(sum(map(len, lengths)) + 1, np.int64)
    if parts:
        np.cumsum(np.concatenate(lengths), out=offsets[1:])
    return EncodedDocuments(
        ids=np.concatenate(parts) if parts else np.zeros(0, dtype),
        offsets=offsets,
        rejected=dict.fromkeys(np.flatnonzero(np.concatenate(is_rejected)).tolist(), "") if parts else {},
        text_bytes=text_bytes,
    )
