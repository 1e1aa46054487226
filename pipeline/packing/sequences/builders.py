"""The table of sequence builders, by what the run file calls them."""

from __future__ import annotations

from maskmill.pipeline.packing.sequences.full_sentences import place_full_sentences
from maskmill.pipeline.packing.sequences.next_sentence import place_next_sentence
from maskmill.pipeline.packing.sequences.placed import Builder
from maskmill.pipeline.packing.sequences.segments import place_documents, place_segments
from maskmill.pipeline.packing.sequences.sentence_order import place_sentence_order
from maskmill.schemas.run_file import PackSection, Pairs, Sequences

BUILDERS: dict[Sequences | Pairs, Builder] = {
    Sequences.SEGMENT: place_segments,
    Sequences.DOC_SENTENCES: place_segments,  # which cuts at sentences where they are known
    Sequences.FULL_SENTENCES: place_full_sentences,
    Sequences.DOCUMENT: place_documents,
    Pairs.NSP: place_next_sentence,
    Pairs.SOP: place_sentence_order,
}


def find_builder(pack: PackSection) -> Builder:
    """The builder that a run file asks for."""
    return BUILDERS[pack.pairs or pack.sequences]
