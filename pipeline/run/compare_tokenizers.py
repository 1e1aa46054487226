"""Other tokenizers beside the run's own, measured on the same sample of the documents."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from tokenizers import Tokenizer

from maskmill.pipeline.run.prepare import Prepared
from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES
from maskmill.pipeline.storage.shard_table import read_shard_table
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.wordpiece.counting.count_stage import normalisation_of
from maskmill.pipeline.wordpiece.encoding.load_encoders import SpecialInText
from maskmill.pipeline.wordpiece.files.brought_files import read_brought_files
from maskmill.pipeline.wordpiece.files.check_tokenizer import parse_tokenizer_json
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import count_cased_pieces, load_tokenizer
from maskmill.pipeline.wordpiece.vocabulary.measure_tokenizer import measure_texts
from maskmill.pipeline.wordpiece.vocabulary.sample_texts import sample_texts
from maskmill.schemas.counts import SourceReport
from maskmill.schemas.events import RunListener, TokenizerMeasured
from maskmill.schemas.layout import DataSplit, documents_folder, tokenizer_folder
from maskmill.schemas.redaction import redact
from maskmill.schemas.run_file import RunFile, TokenizerSection

SAMPLE_BYTES = 16 << 20
SAMPLE_SHARDS = 4
OWN = "this run"


def load_compared(settings: RunFile, urls: Sequence[str]) -> dict[str, Tokenizer]:
    """Load the tokenizers to compare with, before the run: a bad one is then refused at once.

    Args:
        settings: The run file.
        urls: Their paths or URLs, as `tokenizer.from` takes them.

    Returns:
        Tokenizers by name.

    Raises:
        ConfigError: One of them is no WordPiece tokenizer.
    """
    named = zip(name_tokenizers(urls), urls, strict=True)
    return {name: _load(read_brought_files(url), settings.tokenizer, redact(url)) for name, url in named}


def compare_tokenizers(
    settings: RunFile,
    prepared: Prepared,
    others: Mapping[str, Tokenizer],
    listen: RunListener,
) -> dict[str, Sequence[SourceReport]]:
    """Measure the run's tokenizer and others; the documents and the tokenizer must be finished.

    Args:
        settings: The run file.
        prepared: What the run has written.
        others: From `load_compared`.
        listen: Callback that receives a `tokenizer_measured` for each.

    Returns:
        By name, `OWN` first: the measurements of each source in the sample.
    """
    special = SpecialInText(settings.tokenizer.special_in_text)
    output = open_store(settings.output.url)
    path = f"{tokenizer_folder(settings.tokenizer.name)}/tokenizer.json"
    own = parse_tokenizer_json(output.read_bytes(path, MAX_TEXT_BYTES), output.locate(path))
    tokenizers = {OWN: own, **others}
    folder = documents_folder(DataSplit.TRAIN)
    table = read_shard_table(output.below(folder), prepared.documents[0])
    shards = [
        (f"{folder}/{table.path(shard)}", table.checksums[shard].as_py())
        for shard in range(min(len(table), SAMPLE_SHARDS))
    ]
    texts = sample_texts(output, shards, SAMPLE_BYTES)
    measured: dict[str, Sequence[SourceReport]] = {}
    for name, tokenizer in tokenizers.items():
        measured[name] = measure_texts(tokenizer, texts, special)
        listen(TokenizerMeasured(tokenizer=name, sources=tuple(measured[name])))
    return measured


def _load(files: dict[str, bytes], settings: TokenizerSection, path: str) -> Tokenizer:
    """Load a tokenizer; a vocab.txt with capital letters counts as cased, whatever the run file says."""
    tokenizer = load_tokenizer(files, normalisation_of(settings), path)
    if "vocab.txt" in files and count_cased_pieces(tokenizer):
        return load_tokenizer(files, Normalisation(lowercase=False, strip_accents=False), path)
    return tokenizer


def name_tokenizers(urls: Sequence[str]) -> list[str]:
    """Name each by the last part of its path without suffix, or by all of it if two are equal; never by its query."""
    shown = [redact(url) for url in urls]
    short = [os.path.splitext(os.path.basename(url.rstrip("/")))[0] for url in shown]
    is_alone = [short.count(name) == 1 and name not in ("", OWN) for name in short]
    names = [name if alone else url for name, alone, url in zip(short, is_alone, shown, strict=True)]
    return [
        name if names.count(name) == 1 else f"{name} ({names[:number].count(name) + 1})"
        for number, name in enumerate(names)
    ]
