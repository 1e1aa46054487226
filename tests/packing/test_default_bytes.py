"""The bytes of the default way to pack, worked out in plain Python: they may not change by accident."""

from __future__ import annotations

import hashlib

import numpy as np

from maskmill.pipeline.packing.cutting.token_columns import TokenColumns
from maskmill.pipeline.packing.fitting.lower_bound import lower_bound_l2
from maskmill.pipeline.packing.rows.assemble_rows import SpecialIds, assemble_rows
from maskmill.pipeline.packing.sequences.plan_rows import plan_rows
from maskmill.schemas.run_file import PackSection
from tests.packing.cutting.test_split_documents import expected_stops
from tests.packing.fitting.test_best_fit import pack_plainly
from tests.packing.rows.test_order_rows import key_plainly

SEQ_LEN, MIN_SEGMENT, SHARD, SEED = 64, 16, 3, 11
PAD, CLS, SEP, FIRST_CONTINUATION, VOCABULARY = 0, 1, 2, 700, 1000
GOLDEN = "70ddcf65600b15d3ac4190fe9c76d149e2c955cc224878b708d809cc50f0e874"


def make_documents() -> list[list[int]]:
    """400 documents of up to 203 tokens by a linear congruential generator; each begins with a word."""
    state = 12345
    documents = []
    for _ in range(400):
        state = (state * 1_103_515_245 + 12_345) % 2**31
        document = []
        for _ in range((state >> 8) % (204 if state >> 20 & 3 == 0 else 40)):
            state = (state * 1_103_515_245 + 12_345) % 2**31
            document.append(5 + (state >> 8) % (VOCABULARY - 5))
        documents.append(document)
    return documents


def digest(columns: list[list[int]], types: list[str]) -> str:
    found = hashlib.sha256()
    for column, dtype in zip(columns, types, strict=True):
        width = int(dtype[1:]) // 8
        found.update(b"".join(value.to_bytes(width, "little") for value in column))
    return found.hexdigest()


def pack_by_hand(documents: list[list[int]]) -> list[list[int]]:
    """The columns of the packed shard: ids, lengths, list offsets, documents and starts."""
    pieces = []  # document, start, tokens
    for number, document in enumerate(documents):
        word_starts = {place for place, token in enumerate(document) if token < FIRST_CONTINUATION}
        start = 0
        for stop in expected_stops(len(document), word_starts, SEQ_LEN - 2, MIN_SEGMENT):
            pieces.append((number, start, document[start:stop]))
            start = stop
    lengths = [len(tokens) + 2 for _, _, tokens in pieces]
    rows = pack_plainly(lengths, SEQ_LEN)
    assert max(rows) + 1 == lower_bound_l2(np.array(lengths), SEQ_LEN)  # else another packing would be looked for
    held: dict[int, list[int]] = {}
    for index in sorted(range(len(pieces)), key=lambda index: -lengths[index]):
        held.setdefault(rows[index], []).append(index)

    def key(row: list[int]) -> tuple[int, int, int]:
        document, start, _ = pieces[row[0]]
        return (key_plainly(SHARD << 32 | document, start, SEED), document, start)

    ids, list_offsets, placed = [], [0], []
    for row in sorted(held.values(), key=key):
        written = [token for index in row for token in (CLS, *pieces[index][2], SEP)]
        ids += written + [PAD] * (SEQ_LEN - len(written))
        placed += row
        list_offsets.append(len(placed))
    documents_placed = [SHARD << 32 | pieces[index][0] for index in placed]
    starts_placed = [pieces[index][1] for index in placed]
    return [ids, list_offsets, [lengths[index] for index in placed], documents_placed, starts_placed]


def test_the_default_rows_are_those_worked_out_by_hand_to_the_byte() -> None:
    documents = make_documents()
    types = ["u16", "i32", "u16", "u64", "u32"]
    assert digest(pack_by_hand(documents), types) == GOLDEN

    ids = np.array([token for document in documents for token in document], np.uint16)
    offsets = np.cumsum([0, *map(len, documents)], dtype=np.int64)
    is_continuation = np.arange(VOCABULARY) >= FIRST_CONTINUATION
    columns = TokenColumns(ids, offsets, is_continuation)
    pack = PackSection(seq_len=SEQ_LEN, min_segment=MIN_SEGMENT)
    plan = plan_rows(columns, pack)[SEQ_LEN]
    rows = assemble_rows(columns, plan, SpecialIds(CLS, SEP, PAD, np.uint16), document_shard=SHARD, seed=SEED)
    sequences, segments = rows.sequence_lengths, rows.segment_lengths
    assert sequences.offsets.tobytes() == segments.offsets.tobytes()
    assert sequences.values.tobytes() == segments.values.tobytes()
    columns = (rows.input_ids, segments.offsets, segments.values, rows.segment_document.values)
    found = hashlib.sha256(b"".join(column.tobytes() for column in (*columns, rows.segment_offset.values)))
    assert found.hexdigest() == GOLDEN
