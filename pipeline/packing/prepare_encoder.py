"""Prepare the tokenizer for a unit: its vocabulary, and an encoder.

A worker packs many shards with one tokenizer; caching between them saves time and changes no result.
"""

from __future__ import annotations

import functools
import socket

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.wordpiece.encoding.encode import Encoder
from maskmill.pipeline.wordpiece.encoding.load_encoders import FastEncode, SpecialInText, load_fast_encode
from maskmill.pipeline.wordpiece.encoding.prove_encoder import Proof, make_proof_key
from maskmill.pipeline.wordpiece.files.check_tokenizer import parse_tokenizer_json
from maskmill.pipeline.wordpiece.files.tokenizer_files import describe_vocabulary
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.mask_vocabulary import MaskVocabulary


@functools.lru_cache(maxsize=1)
def describe_tokenizer(tokenizer_json: bytes) -> tuple[MaskVocabulary, npt.NDArray[np.bool_]]:
    """The vocabulary as in a manifest, and which ids continue a word, `(vocab_size,)` bool."""
    return describe_vocabulary(parse_tokenizer_json(tokenizer_json, "tokenizer.json"))


def prepare_encoder(tokenizer_json: bytes, special_in_text: SpecialInText, proof: Proof | None) -> Encoder:
    """An encoder of a unit's own: whether it falls back must not depend on what its worker did before.

    Raises:
        ConfigError: The proof was made with other libraries than this machine has.
    """
    if proof is not None:
        here = make_proof_key(tokenizer_json, special_in_text)
        if proof.key != here:
            raise ConfigError(
                "the encoder is proven for other libraries than this machine has",
                path=socket.gethostname(),
                expected=f"tokenizers {proof.key.tokenizers_version}, nanotoken {proof.key.nanotoken_version}",
                found=f"tokenizers {here.tokenizers_version}, nanotoken {here.nanotoken_version}",
                action="install the same versions on every node",
            )
    proven = proof is not None and proof.difference is None
    fast = _load_fast(tokenizer_json, special_in_text) if proven else None
    return Encoder(tokenizer_json, special_in_text, fast)


@functools.lru_cache(maxsize=1)
def _load_fast(tokenizer_json: bytes, special_in_text: SpecialInText) -> FastEncode:
    return load_fast_encode(tokenizer_json, special_in_text)
