"""Encoders proven on few texts, where a test is about something else: on all of Unicode each tokenizer takes 8 s.

A proof is kept in the cache folder, whoever made it, so that runs that are compared hold the same one.
"""

from __future__ import annotations

import os

from maskmill.pipeline.wordpiece.encoding import hostile_text

ASKED = "TESTS_PROVE_ON_FEW_TEXTS"
FEW = {"_NUM_CODE_POINTS": 0x1000, "_RANDOM_TEXTS": 20}
ALL = {name: getattr(hostile_text, name) for name in FEW}


def shorten_proofs() -> None:
    """Let this process prove on few texts where the tests' environment asks for it."""
    for name, number in (FEW if ASKED in os.environ else ALL).items():
        setattr(hostile_text, name, number)
