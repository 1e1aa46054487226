"""Try the filters of a run on a sample of its documents, and say what they do; nothing is written to the output."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from maskmill.pipeline.corpus.filters.check_filters import check_filters
from maskmill.pipeline.corpus.filters.evaluation_index import EvaluationIndex, open_index
from maskmill.pipeline.corpus.filters.table import Passage, pass_through
from maskmill.pipeline.corpus.formats.table import iter_documents
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.list_inputs import InputTable, list_tables
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.pipeline.corpus.read_evaluation import index_evaluation, list_evaluation
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.events import DroppedExample, DroppedReason, FiltersInspected, InspectedFilter
from maskmill.schemas.printable import make_printable
from maskmill.schemas.run_file import FiltersSection, InputSection, RunFile
from maskmill.schemas.wording import count_of

EXAMPLES = 3
"""Of each reason."""
EXCERPT = 100
"""Characters of an example."""
MAX_FILES = 200
"""Files that are opened."""


def inspect_filters(settings: RunFile, documents: int) -> FiltersInspected:
    """Pass a sample through the filters: the same documents for the same files and number.

    The sample is made of the beginnings of up to 200 files, evenly spread over the list, as many documents of each as
    it has of the text of these files.

    Raises:
        ConfigError: The run file has no filter, or names what is not there.
        InputDataError: A file cannot be read.
    """
    enabled = {name for filters in settings.all_filters for name, _ in filters.enabled()}
    names = [name for name in FiltersSection.model_fields if name in enabled]
    if not names:
        raise ConfigError(
            "the run file has no filter",
            path="filters",
            expected="at least one table, such as [filters.length]",
            action="see the guide's chapter on filters",
        )
    for filters in settings.all_filters:
        check_filters(filters)
    tables = [InputTable(table.paths, table.name, table.format) for table in settings.input]
    files = list_tables(tables, lambda _: None)
    sampled = plan_sample([file.assumed_text_bytes for file in files], documents)
    evaluation = _index_evaluation(settings)
    for filters in settings.all_filters:
        pass_through("Nothing is measured yet.", "", filters, evaluation)  # loads models and kernels
    tried = _Tried(names)
    for number, wanted in sampled.items():
        table = files[number].table
        filters, read = settings.all_filters[table], settings.input[table]
        tried.read_seconds -= time.process_time()
        for doc_id, source, text in _read_beginning(files[number], wanted, read, tried):
            tried.read_seconds += time.process_time()
            tried.filter_seconds -= time.process_time()
            passage = pass_through(text, source, filters, evaluation)
            tried.filter_seconds += time.process_time()
            tried.add(doc_id, source, text, passage)
            tried.read_seconds -= time.process_time()
        tried.read_seconds += time.process_time()
    return tried.summarise(files, len(sampled))


def plan_sample(sizes: Sequence[int], documents: int) -> dict[int, int]:
    """Documents to take of each file that is opened, by its number: at least one, else in proportion to its size."""
    number = min(len(sizes), MAX_FILES, documents)
    chosen = [place * len(sizes) // number for place in range(number)]
    total = max(1, sum(sizes[file] for file in chosen))
    spare = documents - number
    return {file: 1 + -(-sizes[file] * spare // total) for file in chosen}


def _read_beginning(
    file: InputFile, wanted: int, settings: InputSection, tried: _Tried
) -> Iterator[tuple[str, str, str]]:
    with OpenInput(file) as opened:
        for block in iter_documents(file, opened, settings):
            tried.quarantined += len(block.rejects)
            for doc_id, source, text in zip(block.doc_id, block.source, block.text, strict=True):
                yield doc_id, source, text.decode()
                wanted -= 1
                if not wanted:
                    return


def _index_evaluation(settings: RunFile) -> EvaluationIndex | None:
    own = settings.filters.decontamination
    if own is None:
        return None
    evaluation = list_evaluation(settings.filters)
    with tempfile.TemporaryDirectory(prefix="maskmill-inspect-") as folder:
        store = open_store(folder)
        return open_index(store, index_evaluation(store, evaluation.files, evaluation.digest, own))


@dataclass
class _Tried:
    """What has become of the documents so far."""

    names: list[str]
    documents: int = 0
    quarantined: int = 0
    text_bytes: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    examples: dict[str, list[DroppedExample]] = field(default_factory=dict)
    read_seconds: float = 0.0
    filter_seconds: float = 0.0

    def add(self, doc_id: str, source: str, text: str, passage: Passage) -> None:
        self.documents += 1
        self.text_bytes += len(text.encode())
        self.seen.update(passage.seen_by)
        self.changed.update(passage.changed_by)
        if passage.dropped is None:
            self.kept[source] += 1
            return
        self.dropped.setdefault(passage.dropped, Counter())[source] += 1
        examples = self.examples.setdefault(passage.dropped, [])
        if len(examples) < EXAMPLES:
            shown = passage.matches[0].around if passage.matches else text
            doc_id, source, excerpt = (make_printable(one, EXCERPT) for one in (doc_id, source, shown))
            examples.append(DroppedExample(doc_id=doc_id, source=source, excerpt=excerpt))

    def summarise(self, files: Sequence[InputFile], sampled_files: int) -> FiltersInspected:
        corpus_bytes = sum(file.assumed_text_bytes for file in files)
        seconds = self.read_seconds + self.filter_seconds
        return FiltersInspected(
            files=len(files),
            sampled_files=sampled_files,
            documents=self.documents,
            kept=self.kept.total(),
            kept_by_source=dict(sorted(self.kept.items())),
            quarantined=self.quarantined,
            text_bytes=self.text_bytes,
            filters=tuple(self._iter_filters()),
            read_seconds=round(self.read_seconds, 3),
            filter_seconds=round(self.filter_seconds, 3),
            corpus_bytes=corpus_bytes,
            estimated_seconds=round(seconds * corpus_bytes / max(1, self.text_bytes), 1),
        )

    def _iter_filters(self) -> Iterator[InspectedFilter]:
        for name in self.names:
            own = {reason: by for reason, by in self.dropped.items() if reason.partition(":")[0] == name}
            reasons = tuple(
                DroppedReason(
                    reason=reason.partition(": ")[2],
                    documents=by.total(),
                    by_source=dict(sorted(by.items())),
                    examples=tuple(self.examples[reason]),
                )
                for reason, by in sorted(own.items(), key=lambda item: (-item[1].total(), item[0]))
            )
            dropped = sum(reason.documents for reason in reasons)
            yield InspectedFilter(
                name=name, seen=self.seen[name], changed=self.changed[name], dropped=dropped, reasons=reasons
            )


def describe_inspected(inspected: FiltersInspected) -> list[str]:
    """What the filters do, in lines for people."""
    documents = max(1, inspected.documents)
    rejected = f", {inspected.quarantined:,} more are quarantined" if inspected.quarantined else ""
    where = f"the beginnings of {inspected.sampled_files:,} of {count_of(inspected.files, 'file')}"
    kept = f"{inspected.kept:,} stay, {inspected.kept / documents:.1%}"
    lines = [f"{count_of(inspected.documents, 'document')} from {where}{rejected}; {kept}"]
    for own in inspected.filters:
        changed = f", {own.changed:,} changed" if own.changed else ""
        lines.append(f"{own.name}: {own.dropped:,} of {own.seen:,} dropped{changed}")
        for reason in own.reasons:
            sources = ", ".join(
                f"{make_printable(name, EXCERPT)} {count:,}" for name, count in reason.by_source.items()
            )
            lines.append(f"  {reason.reason}: {reason.documents:,} ({sources})")
            lines += [f"    {example.doc_id}: {example.excerpt}" for example in reason.examples]
    pace = inspected.text_bytes / 1e6 / max(inspected.filter_seconds, 1e-3)
    lines.append(
        f"filters {pace:.1f} MB/s on one core; reading and filtering all, about {inspected.corpus_bytes / 1e6:,.0f} MB "
        f"of text, takes one core some {inspected.estimated_seconds:,.0f} s"
    )
    return lines
