"""Rows are read as they were written, and every value that is out of its range is refused with its row."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.storage.datasets import read_manifest
from maskmill.pipeline.storage.packed_blocks import PackedBlock, PackedBlocks
from maskmill.pipeline.storage.shard_table import ShardTable, read_shard_table
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.rows import Compression
from tests.loader.datasets import read_stored_rows, write_dataset
from tests.storage.crafted import SEGMENTS, Message, offsets_of, values_of
from tests.storage.damaged_rows import DAMAGE, Change, cut_values, move_a_value, poke, poke_offset

Read = Callable[[bytes], PackedBlock]


def open_dataset(folder: str) -> tuple[PackedManifest, ShardTable, bytes]:
    """Manifest, table, and the first block of the first shard."""
    store = open_store(folder)
    manifest = read_manifest(store, PackedManifest)
    table = read_shard_table(store, manifest)
    return manifest, table, store.read_range(table.path(0), int(table.block_offsets[0]), int(table.block_lengths[0]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("packed"))
    write_dataset(folder)
    return folder


@pytest.mark.parametrize("name", DAMAGE)
def test_a_block_that_is_not_as_it_may_be_is_refused_by_name(folder: str, name: str) -> None:
    change, words = DAMAGE[name]
    manifest, _, data = open_dataset(folder)
    message = Message(data)
    change(message)
    with pytest.raises(ShardCorruptError, match=f"^shard, block 0.*({words})"):
        PackedBlocks(manifest).read(
            bytes(message.data), xxhash.xxh3_64_intdigest(bytes(message.data)), 4, "shard", 0, copies=(0, 1)
        )


BITS, LIST_OF_BITS = 5, 2
"""The buffer and the node of the word starts, behind those of the ids."""


@pytest.mark.parametrize("copies", [0, 2])
@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize(("seq_len", "pairs"), [(32, None), (37, None), (47, "nsp")])
def test_word_starts_are_read_as_other_programs_read_them(
    tmp_path: Path, copies: int, compression: Compression, seq_len: int, pairs: str | None
) -> None:
    """Rows of any length: those of the bits begin in the middle of a byte."""
    write_dataset(
        f"{tmp_path}/d", words=True, copies=copies, compression=compression, seq_len=seq_len, pairs=pairs, block_rows=3
    )
    manifest, table, data = open_dataset(f"{tmp_path}/d")
    reader = PackedBlocks(manifest)
    block = reader.read(data, int(table.block_checksums[0]), 3, "shard", 0, range(copies))
    reader.read_by_arrow(data, 3, "shard", 0)
    stored = pa.ipc.open_file(f"{tmp_path}/d/{table.path(0)}").read_all().slice(0, 3)
    assert block.word_starts is not None
    assert block.word_starts.tolist() == stored["word_starts"].to_pylist()
    assert block.input_ids.tolist() == stored["input_ids"].to_pylist()
    assert block.sequences.values_of(1)["sequence_lengths"].tolist() == stored["sequence_lengths"][1].as_py()
    assert len(data) <= reader.most_bytes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.set_buffer(BITS, size=4 * 32 // 8 - 1), "column word_starts: a buffer is shorter"),
        (lambda m: m.set_buffer(BITS, size=0), "column word_starts: a buffer is shorter"),
        (lambda m: m.set_buffer(BITS, offset=1 << 40), "a buffer lies outside the body"),
        (lambda m: m.set_node(LIST_OF_BITS + 1, length=1 << 40), "column word_starts: .*differ in length"),
        (lambda m: m.set_node(LIST_OF_BITS + 1, length=4 * 32 - 8), "column word_starts: .*differ in length"),
        (lambda m: m.set_node(LIST_OF_BITS + 1, nulls=1), "a column has nulls"),
    ],
)
def test_word_starts_that_are_not_there_are_refused(tmp_path: Path, change: Change, words: str) -> None:
    write_dataset(f"{tmp_path}/d", words=True)
    manifest, _, data = open_dataset(f"{tmp_path}/d")
    message = Message(data)
    change(message)
    with pytest.raises(ShardCorruptError, match=f"^shard, block 0.*({words})"):
        PackedBlocks(manifest).read(
            bytes(message.data), xxhash.xxh3_64_intdigest(bytes(message.data)), 4, "shard", 0, copies=(0, 1)
        )


def test_a_manifest_that_promises_word_starts_or_conceals_them_reads_no_block(tmp_path: Path, folder: str) -> None:
    write_dataset(f"{tmp_path}/d", words=True)
    for url, segmenter in ((f"{tmp_path}/d", None), (folder, "dice 6")):
        manifest, table, data = open_dataset(url)
        vocabulary = manifest.vocabulary.model_copy(update={"segmenter": segmenter})
        with pytest.raises(ShardCorruptError, match=r"^shard, block 0"):
            PackedBlocks(manifest.model_copy(update={"vocabulary": vocabulary})).read(
                data, int(table.block_checksums[0]), 4, "shard", 0
            )


SEQUENCE_LABELS = 5
"""The column that only datasets of pairs have, after those of segments."""


def lengthen_a_pair(message: Message) -> None:
    """The second segment of a sequence takes all but three places of the next sequence's first one."""
    bounds = [message.peek(offsets_of(SEGMENTS), "i", row) for row in range(5)]
    lengths = [message.peek(values_of(SEGMENTS), "H", place) for place in range(bounds[-1])]
    first = next(start for start, stop in pairwise(bounds) if stop - start > 2 and lengths[start + 2] > 3)
    second, third = lengths[first + 1 : first + 3]
    message.poke(values_of(SEGMENTS), "H", first + 1, second + third - 3)
    message.poke(values_of(SEGMENTS), "H", first + 2, 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (poke(SEQUENCE_LABELS, "B", 0, 2), "row 0: .*a value of sequence_labels is not below 2"),
        (poke(SEQUENCE_LABELS, "B", -1, 255), "a value of sequence_labels is not below 2"),
        (move_a_value(SEQUENCE_LABELS), "not every sequence has a value in every column"),
        (poke_offset(SEQUENCE_LABELS, 4, 1 << 30), "is invalid"),
        (cut_values(SEQUENCE_LABELS), "a buffer is shorter than its values"),
        (lengthen_a_pair, "a sequence is not a pair of segments"),
    ],
)
def test_a_block_whose_pairs_are_not_as_they_may_be_is_refused(tmp_path: Path, change: Change, words: str) -> None:
    write_dataset(str(tmp_path), pairs="nsp", seed=2)
    manifest, table, data = open_dataset(str(tmp_path))
    found = PackedBlocks(manifest).read(data, int(table.block_checksums[0]), 4, "shard", 0)
    assert len(found.sequences.values["sequence_labels"]) == len(found.sequences.values["sequence_lengths"]) > 4
    message = Message(data)
    change(message)
    with pytest.raises(ShardCorruptError, match=f"^shard, block 0.*({words})"):
        PackedBlocks(manifest).read(bytes(message.data), xxhash.xxh3_64_intdigest(bytes(message.data)), 4, "shard", 0)


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("vocab_size", [300, 70_000])
def test_what_is_written_is_read(tmp_path: Path, compression: Compression, vocab_size: int) -> None:
    folder = str(tmp_path)
    write_dataset(folder, compression=compression, vocab_size=vocab_size)
    manifest, table, data = open_dataset(folder)
    block = PackedBlocks(manifest).read(data, int(table.block_checksums[0]), 4, "shard", 0, copies=(1,))
    stored = read_stored_rows(folder)
    assert block.input_ids.dtype == (np.uint16 if vocab_size == 300 else np.uint32)
    assert block.input_ids.tolist() == [stored[row].input_ids for row in range(4)]
    lists = np.split(block.sequences.values["sequence_lengths"], block.sequences.offsets[1:-1])
    assert [one.tolist() for one in lists] == [stored[row].sequence_lengths for row in range(4)]
    assert block.masks.keys() == {1}
    rows = np.repeat(np.arange(4), np.diff(block.masks[1].offsets))
    masks = block.masks[1].values
    assert np.array_equal(masks["mask_labels"], block.input_ids[rows, masks["mask_positions"]])
    assert len(data) <= PackedBlocks(manifest).most_bytes


