"""Take lines that are no sentences out of documents, as C4 does.

The rules are those of C4's code (arXiv 1910.10683, section 2.2), without its list of bad words.
"""

from __future__ import annotations

import re

from maskmill.pipeline.corpus.filters.decision import Changed, Decision, Dropped
from maskmill.pipeline.corpus.filters.filtered_text import FilteredText
from maskmill.schemas.filters import C4LinesFilter

END_MARKS = (".", "?", "!", '"', "'")
ELLIPSIS = "..."
CITATION = re.compile(r"\[(?:\d*|edit|citation needed)\]")
SENTENCE_END = re.compile(r"""[.!?]["'\u201d\u2019\u00bb)\]]*(?=\s|$)""")
POLICY = re.compile("terms of use|(?:privacy|cookie) policy|uses cookies|use (?:of )?cookies")


def drop_c4_lines(document: FilteredText, settings: C4LinesFilter) -> Decision:
    """Keep the lines that are sentences; drop the document where they are too few, or look like code or filler."""
    kept: list[str] = []
    sentences = 0
    for raw in document.text.splitlines():
        line = _keep_line(raw.strip(), settings)
        if line is None:
            continue
        lower = line.lower()
        if settings.lorem_ipsum and "lorem ipsum" in lower:
            return Dropped("lorem ipsum")
        if settings.javascript and "javascript" in lower:
            continue
        if settings.curly_bracket and "{" in line:
            return Dropped("curly bracket")
        if settings.policy and POLICY.search(lower):
            continue
        sentences += count_sentences(line)
        kept.append(line)
    if sentences < settings.min_sentences:
        return Dropped("too few sentences")
    text = "\n".join(kept).strip()
    if not text:
        return Dropped("no line is left")
    return None if text == document.text else Changed(text)


def _keep_line(line: str, settings: C4LinesFilter) -> str | None:
    """The line without its citations; `None` if it is no sentence. Words are those before citations are taken out."""
    limit = settings.max_word_length
    if len(line) > limit and any(len(word) > limit for word in line.split()):
        return None
    stripped = CITATION.sub("", line) if settings.citations and "[" in line else line
    if settings.end_mark and (not stripped.endswith(END_MARKS) or stripped.endswith(ELLIPSIS)):
        return None
    least = settings.min_words
    return stripped if not least or len(line.split(None, least - 1)) >= least else None


def count_sentences(line: str) -> int:
    """Sentences of a line, of which it has at least one."""
    return max(1, sum(1 for _ in SENTENCE_END.finditer(line)))
