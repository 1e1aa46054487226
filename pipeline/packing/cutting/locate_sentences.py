"""Find where sentences start in the ids of encoded documents."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.packing.cutting.sentences import mark_sentence_starts, split_sentences
from maskmill.pipeline.packing.encoded_documents import EncodedDocuments
from maskmill.pipeline.wordpiece.encoding.encode import Encoder
from maskmill.pipeline.wordpiece.encoding.slice_texts import iter_contents


def locate_sentences(
    encoder: Encoder, texts: pa.ChunkedArray, encoded: EncodedDocuments, language: str
) -> tuple[npt.NDArray[np.bool_], int]:
    """Split every text into sentences, encode these, and mark their first tokens; a slice of documents at a time.

    Args:
        encoder: By which the documents were encoded.
        texts: Arrow strings (N,).
        encoded: Their ids, T in all.
        language: Of the text, by its ISO 639-1 code.

    Returns:
        Whether a sentence starts at a token, bool (T,), and the number of documents whose sentences encode to other
        ids than the whole: of these only the first token is marked.
    """
    is_start = np.zeros(len(encoded.ids), np.bool_)
    unmatched = 0
    first = 0
    for contents in iter_contents(texts):
        sentences = [split_sentences(content.decode(), language) for content in contents]
        piece_ids, piece_offsets = encoder.encode_pieces([piece for pieces in sentences for piece in pieces])
        offsets = encoded.offsets[first : first + len(contents) + 1]
        start, stop = int(offsets[0]), int(offsets[-1])
        is_start[start:stop], failed = mark_sentence_starts(
            encoded.ids[start:stop],
            offsets - start,
            piece_ids,
            piece_offsets,
            np.array([len(pieces) for pieces in sentences], np.int64),
        )
        unmatched += failed
        first += len(contents)
    return is_start, unmatched