def test_a_block_has_the_compression_that_the_manifest_says(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), compression=Compression.ZSTD)
    manifest, table, data = open_dataset(str(tmp_path))
    for other in (Compression.NONE, Compression.LZ4):
        blocks = PackedBlocks(manifest.model_copy(update={"compression": other}))
        with pytest.raises(ShardCorruptError, match="its compression differs from the dataset"):
            blocks.read(data, int(table.block_checksums[0]), 4, "shard", 0)


@settings(max_examples=200, deadline=None)
@given(
    buffer=st.integers(3, 3 + 4 * 4),
    offsets=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 40)), max_size=2),
    change=st.sampled_from(["", "length", "offset", "size"]),
    value=st.integers(-2, 40) | st.sampled_from([-8, 1 << 20, 1 << 31, 1 << 40]),
)
def test_what_is_read_without_arrow_is_what_arrow_accepts(
    folder: str, buffer: int, offsets: list[tuple[int, int]], change: str, value: int
) -> None:
    """Changed offsets, lengths and places: what is accepted, Arrow validates in full, and both see the same."""
    manifest, _, data = open_dataset(folder)
    message = Message(data)
    for index, offset in offsets:
        message.poke(buffer, "i", index, offset)
    if change == "length":
        message.set_node((buffer - 3) // 2 + 2, length=value)
    elif change:
        message.set_buffer(buffer, **{change: value})
    changed = bytes(message.data)
    try:
        found = PackedBlocks(manifest).read(changed, xxhash.xxh3_64_intdigest(changed), 4, "shard", 0, copies=(0, 1))
    except ShardCorruptError:
        return
    batch = pa.ipc.read_record_batch(pa.ipc.read_message(changed), PackedBlocks(manifest).schema)
    batch.validate(full=True)
    lists = np.split(found.segments.values["segment_lengths"], found.segments.offsets[1:-1])
    assert batch.column("segment_lengths").to_pylist() == [one.tolist() for one in lists]
    assert batch.column("input_ids").to_pylist() == found.input_ids.tolist()


def test_whatever_bit_of_the_metadata_is_flipped_arrow_reads_what_is_accepted(folder: str) -> None:
    """Also in bytes that nobody needs: `verify` has Arrow read every block, and must not refuse what a loader takes."""
    manifest, _, data = open_dataset(folder)
    reader = PackedBlocks(manifest)
    undisturbed = reader.read(data, xxhash.xxh3_64_intdigest(data), 4, "shard", 0)
    num_accepted = 0
    for bit in range(8 * Message(data).body):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            block = reader.read(bytes(changed), xxhash.xxh3_64_intdigest(bytes(changed)), 4, "shard", 0)
        except ShardCorruptError:
            continue
        reader.read_by_arrow(bytes(changed), 4, "shard", 0)
        assert np.array_equal(block.input_ids, undisturbed.input_ids)
        num_accepted += 1
    assert num_accepted  # of the padding
