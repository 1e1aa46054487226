"""All filters with their defaults on one core, beside datatrove's with the same thresholds, and its decisions.

Ours must decide as datatrove does, document for document, by each filter alone and by all of them one after the other,
where words and sentences are counted alike. It splits words with a tokenizer for each language; a line says how many
documents that decides otherwise.

`language` is measured beside the library that it takes its model from: datatrove's filter downloads models of fastText.
`decontamination`, whose counterpart there needs lighteval's data sets, is measured alone.
"""

from __future__ import annotations

import json
import os
from typing import Any

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from maskmill.pipeline.corpus.filters.decision import Changed, Decision, Dropped
from maskmill.pipeline.corpus.filters.evaluation_index import open_index, write_index
from maskmill.pipeline.corpus.filters.language_model import LOOKED_AT, load_language_model
from maskmill.pipeline.corpus.filters.table import filter_text, pass_through
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.filters import FiltersSection
from tests.benchmarks.measuring import Figure, find_all_texts, read_texts, seconds_of
from tests.benchmarks.peers import DATATROVE, PeerUnavailableError, ask_peer

NAMES = ("repair_unicode", "gopher_repetition", "gopher_quality", "c4_lines", "fineweb_quality")
BYTES_OF_CORPUS = 300_000


def measure(scratch: str) -> list[Figure]:
    """MB/s of text, and the share of the documents that are decided otherwise."""
    paths, name = find_all_texts(scratch)
    texts = [text for path in paths for text in read_texts(path, BYTES_OF_CORPUS) if text]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    all_filters = FiltersSection.model_validate({name: {} for name in NAMES})
    ours = [_describe(filter_text(text, "", all_filters)) for text in texts]  # compiles
    pace = megabytes / seconds_of(lambda: [filter_text(text, "", all_filters) for text in texts], repeats=3)
    documents = os.path.join(scratch, "documents.jsonl")
    with open(documents, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(text) + "\n" for text in texts)
    figures = []
    for words, how in (("white_space", "the same words"), ("own", "its own words")):
        work = f"{len(NAMES)} filters, {len(texts):,} documents of {name}"
        try:
            theirs = ask_peer(DATATROVE, documents, words)
        except PeerUnavailableError as error:
            figures.append(Figure(work, pace, f"{DATATROVE.title}, {how}", str(error), "MB/s"))
            continue
        figures.append(Figure(work, pace, f"{DATATROVE.title}, {how}", megabytes / theirs["seconds"], "MB/s"))
        differing = _count_differing(texts, ours, theirs)
        if words == "white_space":
            assert not any(differing.values()), f"decided otherwise: {differing}"
        for filter_name, number in differing.items():
            work = f"documents that {filter_name} decides otherwise"
            figures.append(Figure(work, 100 * number / len(texts), f"{DATATROVE.title}, {how}", "", "%"))
    return [*figures, *_measure_alone(texts, megabytes, scratch)]


def _measure_alone(texts: list[str], megabytes: float, scratch: str) -> list[Figure]:
    """MB/s of the filters that datatrove cannot be asked for."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    found = [load_language_model().find_language(text) for text in texts]  # compiles
    theirs = [identifier.classify(text[:LOOKED_AT])[0] for text in texts]
    assert [one and one.language for one in found] == theirs, "other languages than py3langid's"
    ours = seconds_of(lambda: [load_language_model().find_language(text) for text in texts], repeats=3)
    library = seconds_of(lambda: [identifier.classify(text[:LOOKED_AT]) for text in texts], repeats=1)
    store = open_store(scratch)
    questions = [(0, " ".join(text.split()[:40])) for text in texts[::7]]
    index = open_index(store, write_index(store, questions, ["questions"], 13, 8))
    settings = FiltersSection.model_validate({"decontamination": {"paths": ["questions.jsonl"]}})
    dropped = sum(pass_through(text, "", settings, index).dropped is not None for text in texts)
    assert dropped >= sum(len(text.split()) >= 13 for text in texts[::7])
    compared = seconds_of(lambda: [pass_through(text, "", settings, index) for text in texts], repeats=3)
    return [
        Figure(f"language, {len(texts):,} documents", megabytes / ours, "py3langid 0.4.0", megabytes / library, "MB/s"),
        Figure(f"decontamination, {len(questions):,} questions", megabytes / compared, "", "", "MB/s"),
    ]


def _count_differing(texts: list[str], ours: list[Any], theirs: dict[str, Any]) -> dict[str, int]:
    """Documents of which the decision is another one, by each filter alone and by all together."""
    found = {"any of them": sum(map(_differ, ours, theirs["together"]))}
    for name in NAMES:
        one = FiltersSection.model_validate({name: {}})
        alone = [_describe(filter_text(text, "", one)) for text in texts]
        found[name] = sum(map(_differ, alone, theirs["alone"][name]))
    return found


def _differ(ours: Any, theirs: Any) -> bool:
    """Whether a document is dropped by another filter, or left with another text; reasons have other names."""
    return (ours[:1] if isinstance(ours, list) else ours) != (theirs[:1] if isinstance(theirs, list) else theirs)


def _describe(decision: Decision) -> list[str] | str | None:
    if isinstance(decision, Dropped):
        return decision.reason.split(": ")
    return decision.text if isinstance(decision, Changed) else None
