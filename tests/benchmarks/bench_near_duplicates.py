"""Near duplicates on one core, from signatures to clusters, beside datatrove's; and planted ones that are found.

The planted ones are edits of real documents, whose words at random places are replaced by others so that the Jaccard
similarity of the shingles is about that of the table. The share that is found must be within two points of the formula
of the bands, and nearly all that is found must be planted.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa

from maskmill.pipeline.corpus.near_duplicates.match_stage import match_records
from maskmill.pipeline.corpus.near_duplicates.records import Records
from maskmill.pipeline.corpus.near_duplicates.sign_stage import list_bands
from maskmill.pipeline.corpus.near_duplicates.signatures import Permutations
from maskmill.pipeline.run.prepare import prepare
from maskmill.schemas.events import RunEvent, StageDone
from maskmill.schemas.near_duplicates import NearDuplicatesSection
from tests.benchmarks.measuring import Figure, find_all_texts, read_texts
from tests.benchmarks.peers import DATATROVE, PeerUnavailableError, ask_peer
from tests.corpus.near_duplicates.plain_minhash import plant_edit, split_words

BYTES_OF_CORPUS = 1_000_000
MAX_PAIRS = 4000
SIMILARITIES = (0.6, 0.7, 0.75, 0.8, 0.9)
MIN_WORDS, MAX_WORDS = 100, 2000
STAGES = ("sign", "match", "join", "locate")
PEER = replace(DATATROVE, script="peer_datatrove_minhash")


def measure(scratch: str) -> list[Figure]:
    """MB/s of text, and the shares of planted near duplicates."""
    paths, name = find_all_texts(scratch)
    return [*_measure_pace(paths, name, scratch), *_measure_planted(paths, name)]


def _measure_pace(paths: list[str], name: str, scratch: str) -> list[Figure]:
    texts = [text for path in paths for text in read_texts(path, BYTES_OF_CORPUS) if text]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    documents, lines = (os.path.join(scratch, f"near-{kind}.jsonl") for kind in ("texts", "documents"))
    for path, values in ((documents, texts), (lines, [{"text": text} for text in texts])):
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(value) + "\n" for value in values)
    _seconds_of_stages([lines], scratch)  # compiles
    part = megabytes / min(_seconds_of_stages([lines], scratch) for _ in range(3))
    everything = sum(len(text.encode()) for path in paths for text in read_texts(path)) / 1e6
    whole = everything / _seconds_of_stages(paths, scratch)
    work = f"near duplicates, {len(texts):,} documents, {megabytes:.0f} MB of {name}"
    figures = [Figure(f"near duplicates, all {everything:.0f} MB of {name}", whole, "", "", "MB/s")]
    for words, how in (("white_space", "words by str.split"), ("own", "its own words")):
        folder = os.path.join(scratch, f"near-peer-{words}")
        try:
            theirs: float | str = megabytes / ask_peer(PEER, documents, folder, words)["seconds"]
        except PeerUnavailableError as error:
            theirs = str(error)
        figures.append(Figure(work, part, f"{PEER.title}, {how}", theirs, "MB/s"))
    return figures


def _seconds_of_stages(paths: list[str], scratch: str) -> float:
    """Seconds from documents to clusters in a whole run."""
    output = os.path.join(scratch, "near-duplicates")
    shutil.rmtree(output, ignore_errors=True)
    seconds = 0.0

    def listen(event: RunEvent) -> None:
        nonlocal seconds
        if isinstance(event, StageDone) and event.stage in STAGES:
            seconds += event.seconds

    run = {
        "input": {"paths": paths, "max_document_mb": 64.0},
        "output": {"url": output},
        "documents": {"held_out": 0.0, "near_duplicates": {}},
        "engine": {"workers": 1},
    }
    prepare(run, listen, up_to="shard")
    return seconds


def _measure_planted(paths: list[str], name: str) -> list[Figure]:
    settings = NearDuplicatesSection()
    texts = [text for path in paths for text in read_texts(path) if MIN_WORDS <= len(text.split()) <= MAX_WORDS]
    random.Random(0).shuffle(texts)
    edges = match_records(_sign(texts[: 2 * MAX_PAIRS], settings))[0]
    repeated = set(edges[:, 1].tolist())
    originals = [text for number, text in enumerate(texts[: 2 * MAX_PAIRS]) if number not in repeated][:MAX_PAIRS]
    words = [split_words(text) for text in originals]
    figures = []
    for similarity in SIMILARITIES:
        rng = random.Random(f"planted {similarity}")
        planted = [plant_edit(own, similarity, settings.shingle_words, rng) for own in words]
        expected = sum(settings.probability(measured) for _, measured in planted) / len(planted)
        found = match_records(_sign([*originals, *(text for text, _ in planted)], settings))[0]
        pairs = {(later, first) for _, later, _, first in found.tolist()}
        true = sum((len(originals) + number, number) in pairs for number in range(len(originals)))
        recall, precision = true / len(originals), true / max(1, len(pairs))
        assert abs(recall - expected) <= 0.02, f"{recall} of the planted pairs found, not {expected}"
        assert precision >= 0.98, f"{precision} of the found pairs are planted"
        work = f"of {len(originals):,} edits of {name} at {similarity}: found, by the formula {100 * expected:.1f} %"
        figures.append(Figure(work, 100 * recall, "", f"{100 * precision:.2f} % of the found are planted", "%"))
    return figures


def _sign(texts: list[str], settings: NearDuplicatesSection) -> Records:
    numbers = np.arange(len(texts), dtype=np.uint64)
    permutations = Permutations.of(settings.seed, settings.num_permutations)
    return list_bands(pa.array(texts, pa.string()), numbers, numbers, settings, permutations)
