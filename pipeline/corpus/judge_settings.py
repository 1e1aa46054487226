"""Find settings of a run that matched nothing in its text: an error if the run cannot continue, else a warning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from maskmill.pipeline.corpus.exchange import EMPTY_FILES, MISNAMED_FILES, WITHOUT_ID, WITHOUT_SOURCE
from maskmill.pipeline.corpus.exchange_index import ExchangeTotals
from maskmill.pipeline.corpus.filters import table as filters
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.judge_quarantine import count_reasons
from maskmill.pipeline.corpus.source_tally import REASON
from maskmill.schemas.errors import ConfigError, InputDataError
from maskmill.schemas.run_file import DocumentsSection, InputSection, key_in_section
from maskmill.schemas.wording import count_of


def check_documents_left(totals: ExchangeTotals, num_files: int, documents: DocumentsSection) -> None:
    """Stop a run that has no document to train on.

    Args:
        totals: What the map stage counted.
        num_files: Files it read.
        documents: How much is held out.

    Raises:
        InputDataError: The files hold no document, or all of them are quarantined.
        ConfigError: Filters drop every document, or all that they leave are held out.
    """
    counts = totals.counts
    read, quarantined, filtered = (counts.get(name, 0) for name in ("read", "quarantined", filters.FILTERED))
    if not read:
        raise InputDataError(
            "the inputs contain no document",
            path="input.paths",
            expected="at least one document",
            found=f"{count_of(num_files, 'file')} without one",
            action="check the files",
        )
    if read == quarantined:
        reasons = ", ".join(f"{count} {reason}" for reason, count in count_reasons(counts).items())
        raise InputDataError(
            "every document is quarantined",
            path="input.paths",
            expected="at least one document to train on",
            found=f"{quarantined} of {read}: {reasons}",
            action="look at quarantine/, and check input.text_field and the files",
        )
    if read == quarantined + filtered:
        found = ", ".join(f"{count} {reason}" for reason, count in filters.count_by(REASON, counts).items())
        raise ConfigError(
            "every document is filtered",
            path="filters",
            expected="at least one document to train on",
            found=f"{filtered} of {read}: {found}",
            action="loosen the filter that drops most, or leave it out",
        )
    kept = read - quarantined - filtered
    if not totals.text_bytes[0]:
        raise ConfigError(
            "every document is held out",
            path="documents.held_out",
            expected="at least one document to train on",
            found=f"{kept} of {kept} documents held out at {documents.held_out:g}",
            action="lower it, or give another documents.seed",
        )


def iter_unmatched(
    totals: ExchangeTotals, inputs: Sequence[InputFile], tables: Sequence[InputSection], documents: DocumentsSection
) -> Iterator[str]:
    """Warnings about each setting that matched nothing, or less than it should."""
    for number, settings in enumerate(tables):
        yield from _iter_unmatched_keys(totals.tables.get(number, Counter()), number, inputs, settings)
    counts = totals.counts
    kept = counts["read"] - counts.get("quarantined", 0)
    if empty := counts.get(EMPTY_FILES, 0):
        yield f"{empty:,} of {len(inputs):,} input files contain no document, the first is {totals.first_empty}"
    if misnamed := counts.get(MISNAMED_FILES, 0):
        others = count_of(misnamed - 1, "more file is", "more files are")
        yield totals.first_misnamed + (f"; {others} not what the name says" if misnamed > 1 else "")
    if documents.held_out and not totals.text_bytes[1]:
        left = kept - counts.get(filters.FILTERED, 0)
        yield (
            f"documents.held_out = {documents.held_out:g} holds out 0 of {left:,} documents, so there is nothing to "
            "evaluate on: raise it, or set it to 0"
        )


def _iter_unmatched_keys(
    counts: Mapping[str, int], number: int, inputs: Sequence[InputFile], settings: InputSection
) -> Iterator[str]:
    kept = counts.get("read", 0) - counts.get("quarantined", 0)
    if settings.source_field is not None:
        sources = {file.source for file in inputs if file.table == number}
        default = repr(sources.pop()) if len(sources) == 1 else "the last folder of their pattern"
        otherwise = f"their source is {default}"
        name = key_in_section(number, "source_field")
        yield from _warn_of_key(name, settings.source_field, counts, WITHOUT_SOURCE, kept, otherwise)
    if settings.id_field is not None:
        name, otherwise = key_in_section(number, "id_field"), "their ids are <path>#<line>"
        yield from _warn_of_key(name, settings.id_field, counts, WITHOUT_ID, kept, otherwise)


def _warn_of_key(
    name: str, key: str, counts: Mapping[str, int], count: str, kept: int, otherwise: str
) -> Iterator[str]:
    without = counts.get(count, 0)
    if not without:
        return
    if without < kept:
        yield f"input.{name} = {key!r}: {without:,} of {kept:,} documents lack this key; {otherwise}"
        return
    yield (
        f"input.{name} = {key!r}: 0 of {kept:,} documents have this key; {otherwise}. Check the key; one "
        "inside another is joined to it by a dot"
    )
