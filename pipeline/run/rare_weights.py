"""`token_weights = "rare"` of run and train files: weights from the words that a vocabulary was trained on.

A setting is resolved once, where it is read. Manifests, states and fingerprints have the weights, as if they had been
given.
"""

from __future__ import annotations

import xxhash

from maskmill.pipeline.run.find_packed import find_owner, name_of_dataset
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.record import read_record
from maskmill.pipeline.storage.datasets import TOKENIZER
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.layout import RUN_RECORD, Folder, tokenizer_folder
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.masking import Masking
from maskmill.schemas.token_weights import RARE
from maskmill.schemas.tokenizer.tokenizer_file import MAX_TOKENIZER_BYTES


def weigh_by_tokenizer(masking: Masking, tokenizer: Store) -> Masking:
    """Replace "rare" by the weights that the words of a tokenizer give.

    Args:
        masking: Settings of a file; they are returned as they are if they have no "rare".
        tokenizer: Its folder.

    Raises:
        ConfigError: It has no counts of words.
        ShardCorruptError: The counts or the tokenizer are not what was written.
    """
    if masking.token_weights != RARE:
        return masking
    # Few runs need it, and it loads kernels.
    from maskmill.pipeline.wordpiece.vocabulary.weigh_pieces import find_rare_first

    weights = find_rare_first(tokenizer.url, tokenizer.options)
    return Masking.model_validate(masking.model_dump() | {"token_weights": weights})


def weigh_by_dataset(masking: Masking, dataset: Store, manifest: PackedManifest) -> Masking:
    """Replace "rare" by the weights that the words of a dataset's tokenizer give, if it lies in the output of a run.

    Args:
        masking: Settings of a file; they are returned as they are if they have no "rare".
        dataset: A packed dataset.
        manifest: Of the dataset.

    Raises:
        ConfigError: It is not known which words its vocabulary was trained on.
        ShardCorruptError: The record of the run, the counts or the tokenizer are not what was written.
    """
    return masking if masking.token_weights != RARE else weigh_by_tokenizer(masking, _find_tokenizer(dataset, manifest))


def _find_tokenizer(dataset: Store, manifest: PackedManifest) -> Store:
    output, folder = find_owner(dataset), Folder.parse(name_of_dataset(dataset))
    found = f"a dataset that is in no output of a run, for there is no {RUN_RECORD} beside it"
    if folder is not None and output is not dataset:
        entry = read_record(output, checked=False).entries.get((Part.PACK, folder.of))
        if entry is not None:
            tokenizer = output.below(tokenizer_folder(entry.tokenizer))
            if _digest_tokenizer(tokenizer) == manifest.tokenizer_checksum:
                return tokenizer
        found = "another tokenizer, or none, in the output of its run"
    raise ConfigError(
        "there are no counts of words to weigh tokens by",
        path="mask.token_weights",
        expected=f"for {RARE!r}, the tokenizer of {dataset.display_url} in the output of the run that has written both",
        found=found,
        action='give a dataset inside such an output, or the weights that find_rare_first("out/tokenizer") returns',
    )


def _digest_tokenizer(tokenizer: Store) -> str:
    try:
        return xxhash.xxh3_128_hexdigest(tokenizer.read_bytes(TOKENIZER, MAX_TOKENIZER_BYTES))
    except FileNotFoundError:
        return ""
