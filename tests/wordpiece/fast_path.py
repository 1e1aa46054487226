"""The fast encoder of these tests, whether or not `nanotoken` is installed, which is optional."""

from __future__ import annotations

from collections.abc import Sequence

from maskmill.pipeline.wordpiece.encoding.load_encoders import (
    FastEncode,
    Ids,
    Offsets,
    SpecialInText,
    encode_by_tokenizers,
    load_fast_encode,
    load_law,
)


def load_fast_path(tokenizer_json: bytes, special_in_text: SpecialInText) -> FastEncode:
    """That of `nanotoken`; where it is not installed, `tokenizers` in its place.

    So what is done with a fast path, as slices, samples and falling back, is tested without `nanotoken` too.
    """
    try:
        return load_fast_encode(tokenizer_json, special_in_text)
    except ImportError:
        law = load_law(tokenizer_json, special_in_text)

    def encode(texts: Sequence[str] | Sequence[bytes]) -> tuple[Ids, Offsets]:
        decoded = [text.decode() if isinstance(text, bytes) else text for text in texts]
        ids, offsets, rejected = encode_by_tokenizers(law, decoded)
        assert not rejected
        return ids, offsets

    return encode
