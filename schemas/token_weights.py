"""Weights of tokens for masking: a whole number for each id, written as base64 of one byte for each."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from maskmill.schemas.explain_values import show_value
from maskmill.schemas.mask_vocabulary import MAX_VOCAB_SIZE

_DIGEST = "blake2b-"
RARE = "rare"
"""What files may give as `token_weights`; as base64 it would be of three ids, which is no vocabulary."""
MAX_WEIGHT = 255
"""Of a token: its key is the smallest of as many hashes."""


def pack_weights(weights: Any) -> str:
    """Pack weights that are listed by id.

    Raises:
        ValueError: They are no ordered numbers from 1 to `MAX_WEIGHT`, or none, or more than a vocabulary has ids.
    """
    try:
        named = () if isinstance(weights, bytes | Mapping | AbstractSet) else weights
        listed = list(itertools.islice(named, MAX_VOCAB_SIZE + 1))
        wrong = [one for one in listed if isinstance(one, bool) or not 1 <= one <= MAX_WEIGHT or one != int(one)]
    except (TypeError, ValueError):
        raise ValueError("token_weights is a list of a whole number for each id") from None
    if wrong:
        found = show_value(wrong[0])
        raise ValueError(f"a weight of a token is a whole number from 1 to {MAX_WEIGHT}, and one is {found}")
    if not 0 < len(listed) <= MAX_VOCAB_SIZE:
        raise ValueError(f"token_weights is a list of a whole number for each id, 1 to {MAX_VOCAB_SIZE:,} of them")
    return base64.b64encode(bytes(map(int, listed))).decode("ascii")


def unpack_weights(packed: str) -> bytes:
    """The weight of each id, 1 to `MAX_WEIGHT`.

    Raises:
        ValueError: It is not what `pack_weights` gives.
    """
    try:
        weights = base64.b64decode(packed, validate=True)
    except ValueError:
        raise ValueError("token_weights is not base64 of one byte for each id") from None
    if not weights or 0 in weights or base64.b64encode(weights).decode("ascii") != packed:
        raise ValueError("token_weights is not base64 of one byte from 1 to 255 for each id")
    return weights


def digest_weights(token_weights: str) -> str:
    """What stands for `Masking.token_weights` where not all of them need be kept; it is no base64 itself."""
    if token_weights.startswith(_DIGEST):
        return token_weights
    return f"{_DIGEST}{hashlib.blake2b(token_weights.encode(), digest_size=16).hexdigest()}"
