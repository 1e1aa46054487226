from __future__ import annotations

import pytest

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.model_section import SIZES, ModelFamily, ModelSection, ModelSize
from maskmill.schemas.toml_files import parse_toml
from maskmill.schemas.train_file import OptimizerSection, TrainFile

TEXT = '[data]\ndataset = "out/packed"\n[run]\noutput = "out/training"\n'
AS_BEFORE = {
    "data.global_batch_rows": 256,
    "data.seed": 0,
    "model.hidden_size": 768,
    "model.num_layers": 12,
    "model.num_heads": 12,
    "model.intermediate_size": None,
    "model.dropout": 0.1,
    "model.initializer_range": 0.02,
    "optimizer.learning_rate": 5e-4,
    "optimizer.warmup_steps": 1000,
    "optimizer.decay_steps": None,
    "optimizer.weight_decay": 0.01,
    "optimizer.betas": [0.9, 0.98],
    "optimizer.epsilon": 1e-6,
    "optimizer.clip_norm": 1.0,
    "run.seed": 0,
}
"""What a train file without a key was fingerprinted as before there were families."""


def read(*overrides):
    return parse_toml(TrainFile, TEXT, "TRAIN.toml", overrides)


def test_a_file_that_uses_no_new_key_keeps_its_fingerprint():
    assert read().fingerprinted() == AS_BEFORE
    assert read("model.size=base", "model.family=bert").fingerprinted() == AS_BEFORE


def test_a_new_key_is_in_the_fingerprint_once_it_says_something_else():
    keys = read("model.family=albert", "model.embedding_size=64", "model.sentence_task=true").fingerprinted().items()
    new = {("model.family", "albert"), ("model.embedding_size", 64), ("model.sentence_task", True)}
    assert (
        read("model.family=albert", "model.embedding_size=64", "model.sentence_task=sop").fingerprinted().items()
        == keys
    )
    assert new == {(name, value) for name, value in keys if name not in AS_BEFORE}
    decay = read("optimizer.decay_steps=20000", "optimizer.decay=cosine", "optimizer.final_share=0.1")
    assert decay.fingerprinted()["optimizer.decay"] == "cosine"
    assert decay.fingerprinted()["optimizer.final_share"] == 0.1


def test_a_size_is_another_name_for_its_keys():
    """So it may be written either way when a run continues."""
    for family, sizes in SIZES.items():
        for size, keys in sizes.items():
            assert (
                ModelSection(family=family, size=size).model_dump() == ModelSection(family=family, **keys).model_dump()
            )
    assert SIZES[ModelFamily.BERT][ModelSize.BASE] == {"hidden_size": 768, "num_layers": 12, "num_heads": 12}


def test_single_keys_of_a_size_may_be_set():
    section = ModelSection(size="tiny", num_layers=5)
    assert (section.hidden_size, section.num_layers, section.num_heads) == (128, 5, 2)
    assert ModelSection.model_validate(section.model_dump()) == section.model_copy(update={"size": "base"})


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["model.family=bart"], "model.family"),
        (["model.size=huge"], "model.size"),
        (["model.embedding_size=64"], "embedding_size is for albert and electra, and the family is bert"),
        (["model.conv_kernel_size=3"], "conv_kernel_size is for deberta-v2"),
        (["model.family=deberta-v2", "model.conv_kernel_size=4"], "conv_kernel_size 4 is even"),
        (["model.local_attention=64"], "local_attention is for modernbert"),
        (["model.family=modernbert", "model.local_attention=63"], "local_attention 63 is odd"),
        (["model.rope_theta=1.0"], "rope_theta is for eurobert"),
        (["model.sentence_task=nps"], "model.sentence_task"),
        (["model.sentence_task=3"], "model.sentence_task"),
        (["model.family=roberta", "model.sentence_task=nsp"], "sentence_task is for bert and albert"),
        (["model.family=roberta", "model.sentence_task=true"], "sentence_task is for bert and albert"),
        (["model.family=eurobert", "model.hidden_size=36", "model.num_heads=12"], "an odd width"),
        (["optimizer.decay=cosine"], "decay needs decay_steps"),
        (["optimizer.stable_steps=5"], "stable_steps needs decay_steps"),
        (["optimizer.decay=quick"], "optimizer.decay"),
        (["optimizer.decay_steps=20000", "optimizer.stable_steps=19000"], "and stable_steps 19000"),
        (["optimizer.final_share=2.0"], "optimizer.final_share"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(overrides, named):
    with pytest.raises(ConfigError) as caught:
        read(*overrides)
    assert named in str(caught.value)


def test_the_optimizer_is_written_as_before():
    assert {f"optimizer.{name}" for name in OptimizerSection().model_dump()} == {
        name for name in AS_BEFORE if name.startswith("optimizer.")
    }
