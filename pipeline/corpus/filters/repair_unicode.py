"""Repair text whose characters were broken on the way, with `ftfy`.

`ftfy` takes a text line by line. Here lines that it would not change are passed over; all others are its own work.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

from maskmill.pipeline.corpus.filters.decision import Changed, Decision, Dropped
from maskmill.pipeline.corpus.filters.filtered_text import FilteredText
from maskmill.pipeline.corpus.filters.libraries import import_library
from maskmill.schemas.filters import RepairUnicodeFilter

NOT_PLAIN = re.compile(r"[^\t\n\f -%'-~]")
"""What plain text does not have: ASCII without `&`, which entities begin with, and without control characters."""
ALWAYS_CHANGED = "\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u206a-\u206f\ud800-\udfff\ufeff\ufff9-\ufffc"
"""Controls and surrogates, as a range of an expression. Whatever is not plain and not here is left as it is, unless it
looks like mojibake or a key asks for more."""
SUSPECT = re.compile(
    "[^\x00-\x7f\u0410-\u044f\u2e80-\ud7ff][^\x00-\x7f]|[^\x00-\x7f][^\x00-\x7f\u0410-\u044f\u2e80-\ud7ff]|[Œœ]|[ÂÃ] "
)
"""What every text has that `is_bad` of `ftfy` 6.3.1 finds: two characters beyond ASCII that follow each other, of which
one is no Russian letter and not Chinese, Japanese or Korean, or one of four letters. Most lines of clean text have
none, and `is_bad` took four fifths of the time."""
QUOTES = "\u02bc\u2018-\u201f"
WIDE = "\u3000\uff00-\uffff"
LIGATURES = "\u0132\u0133\u0149\u01f1-\u01f3\u01c4-\u01cc\ufb00-\ufb06"
BREAKS = "\r\u0085\u2028\u2029"
MAX_LINE = 1_000_000
"""Longer lines are cut there, as `ftfy` does by default."""


def repair_unicode(document: FilteredText, settings: RepairUnicodeFilter) -> Decision:
    """Repair a text; drop it if nothing of it is left."""
    text = document.text
    if not NOT_PLAIN.search(text):
        return None
    repaired = repair_text(text, settings)
    if not repaired:
        return Dropped("no text is left")
    return None if repaired == text else Changed(repaired)


def repair_text(text: str, settings: RepairUnicodeFilter) -> str:
    """What `ftfy.fix_text` makes of a text."""
    ftfy, is_bad = import_library("repair_unicode", "ftfy"), import_library("repair_unicode", "ftfy.badness").is_bad
    config, changed = _configure(settings)
    parts: list[str] = []
    start = 0
    while start < len(text):
        stop = (text.find("\n", start) + 1) or len(text)
        line = text[start : min(stop, start + MAX_LINE)]
        start += len(line)
        if config.unescape_html and "<" in line:  # HTML from here on, whose entities stay
            config, changed = config._replace(unescape_html=False), _find_changed(settings, entities=False)
        is_odd = changed.search(line) or (SUSPECT.search(line) and is_bad(line))
        if is_odd or not _is_normal(line, settings):
            line = ftfy.fix_and_explain(line, config).text
        parts.append(line)
    return "".join(parts)


def _is_normal(line: str, settings: RepairUnicodeFilter) -> bool:
    return settings.normalization is None or unicodedata.is_normalized(settings.normalization, line)


@cache
def _configure(settings: RepairUnicodeFilter) -> tuple[Any, re.Pattern[str]]:
    """The settings as `ftfy` takes them, and the characters that they change.

    Explanations are on although nobody reads them: without them `ftfy` 6.3 ignores some of the settings.
    """
    config = import_library("repair_unicode", "ftfy").TextFixerConfig(
        unescape_html="auto" if settings.unescape_html else False,
        fix_latin_ligatures=settings.latin_ligatures,
        fix_character_width=settings.character_width,
        uncurl_quotes=settings.straight_quotes,
        fix_line_breaks=settings.line_breaks,
        normalization=settings.normalization,
        max_decode_length=MAX_LINE,
    )
    return config, _find_changed(settings, entities=settings.unescape_html)


@cache
def _find_changed(settings: RepairUnicodeFilter, *, entities: bool) -> re.Pattern[str]:
    """An expression for every character that may be changed wherever it is."""
    ranges = (
        (ALWAYS_CHANGED, True),
        ("&", entities),
        (QUOTES, settings.straight_quotes),
        (WIDE, settings.character_width),
        (LIGATURES, settings.latin_ligatures),
        (BREAKS, settings.line_breaks),
    )
    return re.compile(f"[{''.join(part for part, is_on in ranges if is_on)}]")
