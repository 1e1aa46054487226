"""The table of filters, and how a document passes through those that are on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from maskmill.pipeline.corpus.filters.c4_lines import drop_c4_lines
from maskmill.pipeline.corpus.filters.decision import Changed, Decision, Dropped, Match
from maskmill.pipeline.corpus.filters.decontamination import decontaminate
from maskmill.pipeline.corpus.filters.document_match import MAX_MATCHES, DocumentMatch
from maskmill.pipeline.corpus.filters.evaluation_index import EvaluationIndex
from maskmill.pipeline.corpus.filters.filtered_text import FilteredText
from maskmill.pipeline.corpus.filters.fineweb_quality import judge_fineweb_quality
from maskmill.pipeline.corpus.filters.gopher_quality import judge_gopher_quality
from maskmill.pipeline.corpus.filters.gopher_repetition import judge_gopher_repetition
from maskmill.pipeline.corpus.filters.language import judge_language
from maskmill.pipeline.corpus.filters.length import judge_length
from maskmill.pipeline.corpus.filters.regex import judge_by_regex
from maskmill.pipeline.corpus.filters.repair_unicode import repair_unicode
from maskmill.pipeline.corpus.formats.document_block import DocumentBlock
from maskmill.pipeline.corpus.source_tally import LANGUAGE, REASON, SourceTally
from maskmill.schemas.filters import FiltersSection

Item = TypeVar("Item")

FILTERS: dict[str, Callable[[FilteredText, Any], Decision]] = {
    "repair_unicode": repair_unicode,
    "regex": judge_by_regex,
    "length": judge_length,
    "language": judge_language,
    "gopher_repetition": judge_gopher_repetition,
    "gopher_quality": judge_gopher_quality,
    "c4_lines": drop_c4_lines,
    "fineweb_quality": judge_fineweb_quality,
    "decontamination": decontaminate,
}
"""Each filter by its name in the run file: a pure function of a document and its own settings."""
FILTERED = "filtered"
REPAIRED = "repaired"
"""Documents that `repair_unicode` has changed, whatever became of them afterwards."""
CONTAMINATED = "contaminated"
"""Documents that share text with evaluation files, dropped or trimmed."""
CONTAMINATED_BY = "contaminated by: "
"""Prefix of the counts of single evaluation files; a document may share text with several."""
PREFIXES = (REASON, CONTAMINATED_BY)


@dataclass
class Passage:
    """How a document passed through the filters.

    Attributes:
        text: The text as the last filter has left it.
        dropped: The filter that dropped it and its reason; `None` if it stays.
        changed_by: The filters that changed the text.
        matches: What it shares with each evaluation file.
        seen_by: The filters that have looked at it.
        language: The language that `language` has found.
    """

    text: str
    dropped: str | None = None
    changed_by: list[str] = field(default_factory=list)
    matches: tuple[Match, ...] = ()
    seen_by: list[str] = field(default_factory=list)
    language: str | None = None


def pass_through(
    text: str, source: str, settings: FiltersSection, evaluation: EvaluationIndex | None = None
) -> Passage:
    """Pass one text through the filters that are on, up to the first that drops it."""
    passage = Passage(text)
    document = FilteredText(text, source, evaluation)
    for name, own in settings.enabled():
        passage.seen_by.append(name)
        decision = FILTERS[name](document, own)
        passage.language = passage.language or document.language
        if decision is None:
            continue
        passage.matches = passage.matches or decision.matches
        if isinstance(decision, Dropped):
            passage.dropped = f"{name}: {decision.reason}"
            break
        passage.changed_by.append(name)
        passage.text = decision.text
        document = FilteredText(decision.text, source, evaluation)
    return passage


def filter_text(text: str, source: str, settings: FiltersSection) -> Decision:
    """Pass one text through the filters that are on.

    Returns:
        The first reason to drop it, with the filter's name, or the text as the last filter has left it.
    """
    passage = pass_through(text, source, settings)
    if passage.dropped is not None:
        return Dropped(passage.dropped)
    return None if passage.text is text else Changed(passage.text)


def filter_block(
    block: DocumentBlock,
    settings: FiltersSection,
    counts: Counter[str],
    sources: SourceTally,
    evaluation: EvaluationIndex | None = None,
    matches: list[DocumentMatch] | None = None,
) -> DocumentBlock:
    """The documents of a block that no filter drops; counts the others, and notes what is shared with evaluation text.

    Args:
        block: The documents.
        settings: The filters.
        counts: Where documents are counted.
        sources: The same by source.
        evaluation: The evaluation text.
        matches: Where what is shared with it is added, for a bounded number of documents.
    """
    kept: list[int] = []
    texts: list[bytes] = []
    for row, text in enumerate(block.text):
        source = block.source[row]
        passage = pass_through(text.decode(), source, settings, evaluation)
        if "repair_unicode" in passage.changed_by:
            counts[REPAIRED] += 1
            sources.of(source)[REPAIRED] += 1
        if passage.language is not None:
            sources.of(source)[f"{LANGUAGE}{passage.language}"] += 1
        if passage.matches:
            counts[CONTAMINATED] += 1
            for match in passage.matches:
                counts[f"{CONTAMINATED_BY}{match.file}"] += 1
                if matches is not None and len(matches) < MAX_MATCHES:
                    line = block.line[row] if block.is_numbered[row] else 0
                    matches.append(DocumentMatch.of(block.doc_id[row], source, match, line))
        if passage.dropped is not None:
            count_dropped(counts, sources, passage.dropped, source)
            continue
        kept.append(row)
        texts.append(passage.text.encode() if passage.changed_by else text)
    if len(kept) == len(block.text):
        block.text = texts
        return block
    return block.take(kept, texts)


def count_dropped(counts: Counter[str], sources: SourceTally, reason: str, source: str) -> None:
    """Count a document that is dropped, by the filter and its reason, and by its source."""
    for own in (counts, sources.of(source)):
        own[FILTERED] += 1
        own[f"{REASON}{reason}"] += 1


def count_by(prefix: str, counts: Mapping[str, int]) -> dict[str, int]:
    """The counts whose names begin with a prefix, sorted, without the prefix."""
    return {name.removeprefix(prefix): count for name, count in sorted(counts.items()) if name.startswith(prefix)}
