"""Stop when too much of the input is bad: judged in every unit as it reads, and over all units in their order."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from maskmill.pipeline.corpus.formats.document_block import ADVICE
from maskmill.pipeline.corpus.name_content import advise_on_content
from maskmill.pipeline.corpus.quarantine import Example
from maskmill.schemas.errors import InputDataError

CHECK_EVERY_DOCUMENTS = 1000
MIN_QUARANTINED_TO_STOP_EARLY = 20  # one bad line in a first file of ten lines says little about a corpus
MAX_DENSITY_RATIO = 16  # documents per byte of text in the unread part, over those in the part read
_UNFINISHED = -1
REASON = "quarantined: "
"""Prefix of the counts of single reasons."""
Examples = Callable[[Collection[str]], Mapping[str, Example]]
"""Gives the first rejected input of each of some reasons, for the message."""


def _no_examples(_: Collection[str]) -> dict[str, Example]:
    return {}


class UnitGuard:
    """Stops a unit as soon as it alone shows that the whole corpus will be refused; see `check_quarantined`.

    Args:
        limit: Share of documents that may be quarantined.
        total_bytes: Assumed bytes of text of the whole corpus.
    """

    def __init__(self, limit: float, total_bytes: int) -> None:
        self._limit = limit
        self._total_bytes = total_bytes
        self._bytes_before = 0
        self._next_check = CHECK_EVERY_DOCUMENTS

    def finish_file(self, num_bytes: int) -> None:
        """Note that a file of so many assumed bytes of text was read to its end."""
        self._bytes_before += num_bytes

    def check(self, counts: Counter[str], bytes_of_file: float, examples: Mapping[str, Example]) -> None:
        """Check what the unit has read so far.

        Args:
            counts: As `check_quarantined` takes them.
            bytes_of_file: Assumed bytes of text read of the file that is open.
            examples: The first that was rejected for each reason.

        Raises:
            InputDataError: With every reason.
        """
        if counts["read"] < self._next_check:
            return
        self._next_check = counts["read"] + CHECK_EVERY_DOCUMENTS
        bytes_read = self._bytes_before + bytes_of_file
        check_quarantined(counts, bytes_read, self._total_bytes, self._limit, lambda _: examples)


class CorpusGuard:
    """Stops the map stage when too much of what it reads is bad.

    The first k units in their order are judged, for every k, whichever units finish first: so every engine and every
    repetition comes to the same decision.

    Args:
        limit: Share of documents that may be quarantined.
        unit_bytes: Assumed bytes of text of each unit, in their order.
        standing: Numbers and counts of units that were finished before, in their order.
        examples: Gives what the message names.

    Raises:
        InputDataError: The units finished before already have too many bad documents.
    """

    def __init__(
        self,
        limit: float,
        unit_bytes: Sequence[int],
        standing: Iterable[tuple[int, Mapping[str, int]]],
        examples: Examples = _no_examples,
    ) -> None:
        self._limit = limit
        self._examples = examples
        self._unit_bytes = unit_bytes
        self._total_bytes = sum(unit_bytes)
        self._read = array("q", [_UNFINISHED]) * len(unit_bytes)
        self._waiting: dict[int, dict[str, int]] = {}  # what finished units have rejected, where they did
        self._counts = Counter[str]()
        self._bytes = self._next = 0
        for unit, counts in standing:
            self.finish_unit(unit, counts)

    def finish_unit(self, unit: int, counts: Mapping[str, int]) -> None:
        """Add a finished unit.

        Raises:
            InputDataError: With every reason.
        """
        self._read[unit] = counts.get("read", 0)
        if counts.get("quarantined"):
            self._waiting[unit] = {
                name: count for name, count in counts.items() if name == "quarantined" or name.startswith(REASON)
            }
        self._judge()

    def _judge(self) -> None:
        while self._next < len(self._read) and self._read[self._next] != _UNFINISHED:
            self._counts["read"] += self._read[self._next]
            self._counts.update(self._waiting.pop(self._next, {}))
            self._bytes += self._unit_bytes[self._next]
            self._next += 1
            check_quarantined(self._counts, self._bytes, self._total_bytes, self._limit, self._examples)


def check_quarantined(
    counts: Counter[str], bytes_read: float, total_bytes: int, limit: float, examples: Examples = _no_examples
) -> None:
    """Stop when the quarantined documents exceed their share of all that the corpus can be expected to hold.

    Before the end, the number of documents is estimated from those read so far, per byte of text. Files differ, so
    unless more than half of what was read is bad, as with a wrong `text_field`, the rest is assumed to have 16 times as
    many documents per byte: a corpus within its limit is not refused for a first file of few long documents.

    Args:
        counts: `read`, `quarantined` and `quarantined: <reason>` so far.
        bytes_read: Assumed bytes of text those documents came from. Before the end of the corpus nothing is
            concluded from fewer than 20 rejected ones.
        total_bytes: The same of the whole corpus.
        limit: Share of documents that may be quarantined.
        examples: Gives where a person may look at one of each reason.

    Raises:
        InputDataError: With every reason.
    """
    bad = counts["quarantined"]
    if bytes_read < total_bytes and limit and bad < MIN_QUARANTINED_TO_STOP_EARLY:
        return
    unread = max(0.0, total_bytes / max(1.0, bytes_read) - 1)
    denser = 1 if 2 * bad > counts["read"] else MAX_DENSITY_RATIO
    expected = counts["read"] * (1 + denser * unread)
    if bad <= limit * expected:
        return
    reasons = sorted(count_reasons(counts).items(), key=lambda item: (-item[1], item[0]))
    seen = examples([reason for reason, _ in reasons])
    said = [f"{count} {reason}" + (f" (first {seen[reason]})" if reason in seen else "") for reason, count in reasons]
    first = next((str(seen[reason]) for reason, _ in reasons if reason in seen), None)
    raise InputDataError(
        "too much of the input is bad",
        path="input.max_quarantined",
        place=f"first at {first}" if first else None,
        expected=f"at most {limit:.4g} of all documents quarantined",
        found=f"{bad} of the first {counts['read']}: {', '.join(said)}",
        action=_find_advice(seen)
        or (ADVICE.get(reasons[0][0]) if reasons else None)
        or "look at quarantine/, check input.text_field and the files, or raise input.max_quarantined",
    )


def _find_advice(examples: Mapping[str, Example]) -> str | None:
    """Advice for the first file among the examples that does not match its name, such as gzip under `.jsonl`."""
    advice = (advise_on_content(example.path, example.start) for example in examples.values())
    return next(filter(None, advice), None)


def count_reasons(counts: Mapping[str, int]) -> dict[str, int]:
    """How many were quarantined for each reason, by name."""
    return {name.removeprefix(REASON): count for name, count in sorted(counts.items()) if name.startswith(REASON)}
