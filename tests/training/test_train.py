"""Training on a packed dataset as `maskmill prepare` writes it, through the loader."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import signal
from itertools import islice
from pathlib import Path

import pytest
import torch
import xxhash
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM, AutoTokenizer

from maskmill import MaskedBatches, mask
from maskmill.pipeline.loader.fixed_rows import iter_fixed_batches
from maskmill.pipeline.run.prepare import prepare
from maskmill.pipeline.settings import read_toml
from maskmill.pipeline.storage.datasets import read_manifest, write_manifest
from maskmill.pipeline.storage.leases import Lease, hold_output
from maskmill.pipeline.storage.shard_table import write_shard_table
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.training import train as train_module
from maskmill.pipeline.training.open_data import open_train_data
from maskmill.pipeline.training.score_held_out import HELD_OUT_MASKING, measure_unigram_entropy
from maskmill.pipeline.training.stop_signals import TrainingInterruptedError
from maskmill.pipeline.training.train import train
from maskmill.pipeline.wordpiece.files.tokenizer_files import tokenizer_files
from maskmill.schemas.errors import ConfigError, ShardCorruptError, StaleArtifactError
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.masking import IGNORE_INDEX, Masking
from maskmill.schemas.train_file import TrainFile


def make_train_file(prepared, output, **run):
    return TrainFile.model_validate(
        {
            "data": {
                "dataset": f"{prepared}/packed",
                "held_out": f"{prepared}/packed-heldout",
                "global_batch_rows": 16,
                "micro_batch_rows": 4,
            },
            "model": {"hidden_size": 16, "num_layers": 1, "num_heads": 2},
            "optimizer": {"learning_rate": 5e-3, "warmup_steps": 2},
            "run": {"output": str(output), "steps": 30, "log_every": 1, "evaluate_every": 15} | run,
        }
    )


def run(config):
    events = []
    result = train(config, events.append)
    return result, {event.step: event.loss for event in events if event.event == "train_step"}


def test_a_run_on_prepared_rows_learns_and_resumes_to_the_bit(prepared, tmp_path):
    result, losses = run(make_train_file(prepared, tmp_path / "whole"))
    assert list(losses) == list(range(1, 31))
    assert losses[30] < losses[1]
    _, first = run(make_train_file(prepared, tmp_path / "halves", steps=17))
    again, second = run(make_train_file(prepared, tmp_path / "halves"))
    assert again.resumed_from == 17
    assert first | second == losses
    assert again.held_out == result.held_out


def test_the_score_is_over_every_held_out_row_with_mask_at_every_label(prepared, tmp_path):
    result, _ = run(make_train_file(prepared, tmp_path, steps=1))
    batches = list(iter_fixed_batches(f"{prepared}/packed-heldout", HELD_OUT_MASKING, 3))
    labels = torch.cat([batch.labels.flatten() for batch in batches])
    shown = torch.cat([batch.input_ids.flatten() for batch in batches])
    chosen = labels != IGNORE_INDEX
    assert set(shown[chosen].tolist()) == {4}
    assert result.held_out.num_labels == int(chosen.sum()) > 0
    entropy = measure_unigram_entropy(torch.bincount(labels[chosen]))
    assert result.held_out.unigram_entropy == entropy


def test_the_score_of_a_training_with_weights_has_none(prepared, tmp_path):
    """By the exported model, over the same labels: their mean, as that of every other training."""
    config = make_train_file(prepared, tmp_path, steps=2)
    mask = Masking(per_sequence_rate=(0.1, 1.0), mask_share=1.0, random_share=0.0)
    result, _ = run(config.model_copy(update={"mask": mask}))
    model = AutoModelForMaskedLM.from_pretrained(result.model_url).eval()
    losses = []
    for batch in iter_fixed_batches(f"{prepared}/packed-heldout", HELD_OUT_MASKING, 8):
        assert batch.loss_weights is None
        logits = model(**batch.model_inputs("sdpa", model)).logits.detach()
        each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="none")
        losses += each[batch.labels.flatten() != IGNORE_INDEX].tolist()
    assert result.held_out.num_labels == len(losses) > 0
    assert result.held_out.loss == pytest.approx(sum(losses) / len(losses), abs=1e-5)


def test_the_exported_model_and_tokenizer_belong_together(prepared, tmp_path):
    result, _ = run(make_train_file(prepared, tmp_path, steps=1))
    tokenizer = AutoTokenizer.from_pretrained(result.model_url)
    model = AutoModelForMaskedLM.from_pretrained(result.model_url)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("alpha [MASK] gamma")["input_ids"])
    assert (tokens[0], tokens[-1], tokens.count("[MASK]")) == ("[CLS]", "[SEP]", 1)
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.pad_token_id == model.config.pad_token_id
    exported = Path(result.model_url)
    prepared_files = tokenizer_files(Tokenizer.from_file(str(exported / "tokenizer.json")), model_max_length=32)
    settings = json.loads((exported / "tokenizer_config.json").read_bytes())
    assert settings == json.loads(prepared_files["tokenizer_config.json"])
    assert settings["do_lower_case"]


def test_another_dataset_is_refused(prepared, tmp_path):
    config = make_train_file(prepared, tmp_path, steps=1)
    run(config)
    data = config.data.model_copy(update={"dataset": config.data.held_out})
    with pytest.raises(StaleArtifactError, match="dataset"):
        run(config.model_copy(update={"data": data}))


def test_a_place_without_a_dataset_is_named(prepared, tmp_path):
    with pytest.raises(ConfigError, match="no dataset here") as caught:
        run(make_train_file(str(tmp_path / "nowhere"), tmp_path / "training"))
    assert caught.value.path == open_store(str(tmp_path / "nowhere" / "packed")).display_url


@pytest.mark.parametrize("key", ["dataset", "held_out"])
def test_of_the_output_of_a_run_its_packed_datasets_are_named(prepared, tmp_path, key):
    config = make_train_file(prepared, tmp_path)
    config = config.model_copy(update={"data": config.data.model_copy(update={key: str(prepared)})})
    with pytest.raises(ConfigError, match="this is the output of a run") as caught:
        train(config, lambda _: None)
    assert f"give {prepared}/packed" in str(caught.value)


def remove(path):
    path.unlink()


def change(path):
    path.write_bytes(path.read_bytes().replace(b"alpha", b"alphb", 1) + b" ")


@pytest.mark.parametrize("part", ["packed", "packed-heldout"])
def test_a_changed_manifest_is_refused(prepared, tmp_path, part):
    copied = shutil.copytree(prepared, tmp_path / "copied")
    manifest = copied / part / "manifest.json"
    values = json.loads(manifest.read_bytes())
    values["text_bytes"] += 1
    manifest.write_text(json.dumps(values))
    with pytest.raises(ShardCorruptError, match="the manifest has changed since it was written") as caught:
        open_train_data(make_train_file(str(copied), tmp_path / "training"))
    assert caught.value.path.endswith(f"{part}/manifest.json")
    assert caught.value.action


@pytest.mark.parametrize(("harm", "named"), [(remove, "gone"), (change, "have changed")])
def test_a_changed_tokenizer_is_refused(prepared, tmp_path, harm, named):
    copied = shutil.copytree(prepared, tmp_path / "copied")
    harm(copied / "packed" / "tokenizer.json")
    with pytest.raises(ShardCorruptError, match=named) as caught:
        open_train_data(make_train_file(str(copied), tmp_path / "training"))
    assert caught.value.path.endswith("packed/tokenizer.json")
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.action


def test_a_second_trainer_leaves(prepared, tmp_path):
    config = make_train_file(prepared, tmp_path)
    with hold_output(open_store(config.run.output)), pytest.raises(ConfigError, match="another driver is at work"):
        train(config, [].append)


def test_a_trainer_stops_when_another_has_taken_over(prepared, tmp_path, monkeypatch):
    """No step is reported and nothing is written by one that no longer holds the output."""
    lost = Lease(open_store(str(tmp_path)))
    lost.lose()
    monkeypatch.setattr(train_module, "hold_output", lambda _: contextlib.nullcontext(lost))
    events = []
    with pytest.raises(StaleArtifactError, match="taken over"):
        train(make_train_file(prepared, tmp_path), events.append)
    assert events == []


def set_masking(output, masking):
    """What `maskmill prepare` does where only `[mask]` has changed and no copies are stored."""
    for folder in ("packed", "packed-heldout"):
        manifest = read_manifest(open_store(f"{output}/{folder}"), PackedManifest)
        write_manifest(open_store(output), folder, manifest.model_copy(update={"masking": masking}))


def test_rows_are_masked_as_the_dataset_was_prepared(prepared, tmp_path):
    """Unless the train file says otherwise; a run goes on with the masking that it began with, or is refused."""
    copied = str(shutil.copytree(prepared, tmp_path / "copied"))
    config = make_train_file(copied, tmp_path / "own", steps=2)
    asked = config.model_copy(update={"mask": Masking(rate=0.3)})
    expected = run(asked.model_copy(update={"run": config.run.model_copy(update={"output": str(tmp_path / "asked")})}))
    set_masking(copied, Masking(rate=0.3))
    assert run(config)[1] == expected[1]
    set_masking(copied, Masking(rate=0.2))
    with pytest.raises(StaleArtifactError, match=r"mask\.rate"):
        run(make_train_file(copied, tmp_path / "own", steps=3))
    longer = asked.model_copy(update={"run": config.run.model_copy(update={"steps": 3})})
    assert run(longer)[0].resumed_from == 2


def test_held_out_rows_that_do_not_exist_are_no_perfect_score(prepared, tmp_path):
    """A dataset of no rows gives a loss of 0 / 0; the run would end at once with a target."""
    copied = Path(shutil.copytree(prepared, tmp_path / "copied"))
    heldout = copied / "packed-heldout"
    store = open_store(str(copied))
    manifest = read_manifest(open_store(str(heldout)), PackedManifest)
    shutil.rmtree(heldout)
    num_shards, checksum = write_shard_table(store, "packed-heldout", [])
    counts = manifest.counts.model_copy(update=dict.fromkeys(type(manifest.counts).model_fields, 0))
    empty = {
        "num_shards": num_shards,
        "shards_checksum": checksum,
        "counts": counts,
        "text_bytes": 0,
        "text_fill_ppm": 0,
    }
    write_manifest(store, "packed-heldout", manifest.model_copy(update=empty))
    with pytest.raises(ConfigError, match="no rows to score") as caught:
        train(make_train_file(str(copied), tmp_path / "training"), [].append)
    assert caught.value.path.endswith("packed-heldout")
    assert "documents.held_out" in caught.value.action


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("steps", [None, 3])
@pytest.mark.parametrize("place", ["hold_output", "open_train_data"])
def test_a_signal_before_the_first_step_says_where_the_run_goes_on(
    prepared, tmp_path, monkeypatch, number, steps, place
):
    if steps is not None:
        run(make_train_file(prepared, tmp_path, steps=steps))
    given = getattr(train_module, place)

    def interrupted(*arguments):
        signal.raise_signal(number)
        return given(*arguments)

    monkeypatch.setattr(train_module, place, interrupted)
    with pytest.raises(TrainingInterruptedError) as caught:
        run(make_train_file(prepared, tmp_path))
    assert (caught.value.number, caught.value.continues_at) == (number, steps)
    monkeypatch.undo()
    with hold_output(open_store(str(tmp_path))):  # it was let go of
        pass


def mask_dataset_otherwise(prepared, folder, **masking):
    copied = str(shutil.copytree(prepared, folder))
    set_masking(copied, Masking(**masking))
    return copied


@pytest.mark.parametrize("masking", [{"rate": 0.3}, {"seed": 5}, {"rate": 0.4, "mask_share": 1.0, "random_share": 0.0}])
def test_a_dataset_whose_masking_has_changed_is_not_blamed_on_the_train_file(prepared, tmp_path, masking):
    """What is offered goes on, to the bit, as if the dataset had not changed."""
    output = str(tmp_path / "training")
    run(make_train_file(prepared, output, steps=3))
    _, expected = run(make_train_file(prepared, tmp_path / "whole", steps=6))
    changed = mask_dataset_otherwise(prepared, tmp_path / "changed", **masking)
    with pytest.raises(StaleArtifactError, match=rf"data\.dataset has changed in mask\.{min(masking)}") as caught:
        run(make_train_file(changed, output, steps=6))
    assert "train file has changed" not in str(caught.value)
    offered = re.findall(r"--set (\S+=\S+?)[,;]?(?= |$)", caught.value.action)
    assert offered
    path = tmp_path / "train.toml"
    write_toml(make_train_file(changed, output, steps=6), path)
    again, losses = run(read_toml(TrainFile, str(path), offered))
    assert again.resumed_from == 3
    assert losses == {step: expected[step] for step in (4, 5, 6)}


def test_a_changed_mask_table_is_still_the_train_files(prepared, tmp_path):
    config = make_train_file(prepared, tmp_path, steps=1).model_copy(update={"mask": Masking(rate=0.3)})
    run(config)
    with pytest.raises(StaleArtifactError, match=r"the train file has changed in mask\.rate"):
        run(config.model_copy(update={"mask": Masking(rate=0.2)}))


@pytest.mark.parametrize(
    ("mask", "key", "found"),
    [
        ({"rate": {"curve": "piecewise", "points": [[0, 0.3], [2, 0.0]]}}, "rate", "0.0 at step 2"),
        ({"rate": {"curve": "linear", "points": [[0, 0.0], [2, 0.1]]}}, "rate", "0.0 at step 0"),
        ({"rate": {"curve": "cosine", "points": [[0, 0.3], [1, 0.000001], [9, 0.0]]}}, "rate", "0.0 at step 5"),
        ({"rate": 0.001, "selection": "bernoulli"}, "rate", "0.001"),
        (
            {"rate": {"curve": "linear", "points": [[0, 0.3], [5, 0.001]]}, "selection": "bernoulli"},
            "rate",
            "0.001 at step 5",
        ),
        ({"per_sequence_rate": [0.0, 0.00001]}, "per_sequence_rate", "(0.0, 1e-05)"),
        ({"per_sequence_rate": [0.0, 0.0]}, "per_sequence_rate", "(0.0, 0.0)"),
    ],
)
def test_steps_without_a_label_are_refused_at_the_start(prepared, tmp_path, mask, key, found):
    """They would pass as a loss of 0. A global batch has 16 rows of 32 tokens: 512."""
    config = make_train_file(prepared, tmp_path / "training", steps=6)
    with pytest.raises(ConfigError, match="no token would have a label") as caught:
        run(config.model_copy(update={"mask": Masking(**mask)}))
    assert (caught.value.path, caught.value.found) == (f"mask.{key}", found)


@pytest.mark.parametrize(
    "mask",
    [
        {"rate": {"curve": "linear", "points": [[0, 0.3], [2, 0.0]]}},  # at the first step after the run
        {"rate": 0.000001},  # one token of every row
        {"rate": 0.002, "selection": "bernoulli"},  # 1.02 tokens of 512
        {"per_sequence_rate": [0.0, 0.004]},
    ],
)
def test_steps_with_a_label_are_trained(prepared, tmp_path, mask):
    config = make_train_file(prepared, tmp_path / "training", steps=2)
    _, losses = run(config.model_copy(update={"mask": Masking(**mask)}))
    assert len(losses) == 2


def test_a_rate_of_zero_is_refused(prepared, tmp_path):
    """There would be no label, and every loss would be 0."""
    config = make_train_file(prepared, tmp_path / "training", steps=1)
    unmasked = mask_dataset_otherwise(prepared, tmp_path / "unmasked", rate=0.0)
    data = config.data.model_copy(update={"dataset": f"{unmasked}/packed"})
    for wrong in ({"mask": Masking(rate=0.0)}, {"data": data}):
        with pytest.raises(ConfigError, match=r"mask\.rate") as caught:
            run(config.model_copy(update=wrong))
        assert "label" in str(caught.value)
        assert caught.value.action
    run(config.model_copy(update={"data": data, "mask": Masking(rate=0.5)}))


def write_toml(config, path):
    """The sections that the config was given, as a file."""
    lines = []
    for section, keys in config.model_dump(mode="json", exclude_unset=True).items():
        if keys is not None:
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    path.write_text("\n".join(lines))


@pytest.mark.parametrize("harm", ["nothing", "an id of 2^32 - 1", "a fixed length of 0", "a piece more"])
def test_a_tokenizer_that_cannot_be_exported_is_refused_before_the_first_step(prepared, tmp_path, harm):
    dataset = Path(shutil.copytree(f"{prepared}/packed", tmp_path / "packed"))
    description = json.loads((dataset / "tokenizer.json").read_text())
    if harm == "nothing":
        description = {}
    elif harm == "an id of 2^32 - 1":
        description["model"]["vocab"]["more"] = 2**32 - 1
    elif harm == "a fixed length of 0":
        description["pre_tokenizer"] = {"type": "FixedLength", "length": 0}
    else:
        description["model"]["vocab"]["more"] = len(description["model"]["vocab"])
    content = json.dumps(description).encode()
    (dataset / "tokenizer.json").write_bytes(content)
    store = open_store(str(tmp_path))
    manifest = read_manifest(store.below("packed"), PackedManifest)
    write_manifest(
        store, "packed", manifest.model_copy(update={"tokenizer_checksum": xxhash.xxh3_128_hexdigest(content)})
    )
    config = make_train_file(prepared, tmp_path / "run")
    data = config.data.model_copy(update={"dataset": str(dataset), "held_out": None})
    events = []
    with pytest.raises(ShardCorruptError) as caught:
        train(config.model_copy(update={"data": data}), events.append)
    assert caught.value.path == str(dataset / "tokenizer.json")
    assert events == []


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ({"step": 2}, "step 3 with a loader_state at"),
        ({"epoch": 1}, "step 3 with a loader_state at"),
        ({"step": 0}, "step 3 with a loader_state at"),
        ({"rows_served": 4}, "step 3 with a loader_state at"),
        ({"share_rows": 8}, "step 3 with a loader_state at"),
        ({"step": 10**6}, "loader_state: step 1000000 of an epoch"),
        ({"seed": -1}, "loader_state: the value of seed is wrong: -1"),
    ],
)
def test_a_checkpoint_whose_loader_stands_at_another_step_is_refused(prepared, tmp_path, place, found):
    config = make_train_file(prepared, tmp_path, steps=3)
    run(config)
    path = tmp_path / "checkpoints/step-00000003/checkpoint.json"
    marker = json.loads(path.read_text())
    marker["loader_state"] |= place
    path.write_text(json.dumps(marker))
    with pytest.raises(ShardCorruptError) as caught:
        run(make_train_file(prepared, tmp_path))
    assert caught.value.path == str(path)
    assert caught.value.found.startswith(found)


def test_stored_masks_are_read_and_must_be_those_that_are_asked_for(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "rows")
    config = make_train_file(tmp_path / "rows", tmp_path / "out", steps=3, evaluate_every=3)
    drawn = config.fingerprinted()
    assert "data.stored_masks" not in drawn
    config = config.model_copy(update={"data": config.data.model_copy(update={"stored_masks": True})})
    with pytest.raises(ConfigError, match="the dataset has no stored masks"):
        open_train_data(config)
    masking = Masking(rate=0.3)
    mask(tmp_path / "rows" / "packed", masking, 2, engine={"workers": 1})
    _, losses = run(config)
    assert list(losses) == [1, 2, 3]
    batches = MaskedBatches(f"{tmp_path}/rows/packed", global_batch_rows=16, masking="static")
    (first,) = batches.steps(1)
    read = next(iter(open_train_data(config.model_copy(update={"mask": masking})).batches))
    assert torch.equal(first.labels[:4], read.labels)
    asked = config.model_copy(update={"mask": Masking(strategy="whole_word", rate=0.3)})
    with pytest.raises(
        ConfigError, match=r"mask\.strategy = whole_word.*as \[mask\] asks; found mask\.strategy = token.*maskmill mask"
    ):
        open_train_data(asked)
    settings = config.model_dump(mode="json", exclude={"mask"}, exclude_defaults=True)
    settings["mask"] = {"seed": 7, "mask_share": 1.0, "random_share": 0.0}
    with pytest.raises(ConfigError, match="drawn with other settings") as caught:
        train(settings, recipe="bert-wwm")
    expected = caught.value.expected.split("; ")
    assert "mask.strategy = whole_word, mask.rate = 0.15, as recipe bert-wwm asks" in expected
    assert "mask.mask_share = 1.0, mask.random_share = 0.0, mask.seed = 7" in caught.value.expected
    assert [one for one in expected if one.endswith(", as [mask] asks")]
    assert "mask.rate = 0.3" in caught.value.found
    assert "leave [mask] out" not in caught.value.action
    mask(tmp_path / "rows" / "packed", Masking(rate=0.2), engine={"workers": 1})
    with pytest.raises(StaleArtifactError):
        run(config)


def test_checkpoints_hold_digests_of_weights_and_those_that_hold_all_of_them_go_on(prepared, tmp_path):
    size = read_manifest(open_store(f"{prepared}/packed"), PackedManifest).vocabulary.vocab_size
    masking = Masking(token_weights=[1 + token % 5 for token in range(size)])

    def settle(name, steps, masking=masking):
        return make_train_file(prepared, tmp_path / name, steps=steps).model_copy(update={"mask": masking})

    _, whole = run(settle("whole", 6))
    for name in ("new", "old"):
        _, first = run(settle(name, 3))
        path = tmp_path / name / "checkpoints/step-00000003/checkpoint.json"
        marker = json.loads(path.read_text())
        assert masking.token_weights not in path.read_text()
        if name == "old":
            marker["configuration"]["mask.token_weights"] = masking.token_weights
            marker["loader_state"].pop("token_weights")
            marker["loader_state"]["masking"] = masking.model_dump(mode="json")
            path.write_text(json.dumps(marker))
        with pytest.raises(StaleArtifactError, match=r"mask\.token_weights"):
            run(settle(name, 6, Masking(token_weights=[1] * size)))
        _, second = run(settle(name, 6))
        assert first | second == whole


def make_languages(folder):
    """Two datasets of one tokenizer, the second with a few rows."""
    words = [f"{first}{last}" for first in ("mo", "ne", "pi") for last in ("ra", "to", "su")]
    urls = []
    for name, lines in (("large", 600), ("small", 60)):
        generator = random.Random(name)
        text = "\n".join(" ".join(generator.choices(words, k=generator.randint(20, 60))) for _ in range(lines))
        (folder / f"{name}.txt").write_text(text)
        brought = {"from": f"{folder}/large/tokenizer"} if urls else {"vocab_size": 40}
        prepare(
            {
                "input": {"paths": [str(folder / f"{name}.txt")], "text_document": "line"},
                "output": {"url": str(folder / name)},
                "documents": {"held_out": 0.0},
                "tokenizer": brought,
                "pack": {"seq_len": 32},
                "engine": {"workers": 1},
            }
        )
        urls.append(str(folder / name / "packed"))
    return urls


def test_datasets_are_mixed_by_alpha_and_a_run_of_them_continues_to_the_bit(tmp_path):
    large, small = make_languages(tmp_path)
    rows = [read_manifest(open_store(url), PackedManifest).counts.rows for url in (large, small)]

    def describe(output, alpha, steps=12):
        return {
            "data": {"dataset": large, "more_datasets": [small], "alpha": alpha, "global_batch_rows": 40},
            "model": {"hidden_size": 16, "num_layers": 1, "num_heads": 2},
            "run": {"output": str(tmp_path / output), "steps": steps, "log_every": 1, "checkpoint_every": 5},
        }

    for alpha in (0.0, 0.3, 1.0):
        data = open_train_data(TrainFile.model_validate(describe("none", alpha)))
        counts = torch.zeros(2)
        for batch in islice(data.batches, 25):  # a thousand rows: the period of a mixture
            counts += torch.bincount(batch.datasets, minlength=2)
        weights = [count**alpha for count in rows]
        assert (counts / 1000).tolist() == pytest.approx([one / sum(weights) for one in weights], abs=0.002)
    _, whole = run(describe("whole", 0.3))
    _, first = run(describe("parts", 0.3, steps=7))
    _, second = run(describe("parts", 0.3))
    assert first | second == whole
    with pytest.raises(StaleArtifactError, match=r"data\.alpha"):
        run(describe("whole", 0.5, steps=13))


def test_a_sentence_task_is_refused_for_rows_without_pairs(prepared, tmp_path):
    config = make_train_file(prepared, tmp_path)
    model = config.model.model_copy(update={"sentence_task": True})
    with pytest.raises(ConfigError, match=r"the dataset has no pairs of segments.*model\.sentence_task = true"):
        open_train_data(config.model_copy(update={"model": model}))


@pytest.mark.parametrize(("packed", "name"), [("nsp", "albert"), ("sop", "bert"), ("sop", "bert-wwm")])
def test_a_recipe_of_other_pairs_than_the_rows_have_is_refused_by_name(tmp_path, packed, name):
    (tmp_path / "text.jsonl").write_text(
        "\n".join(
            json.dumps({"text": f"One of {n} went. Two of {n} came. Then {n} of them sat down."}) for n in range(60)
        )
    )
    run_file = {
        "input": {"paths": [str(tmp_path / "text.jsonl")]},
        "output": {"url": str(tmp_path / "out")},
        "documents": {"held_out": 0.0},
        "tokenizer": {"vocab_size": 60},
        "pack": {"seq_len": 32, "pairs": packed},
        "mask": {"copies": 1},
        "engine": {"workers": 1},
    }
    prepare(run_file)
    model = {"size": "tiny", "family": "albert" if name == "albert" else "bert"}
    settings = {
        "data": {"dataset": str(tmp_path / "out/packed"), "global_batch_rows": 4, "stored_masks": False},
        "model": model,
        "optimizer": {"warmup_steps": 1},
        "run": {"output": str(tmp_path / "training"), "steps": 1, "device": "cpu"},
    }
    other = "sop" if packed == "nsp" else "nsp"
    with pytest.raises(ConfigError, match="the dataset has other pairs") as caught:
        train(settings, recipe=name)
    assert f'model.sentence_task = "{other}" of recipe {name}' in caught.value.expected
    assert caught.value.found == f'pairs = "{packed}"'
    for task in (packed, True):
        assert train(settings | {"model": model | {"sentence_task": task}}, recipe=name).step == 1
