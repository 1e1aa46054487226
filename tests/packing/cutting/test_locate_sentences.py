"""Sentence starts in ids are where the sentences of the text start, however the documents are sliced."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.packing.cutting.locate_sentences import locate_sentences
from maskmill.pipeline.packing.cutting.sentences import split_sentences
from maskmill.pipeline.packing.encoded_documents import encode_documents
from maskmill.pipeline.wordpiece.encoding import slice_texts
from maskmill.pipeline.wordpiece.encoding.encode import Encoder
from maskmill.pipeline.wordpiece.encoding.load_encoders import SpecialInText
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from tests.wordpiece.encoding.test_encode import make_tokenizer_json
from tests.wordpiece.fast_path import load_fast_path
from tests.wordpiece.texts import SENTENCES

TOKENIZER_JSON = make_tokenizer_json(Normalisation())
FAST = load_fast_path(TOKENIZER_JSON, SpecialInText.TEXT)

documents = st.lists(
    st.lists(st.sampled_from([*SENTENCES, "Dogs sleep.", "\n\n", " ", "Fox\u200b.", "3.14"])).map(" ".join), max_size=8
)


@settings(max_examples=100, deadline=None)
@given(documents, st.sampled_from([1, 200, 1 << 22]), st.sampled_from([None, FAST]))
def test_starts_are_where_the_text_before_them_ends(texts: list[str], slice_bytes: int, fast: object) -> None:
    encoder = Encoder(TOKENIZER_JSON, fast_encode=fast)  # type: ignore[arg-type]
    column = pa.chunked_array([pa.array(texts[:3], pa.string()), pa.array(texts[3:], pa.string())])
    encoded = encode_documents(encoder, column)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slice_texts, "SLICE_BYTES", slice_bytes)
        starts, unmatched = locate_sentences(encoder, column, encoded, "en")
    expected: list[int] = []
    for text, offset in zip(texts, encoded.offsets.tolist(), strict=False):
        sentences = split_sentences(text, "en")
        before = ["".join(sentences[:number]) for number in range(len(sentences))]
        places = [len(encoder.law.encode(one, add_special_tokens=False).ids) for one in before]
        length = len(encoder.law.encode(text, add_special_tokens=False).ids)
        expected += sorted({offset + place for place in places if place < length})
    assert np.flatnonzero(starts).tolist() == expected
    assert (starts.dtype, len(starts), unmatched) == (np.bool_, len(encoded.ids), 0)


def test_a_document_whose_sentences_encode_otherwise_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "maskmill.pipeline.packing.cutting.locate_sentences.split_sentences", lambda text, _: [text[:2], text[2:]]
    )
    encoder = Encoder(TOKENIZER_JSON, fast_encode=FAST)
    column = pa.chunked_array([["fox sleeps", "a the", "fox"]])  # only the second is cut between words
    encoded = encode_documents(encoder, column)
    starts, unmatched = locate_sentences(encoder, column, encoded, "en")
    assert unmatched == 2
    first, second, third, _ = encoded.offsets.tolist()
    assert np.flatnonzero(starts).tolist() == [first, second, second + 1, third]
