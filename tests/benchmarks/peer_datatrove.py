"""datatrove's filters on the documents of a file: a decision for each document and filter, and how fast they are.

    python peer_datatrove.py DOCUMENTS.jsonl white_space|own

With `white_space`, words and sentences are those of our filters, so that the decisions must be equal. With `own`, they
are those of its English tokenizer, spaCy's, which makes words of punctuation. The thresholds are its defaults. Prints
one line of JSON.
"""

from __future__ import annotations

import json
import re
import sys
import time

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.formatters import FTFYFormatter
from datatrove.utils import word_tokenizers

SENTENCE_END = re.compile(r"""[.!?]["'\u201d\u2019\u00bb)\]]*(?=\s|$)""")


class Repair:
    """Its formatter as a filter that changes the text and drops nothing."""

    def __init__(self):
        self._formatter = FTFYFormatter()

    def filter(self, document):
        document.text = self._formatter.format(document.text)
        return True


KINDS = {
    "repair_unicode": Repair,
    "gopher_repetition": GopherRepetitionFilter,
    "gopher_quality": GopherQualityFilter,
    "c4_lines": C4QualityFilter,
    "fineweb_quality": FineWebQualityFilter,
}


class Whitespace:
    """Words are what `str.split` gives, and sentences end at SENTENCE_END."""

    def word_tokenize(self, text):
        return text.split()

    def span_tokenize(self, text):
        ends = [found.end() for found in SENTENCE_END.finditer(text)] or [len(text)]
        return [(0, end) for end in ends]


def decide(filters, text):
    """The name of the first filter that drops a text, its reason, and the text that is left."""
    document = Document(text=text, id="")
    for name, one in filters.items():
        result = one.filter(document)
        if result is not True:
            return [name, result[1]]
    return document.text if document.text != text else None


def main(path, words):
    """Decide about every document, by each filter alone and by all of them, one after the other."""
    if words == "white_space":
        word_tokenizers.load_word_tokenizer = lambda _: Whitespace()
    with open(path, encoding="utf-8") as file:
        texts = [json.loads(line) for line in file]
    filters = {name: kind() for name, kind in KINDS.items()}
    decide(filters, texts[0])  # loads the tokenizer
    started = time.perf_counter()
    together = [decide(filters, text) for text in texts]
    seconds = time.perf_counter() - started
    alone = {name: [decide({name: one}, text) for text in texts] for name, one in filters.items()}
    print(json.dumps({"alone": alone, "together": together, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
