"""Masks follow the dataset: its own settings are the default, another choice is logged, rows keep their identity."""

from __future__ import annotations

import logging
from itertools import islice

import pytest

from maskmill.pipeline.loader import MaskedBatches, Masking, Mixture, Phase, Source, iter_fixed_batches
from maskmill.pipeline.storage.datasets import fingerprint_rows, write_manifest
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError, StaleArtifactError
from maskmill.schemas.mask_vocabulary import write_continuation_bits
from tests.loader.datasets import STATIC_MASKING, write_dataset
from tests.loader.streams import hash_batches

OTHER = Masking(rate=0.45, mask_share=1.0, random_share=0.0, seed=9)


def write_unmasked(folder, masking, seed=5):
    return write_dataset(folder, copies=0, masking=masking, seed=seed)


def change_masking(parent, folder, manifest, masking):
    """What `prepare` does where only `[mask]` has changed and no copies are stored."""
    return write_manifest(open_store(str(parent)), folder, manifest.model_copy(update={"masking": masking}))


def first_batches(data, **settings):
    return list(islice(MaskedBatches(data, global_batch_rows=8, **settings), 5))


@pytest.mark.parametrize("copies", [0, 2])
def test_the_default_is_the_masking_of_the_dataset(tmp_path, copies):
    own = STATIC_MASKING if copies else OTHER
    write_dataset(f"{tmp_path}/packed", copies=copies, masking=own)
    loader = MaskedBatches(f"{tmp_path}/packed", global_batch_rows=8)
    assert loader.masking == own
    asked = first_batches(f"{tmp_path}/packed", masking=own)
    assert hash_batches(first_batches(f"{tmp_path}/packed")) == hash_batches(asked)
    assert loader.state_dict() == MaskedBatches(f"{tmp_path}/packed", global_batch_rows=8, masking=own).state_dict()


def test_another_masking_is_allowed_and_logged(tmp_path, caplog):
    write_unmasked(f"{tmp_path}/packed", OTHER)
    with caplog.at_level(logging.INFO, "maskmill.loader"):
        first_batches(f"{tmp_path}/packed")
        assert "masking with" not in caplog.text
        loader = MaskedBatches(
            f"{tmp_path}/packed", global_batch_rows=8, masking=OTHER.model_copy(update={"rate": 0.2})
        )
    assert loader.masking.rate == 0.2
    assert "rate = 0.2 instead of its own 0.45" in caplog.text
    assert "seed" not in caplog.text


def test_datasets_that_disagree_need_a_masking(tmp_path):
    write_unmasked(f"{tmp_path}/a", OTHER)
    write_unmasked(f"{tmp_path}/b", OTHER.model_copy(update={"rate": 0.2}), seed=6)
    both = Mixture((Source(f"{tmp_path}/a", 1), Source(f"{tmp_path}/b", 1)))
    phases = [Phase(0, f"{tmp_path}/a", 8), Phase(5, f"{tmp_path}/b", 8)]
    for data in (both, phases):
        with pytest.raises(ConfigError, match="different masking") as refused:
            MaskedBatches(data, global_batch_rows=8)
        assert "rate = 0.45" in refused.value.expected
        assert "rate = 0.2" in refused.value.found
        assert "seed" not in f"{refused.value.expected} {refused.value.found}"
        assert "masking=" in refused.value.action
        assert MaskedBatches(data, global_batch_rows=8, masking=Masking()).masking == Masking()


def test_rows_keep_their_identity_when_only_the_masking_changes(tmp_path):
    """With the default masking it is the fingerprint of schema version 2.0."""
    manifest = write_dataset(f"{tmp_path}/packed", copies=0, masking=Masking(), schema_version="2.0")
    state = first_batches(f"{tmp_path}/packed")[-1].state
    following = list(islice(MaskedBatches(f"{tmp_path}/packed", global_batch_rows=8), 5, 8))
    changed = change_masking(tmp_path, "packed", manifest, OTHER)
    assert changed.fingerprint != manifest.fingerprint
    assert fingerprint_rows(changed) == fingerprint_rows(manifest) == manifest.fingerprint
    resumed = MaskedBatches(f"{tmp_path}/packed", global_batch_rows=8, masking=Masking())
    resumed.load_state_dict(state)
    assert hash_batches(list(islice(resumed, 3))) == hash_batches(following)
    with pytest.raises(StaleArtifactError, match="another masking") as refused:
        MaskedBatches(f"{tmp_path}/packed", global_batch_rows=8).load_state_dict(state)
    assert "0.45" in refused.value.expected


def test_a_loader_reads_on_when_the_masking_changes_under_it(tmp_path):
    manifest = write_unmasked(f"{tmp_path}/packed", Masking())
    whole = first_batches(f"{tmp_path}/packed")
    loader = MaskedBatches(f"{tmp_path}/packed", global_batch_rows=8)
    change_masking(tmp_path, "packed", manifest, OTHER)
    assert hash_batches(list(islice(loader, 5))) == hash_batches(whole)


def test_stored_masks_are_part_of_the_identity_of_rows(tmp_path):
    manifest = write_dataset(f"{tmp_path}/packed", schema_version="2.0")
    assert fingerprint_rows(manifest) == manifest.fingerprint
    assert fingerprint_rows(change_masking(tmp_path, "packed", manifest, OTHER)) != manifest.fingerprint


@pytest.mark.parametrize("strategy", ["whole_word", "ngram", "span"])
def test_words_of_a_dataset_that_does_not_know_them_are_refused(tmp_path, strategy):
    """Of schema version 2.0, whose manifests do not say which pieces continue a word."""
    url = f"{tmp_path}/packed"
    assert write_unmasked(url, OTHER).vocabulary.continuation_bits is None
    for ask in (MaskedBatches, lambda url, masking, **_: iter_fixed_batches(url, masking, batch_rows=8)):
        with pytest.raises(ConfigError, match=f"the words of this dataset are not known.*{strategy}") as caught:
            ask(url, masking=Masking(strategy=strategy), global_batch_rows=8)
        assert url in str(caught.value)
        assert "prepare the rows again" in str(caught.value)
    assert len(first_batches(url, masking=Masking(selection="bernoulli"))) == 5


def test_a_dataset_that_knows_its_words_is_read_with_one_that_does_not(tmp_path):
    """One tokenizer, two versions: rows have their identity, and states go on over both."""
    old, new = f"{tmp_path}/old", f"{tmp_path}/new"
    manifest = write_unmasked(old, OTHER)
    bits = write_continuation_bits([token % 2 == 1 for token in range(manifest.vocabulary.vocab_size)])
    knowing = manifest.vocabulary.model_copy(update={"continuation_bits": bits})
    known = write_dataset(new, copies=0, masking=OTHER, vocabulary=knowing)
    assert known.fingerprint != manifest.fingerprint
    assert fingerprint_rows(known) == fingerprint_rows(manifest)
    for one, other in ((old, new), (new, old)):
        mixture = Mixture((Source(one), Source(other)))
        assert len(first_batches(mixture)) == 5
        with pytest.raises(ConfigError, match="the words of this dataset are not known"):
            first_batches(mixture, masking=Masking(strategy="span"))
    wrong = write_continuation_bits([token % 3 == 1 for token in range(manifest.vocabulary.vocab_size)])
    write_dataset(f"{tmp_path}/wrong", copies=0, vocabulary=knowing.model_copy(update={"continuation_bits": wrong}))
    with pytest.raises(ConfigError, match="another vocabulary"):
        first_batches(Mixture((Source(new), Source(f"{tmp_path}/wrong"))), masking=OTHER)
