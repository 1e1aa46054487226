"""Law 1 over all filters: what is read is what stays and what is filtered, by reason and by source."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.corpus.filters import table
from maskmill.pipeline.corpus.filters.document_match import DocumentMatch
from maskmill.pipeline.corpus.filters.evaluation_index import open_index, write_index
from maskmill.pipeline.corpus.formats.document_block import DocumentBlock
from maskmill.pipeline.corpus.source_tally import REASON, SourceTally
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.counts import DocumentCounts
from maskmill.schemas.filters import FiltersSection

EVALUATION = "How many words are needed to answer the question of the committee?"
ALL = {
    "repair_unicode": {"unescape_html": True},
    "regex": {"drop": {"*": ["(?i)lorem"]}, "drop_lines": {"a": ["^menu$"]}},
    "length": {"min_words": 2, "max_words": 200},
    "language": {"keep": ["en", "de"]},
    "gopher_repetition": {},
    "gopher_quality": {"min_words": 3, "min_stop_words": 1},
    "c4_lines": {"min_sentences": 1},
    "fineweb_quality": {"short_line": 5, "max_lines_per_word": 0.5},
    "decontamination": {"paths": ["evaluation.jsonl"]},
}
sentences = st.sampled_from(
    [
        "The committee has agreed that the report should be published.",
        "They have to be there with all of the others and that is it.",
        "Der Ausschuss hat beschlossen, dass der Bericht veröffentlicht wird.",
        "Le comité a décidé que le rapport devait être publié.",
        "schÃ¶n war the time that we have had.",
        "menu",
        "{ lorem ipsum }",
        "\ufeff",
        "caf&eacute;",
        "• one",
        EVALUATION,
        EVALUATION.upper(),
        "日本語の文章です。",
    ]
)
documents = st.builds("\n".join, st.lists(sentences, min_size=1, max_size=6)) | st.text(min_size=1, max_size=30)
filters = st.sets(st.sampled_from(list(ALL)), min_size=1).map(
    lambda names: FiltersSection.model_validate({name: ALL[name] for name in names})
)


@given(st.lists(st.tuples(documents, st.sampled_from(["a", "b"])), max_size=12), filters)
def test_every_document_stays_or_is_counted_once(read: list[tuple[str, str]], settings: FiltersSection) -> None:
    store = open_store("memory://law-1")
    place = write_index(store, [(0, EVALUATION)], ["evaluation.jsonl"], 13, 8)
    index = open_index(store, place)
    counts, sources, matches = Counter[str](), SourceTally(), list[DocumentMatch]()
    block = DocumentBlock(
        doc_id=[f"d{number}" for number in range(len(read))],
        source=[source for _, source in read],
        line=list(range(1, len(read) + 1)),
        text=[text.encode() for text, _ in read],
        is_numbered=[False] * len(read),
        without_source=0,
    )
    kept = table.filter_block(block, settings, counts, sources, index, matches)
    passages = [table.pass_through(text, source, settings, index) for text, source in read]
    assert [text.decode() for text in kept.text] == [one.text for one in passages if one.dropped is None]
    assert all(kept.text)
    assert len(kept.text) + counts[table.FILTERED] == len(read)
    manifest = DocumentCounts(  # refuses what does not add up
        read=len(read),
        written=len(kept.text),
        held_out=0,
        duplicates=0,
        quarantined=0,
        quarantined_by_reason={},
        filtered=counts[table.FILTERED],
        filtered_by_reason=table.count_by(REASON, counts),
        repaired=counts[table.REPAIRED],
        contaminated=counts[table.CONTAMINATED],
        contaminated_by_file=table.count_by(table.CONTAMINATED_BY, counts),
        evaluation_texts={"evaluation.jsonl": 1},
    )
    dropped = Counter(source for (_, source), one in zip(read, passages, strict=True) if one.dropped)
    tallied = sources.tallied().counts
    assert {name: own[table.FILTERED] for name, own in tallied.items() if table.FILTERED in own} == dict(dropped)
    assert manifest.filtered_by_reason == dict(Counter(one.dropped for one in passages if one.dropped))
    assert len(matches) == manifest.contaminated == sum(bool(one.matches) for one in passages)
    enabled = {name for name, _ in settings.enabled()}
    assert {reason.partition(":")[0] for reason in manifest.filtered_by_reason} <= enabled
    if "decontamination" in enabled:
        assert not any(index.find(text.decode()) for text in kept.text)
