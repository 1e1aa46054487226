"""The counts of a corpus are those of `tokenizers`, source by source, however its documents lie in shards."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitDescription
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.counting import count_stage, merge_stage
from maskmill.pipeline.wordpiece.counting.count_stage import (
    COUNT,
    CountContext,
    count_document_words,
    has_one_source,
    plan_count_units,
    sum_sources,
)
from maskmill.pipeline.wordpiece.counting.counted_words import WORD_PARTITIONS
from maskmill.pipeline.wordpiece.counting.merge_stage import (
    GATHER,
    GATHERED_PARTITIONS,
    MERGE,
    MergeDetails,
    check_words_kept,
    iter_merged,
    plan_gather_units,
    plan_merge_units,
)
from maskmill.pipeline.wordpiece.counting.word_counts import SourceText, WordCounts, write_word_counts
from maskmill.pipeline.wordpiece.counting.word_files import WordFile
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.schemas.documents import DOCUMENT_SCHEMA
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.receipt import Receipt
from tests.wordpiece.any_texts import any_texts, count_by_tokenizers
from tests.wordpiece.letter_oracle import count_letters

Document = tuple[str, str]
"""Source and text."""
_STORES = count()


@pytest.fixture
def stores() -> Iterator[list[Store]]:
    """Stores made by a test, in this process's memory; emptied after it."""
    made: list[Store] = []
    yield made
    for store in made:
        store.delete_tree("")


def make_context(stores: list[Store], **settings: object) -> CountContext:
    stores.append(Store(f"memory://count-stage-{next(_STORES)}"))
    return CountContext(stores[-1], **{"normalisation": Normalisation(), **settings})


def write_shards(context: CountContext, shards: Sequence[Sequence[Document]]) -> list[tuple[str, str]]:
    """Write document shards of two-document blocks; returns the path and checksum of each."""
    written = []
    for number, documents in enumerate(shards):
        rows = [{"doc_id": f"{row}", "source": source, "text": text} for row, (source, text) in enumerate(documents)]
        batches = pa.Table.from_pylist(rows, DOCUMENT_SCHEMA).to_batches(2)
        receipt = write_blocks(context.output, f"documents/shard-{number:05d}.arrow", DOCUMENT_SCHEMA, batches)
        written.append((receipt.path, receipt.checksum))
    return written


def run_units(
    stage: Stage[CountContext, Any, Any], context: CountContext, units: Sequence[UnitDescription]
) -> list[Receipt[Any]]:
    """Run units; returns their receipts, as they are read."""
    receipts = []
    for unit in units:
        outcome = stage.function(context, unit)
        receipt = Receipt[stage.details](
            stage=unit.stage, unit=unit.unit, description="", counts=outcome.counts, details=outcome.details
        )
        receipts.append(Receipt[stage.details].model_validate_json(receipt.model_dump_json()))
    return receipts


def count_corpus(
    context: CountContext,
    shards: Sequence[tuple[str, str]],
    between: Callable[[str, list[Receipt[Any]]], None] = lambda *_: None,
) -> tuple[SourceText, ...]:
    """Count, gather and merge; returns the sources. `between` is told of each stage that has ended."""
    counted = run_units(COUNT, context, plan_count_units(shards))
    sources = sum_sources(counted)
    assert sum(receipt.counts["words"] for receipt in counted) == sum(source.words for source in sources)
    assert sum(receipt.counts["text_bytes"] for receipt in counted) == sum(source.text_bytes for source in sources)
    between("count", counted)
    one_source = has_one_source(sources)
    gather_units = plan_gather_units((WordFile.of(receipt.details) for receipt in counted), len(counted), one_source)
    gathered = run_units(GATHER, context, gather_units)
    between("gather", gathered)
    files = [WordFile.of(receipt.details) for receipt in gathered or counted]
    merge_units = plan_merge_units(files, one_source, gathered=bool(gathered))
    merged = run_units(MERGE, context, merge_units)
    check_words_kept(sources, merged)
    between("merge", merged)
    return sources


def iter_standing(context: CountContext) -> Iterator[pa.Table]:
    """The existing merged partitions."""
    paths = [path for path in context.output.list(context.folder) if "/merged-" in path]
    return iter_merged(context, [xxhash.xxh3_128_hexdigest(context.output.read_bytes(path)) for path in paths])


def read_merged(context: CountContext) -> dict[tuple[str, str], int]:
    """Every (word, source) and its count; sorted by (word, source) in each partition, and in one partition alone."""
    counts: dict[tuple[str, str], int] = {}
    partition_of: dict[str, int] = {}
    partitions = list(iter_standing(context))
    assert len(partitions) in (WORD_PARTITIONS, GATHERED_PARTITIONS)
    for number, table in enumerate(partitions):
        rows = table.to_pylist()
        keys = [(row["word"].encode(), row["source"].encode()) for row in rows]
        assert keys == sorted(set(keys))
        assert all(partition_of.setdefault(row["word"], number) == number for row in rows)
        counts |= {(row["word"], row["source"]): row["count"] for row in rows}
    return counts


def count_directly(documents: Sequence[Document], normalisation: Normalisation) -> dict[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for source, text in documents:
        for word, number in count_by_tokenizers([text], normalisation).items():
            counts[word, source] += number
    return dict(counts)


def describe_directly(documents: Sequence[Document], normalisation: Normalisation) -> tuple[SourceText, ...]:
    described = []
    for source in sorted({source for source, _ in documents}, key=str.encode):
        texts = [text for name, text in documents if name == source]
        letters, letters_changed, words_changed = count_letters(texts, normalisation)
        described.append(
            SourceText(
                source=source,
                text_bytes=sum(len(text.encode()) for text in texts),
                words=sum(count_by_tokenizers(texts, normalisation).values()),
                letters=letters,
                letters_changed=letters_changed,
                words_changed=words_changed,
            )
        )
    return tuple(described)


_documents = st.lists(st.tuples(st.sampled_from(["web", "", "b\u00fccher", "\U0001f4da", "a"]), any_texts), max_size=12)


@settings(max_examples=25, deadline=None)
@given(st.lists(_documents, max_size=4), st.sampled_from([1, 3, 1 << 20]), st.booleans(), st.booleans())
def test_counts_are_those_of_tokenizers_source_by_source(
    shards: list[list[Document]], max_words: int, lowercase: bool, gathers: bool
) -> None:
    stores: list[Store] = []
    normalisation = Normalisation(lowercase)
    context = make_context(stores, normalisation=normalisation, max_words=max_words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_stage, "FILES_GATHERED", 2 if gathers else 256)
        patch.setattr(merge_stage, "GATHERED_PARTITIONS", WORD_PARTITIONS)
        sources = count_corpus(context, write_shards(context, shards))
    documents = [document for shard in shards for document in shard]
    assert sources == describe_directly(documents, normalisation)
    assert read_merged(context) == count_directly(documents, normalisation)
    stores[0].delete_tree("")


def make_documents() -> list[Document]:
    rng = random.Random(0)
    words = [f"w{number}" for number in range(300)] + ["caf\u00e9", "\u4e2d\u6587", "don't", "\ud55c\uad6d"]
    return [(rng.choice("abc"), " ".join(rng.choices(words, k=40))) for _ in range(60)]


def write_bytes_of(context: CountContext, sources: tuple[SourceText, ...]) -> bytes:
    checksum = write_word_counts(
        context.output,
        "word_counts.parquet",
        iter_standing(context),
        corpus="c",
        normalisation=context.normalisation,
        sources=sources,
    )
    data = context.output.read_bytes("word_counts.parquet")
    assert xxhash.xxh3_128_hexdigest(data) == checksum
    return data


def test_neither_the_order_of_documents_nor_memory_nor_gathering_changes_a_byte(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = make_documents()
    shuffled = random.Random(1).sample(documents, len(documents))
    written = set()
    for shards, max_words, files_gathered in [
        ([documents], 1 << 20, 256),
        ([documents[::-1]], 1 << 20, 256),
        ([shuffled[:7], shuffled[7:50], [], shuffled[50:]], 1 << 20, 256),
        ([shuffled[:20], shuffled[20:]], 50, 256),
        ([[document] for document in documents], 1 << 20, 7),
        ([[document] for document in shuffled], 64, 7),
    ]:
        monkeypatch.setattr(merge_stage, "FILES_GATHERED", files_gathered)
        monkeypatch.setattr(merge_stage, "GATHERED_PARTITIONS", WORD_PARTITIONS)
        context = make_context(stores, max_words=max_words)
        sources = count_corpus(context, write_shards(context, shards))
        written.add(write_bytes_of(context, sources))
    assert len(written) == 1
    found = WordCounts.open(context.output, "word_counts.parquet")
    assert found.sources == sources
    assert found.num_partitions == WORD_PARTITIONS


def test_no_unit_holds_more_words_than_it_may(stores: list[Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_stage, "FILES_GATHERED", 1)
    context = make_context(stores, max_words=100)
    texts = [" ".join(f"w{number}" for number in range(start, start + 250)) for start in range(0, 2000, 250)]
    shards = write_shards(context, [[("a", text) for text in texts], [("a", text) for text in texts]])
    count_corpus(context, shards)
    for path in (context.count_path(0), merge_stage.gathered_path(context, 0)):
        reader = pa.ipc.open_file(pa.BufferReader(context.output.read_bytes(path)))
        sizes = [reader.get_batch(index).num_rows for index in range(reader.num_record_batches)]
        rounds = [sum(sizes[start : start + WORD_PARTITIONS]) for start in range(0, len(sizes), WORD_PARTITIONS)]
        assert max(rounds) <= 100
        assert sum(rounds) == 2000
    assert read_merged(context) == {(f"w{number}", "a"): 2 for number in range(2000)}


@pytest.mark.parametrize("in_one_shard", [True, False])
@pytest.mark.parametrize("num_sources", [5, 6])
@pytest.mark.parametrize("files_gathered", [1, 256])
def test_more_sources_than_are_kept_apart_are_one(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch, in_one_shard: bool, num_sources: int, files_gathered: int
) -> None:
    monkeypatch.setattr(count_stage, "MAX_SOURCES", 5)
    monkeypatch.setattr(merge_stage, "FILES_GATHERED", files_gathered)
    documents = [(f"s{number % num_sources}", f"word w{number} \u00e9") for number in range(12)]
    shards = [documents, documents[:1]] if in_one_shard else [documents[start : start + 3] for start in range(0, 12, 3)]
    everything = [document for shard in shards for document in shard]
    context = make_context(stores)
    sources = count_corpus(context, write_shards(context, shards))
    if num_sources > 5:
        everything = [("", text) for _, text in everything]
    assert sources == describe_directly(everything, Normalisation())
    assert has_one_source(sources) == (num_sources > 5)
    assert read_merged(context) == count_directly(everything, Normalisation())


def test_a_shard_of_too_many_sources_is_counted_as_one(stores: list[Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count_stage, "MAX_SOURCES", 2)
    for num_sources in (2, 3):
        context = make_context(stores)
        units = plan_count_units(write_shards(context, [[(f"s{number}", "a b") for number in range(num_sources)]]))
        details = count_document_words(context, units[0]).details
        assert details.one_source == (num_sources > 2)
        assert details.sources == (
            [("s0", 3, 2, 2, 0, 0), ("s1", 3, 2, 2, 0, 0)] if num_sources == 2 else [("", 9, 6, 6, 0, 0)]
        )


def test_an_empty_corpus_has_empty_counts(stores: list[Store]) -> None:
    for shards in ([], [[]], [[("a", "")]]):
        context = make_context(stores)
        sources = count_corpus(context, write_shards(context, shards))
        assert read_merged(context) == {}
        assert [source.source for source in sources] == ["a"] * len([1 for shard in shards if shard])
        write_bytes_of(context, sources)
        assert WordCounts.open(context.output, "word_counts.parquet").num_rows == 0


def test_another_normalisation_is_counted_beside_the_first(stores: list[Store]) -> None:
    uncased = make_context(stores)
    shards = write_shards(uncased, [[("a", "Word word W\u00f6rd")]])
    cased = CountContext(uncased.output, Normalisation(lowercase=False), folder="work/words-cased")
    count_corpus(uncased, shards)
    count_corpus(cased, shards)
    assert read_merged(uncased) == {("word", "a"): 3}
    assert read_merged(cased) == {("Word", "a"): 1, ("word", "a"): 1, ("W\u00f6rd", "a"): 1}


def test_a_shard_that_changed_is_not_counted(stores: list[Store]) -> None:
    context = make_context(stores)
    ((path, checksum),) = write_shards(context, [[("a", "some words")]])
    data = context.output.read_bytes(path)
    context.output.write_bytes(path, data.replace(b"some", b"same"))
    with pytest.raises(ShardCorruptError, match="bytes of a file have changed"):
        count_document_words(context, plan_count_units([(path, checksum)])[0])


def test_words_lost_on_the_way_are_noticed() -> None:
    def receipt(words: int) -> Receipt[MergeDetails]:
        details = MergeDetails(checksum="")
        return Receipt[MergeDetails](stage="merge", unit=0, description="", counts={"words": words}, details=details)

    sources = [SourceText("a", 0, 7, 0, 0, 0), SourceText("b", 0, 5, 0, 0, 0)]
    check_words_kept(sources, [receipt(3), receipt(9)])
    with pytest.raises(ShardCorruptError, match=r"12 words; found 11; delete"):
        check_words_kept(sources, [receipt(3), receipt(8)])


def test_every_file_is_gathered_once_and_every_partition_merged_once() -> None:
    shards = [("a.arrow", "1"), ("b.arrow", "2")]
    units = plan_count_units(shards)
    assert [(unit.stage, unit.unit, unit.path, unit.checksum) for unit in units] == [
        ("count", 0, "a.arrow", "1"),
        ("count", 1, "b.arrow", "2"),
    ]
    for num_files in (0, 1, 255, 256, 257, 512, 513, 160_000):
        files = [WordFile(str(number), ((number, 1, 1),) * WORD_PARTITIONS) for number in range(min(num_files, 600))]
        files += files[:1] * (num_files - len(files))
        gather = plan_gather_units(iter(files), num_files, one_source=True)
        assert len(gather) == (-(-num_files // 256) if num_files > 256 else 0)
        covered = [(unit.first_file + at, checksum) for unit in gather for at, checksum in enumerate(unit.checksums)]
        assert covered == ([(number, file.checksum) for number, file in enumerate(files)] if gather else [])
        assert all(unit.stage == "gather" and unit.one_source for unit in gather)
    for gathered, num_partitions in ((True, GATHERED_PARTITIONS), (False, WORD_PARTITIONS)):
        files = [
            WordFile("", tuple((file, number, 1) for number in range(rounds * num_partitions)))
            for file, rounds in ((0, 2), (1, 1))
        ]
        merge = plan_merge_units(files, True, gathered=gathered)
        assert [unit.unit for unit in merge] == list(range(num_partitions))
        assert {(unit.stage, unit.num_partitions, unit.gathered, unit.one_source) for unit in merge} == {
            ("merge", num_partitions, gathered, True)
        }
        assert [unit.files for unit in merge] == [
            (((0, number, 1), (0, num_partitions + number, 1)), ((1, number, 1),)) for number in range(num_partitions)
        ]


@pytest.mark.parametrize("stage", ["count", "gather", "merge"])
def test_a_flipped_bit_between_stages_is_found(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Any bit of a word, a source or a count: without a checksum the vocabulary would be another, and nobody told."""
    monkeypatch.setattr(
        "maskmill.pipeline.wordpiece.counting.merge_stage.FILES_GATHERED", 1 if stage == "gather" else 256
    )
    context = make_context(stores)
    shards = write_shards(context, [[("here", "gruntle " * 771 + "other")], [("there", "gruntle again")]])
    name = {"count": "count-", "gather": "gathered-", "merge": "merged-"}[stage]
    for pattern in (b"gruntle", b"here", (771).to_bytes(8, "little")):

        def flip(ended: str, receipts: list[Receipt[Any]], pattern: bytes = pattern) -> None:
            if ended != stage:
                return
            for path in context.output.list(context.folder):
                data = bytearray(context.output.read_bytes(path))
                if name in path and pattern in data:
                    data[data.index(pattern)] ^= 1
                    context.output.write_bytes(path, bytes(data))
                    break
            else:
                raise AssertionError(pattern)
            if stage == "merge":
                list(iter_merged(context, [receipt.details.checksum for receipt in receipts]))

        with pytest.raises(
            ShardCorruptError,
            match=f"/{name}.*the words that a unit wrote are gone or have changed; delete .*work/receipts",
        ):
            count_corpus(context, shards, flip)


def test_blocks_that_are_slices_are_read_from_where_they_begin(stores: list[Store]) -> None:
    context = make_context(stores)
    documents = [(f"s{number % 3}", f"left{number} " * number) for number in range(9)]
    shards = write_shards(context, [documents])
    count_corpus(context, shards)
    expected = {(f"left{number}", f"s{number % 3}"): number for number in range(1, 9)}
    assert read_merged(context) == expected
    assert sum(np.fromiter(expected.values(), np.int64)) == 36
