from __future__ import annotations

import dataclasses
import io
import math

import pytest
import torch
from rich.console import Console

from maskmill.jobs.train import TrainLines
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.training import run_training as run_training_module
from maskmill.pipeline.training.run_training import iter_global_batches, run_training
from maskmill.pipeline.training.score_held_out import HeldOutScore
from maskmill.pipeline.training.stop_signals import StopRequestedError
from maskmill.schemas.errors import ConfigError, ShardCorruptError, StaleArtifactError
from tests.training.small_runs import VOCAB_SIZE, Batches, make_config, make_data


class Killed(BaseException):
    """Stands for the end of the process: nothing in the tree catches it."""


def run(config, *, data=None, kill_at=None):
    events = []

    def report(event):
        events.append(event)
        if kill_at is not None and (event.event, event.step) == kill_at:
            raise Killed

    store = open_store(config.run.output)
    try:
        result = run_training(config, data or make_data(), store, report)
    except Killed:
        result = None
    return result, events


def collect_losses(events):
    return {event.step: event.loss for event in events if event.event == "train_step"}


def collect_scores(events):
    keys = ("loss", "unigram_entropy", "gap", "num_labels")
    return {event.step: [getattr(event, key) for key in keys] for event in events if event.event == "held_out"}


def read_tree(config, prefix):
    store = open_store(config.run.output)
    return {path: store.read_bytes(path) for path in store.list(prefix)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    config = make_config(str(tmp_path_factory.mktemp("undisturbed")))
    result, events = run(config)
    return config, result, events


def test_steps_checkpoints_and_scores_come_when_they_are_due(undisturbed):
    config, result, events = undisturbed
    assert list(collect_losses(events)) == list(range(1, 13))
    assert list(collect_scores(events)) == [4, 8, 12]
    assert [event.step for event in events if event.event == "checkpoint"] == [5, 10, 12]
    assert (result.step, result.resumed_from, result.stopped_by) == (12, None, "steps")
    assert result.held_out.gap == collect_scores(events)[12][2]
    assert [event.epoch for event in events if event.event == "train_step"][:4] == [0, 0, 0, 1]
    waited = [event.waited_seconds for event in events if event.event == "train_step"]
    micro_batches = config.data.global_batch_rows // config.data.micro_batch_rows
    assert set(waited) == {micro_batches * 0.25}  # a quarter of a second each, since the report before


def test_training_learns_the_frequencies(undisturbed):
    scores = collect_scores(undisturbed[2])
    assert scores[12][0] < scores[8][0] < scores[4][0] < math.log(VOCAB_SIZE)


@pytest.mark.parametrize(
    ("kill_at", "resumed_from"),
    [
        (("train_step", 3), None),
        (("train_step", 7), 5),
        (("checkpoint", 10), 10),
        (("held_out", 12), 10),
        (("checkpoint", 12), 12),
    ],
)
def test_a_killed_run_goes_on_as_if_nothing_had_been(undisturbed, tmp_path, kill_at, resumed_from):
    _, _, expected = undisturbed
    config = make_config(str(tmp_path))
    killed, first = run(config, kill_at=kill_at)
    assert killed is None
    result, second = run(config)
    assert result.resumed_from == resumed_from
    assert collect_losses(first) | collect_losses(second) == collect_losses(expected)
    assert collect_scores(first) | collect_scores(second) == collect_scores(expected)
    assert read_tree(config, "checkpoints") == read_tree(undisturbed[0], "checkpoints")
    assert read_tree(config, "model") == read_tree(undisturbed[0], "model")


@pytest.mark.parametrize("num_writes", [4, 5, 6, 7])
def test_a_run_killed_between_two_files_of_a_checkpoint_goes_on_from_the_one_before(
    undisturbed, tmp_path, monkeypatch, num_writes
):
    config = make_config(str(tmp_path))
    written = []
    write_bytes = Store.write_bytes

    def write_or_die(self, path, data):
        if len(written) == num_writes:
            raise Killed
        written.append(path)
        write_bytes(self, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_bytes", write_or_die)
        assert run(config)[0] is None
    assert len({path.split("/")[1] for path in written}) == 1 + (num_writes > 4)
    result, events = run(config)
    assert result.resumed_from == 5
    expected = collect_losses(undisturbed[2])
    assert collect_losses(events) == {step: expected[step] for step in range(6, 13)}
    assert read_tree(config, "checkpoints") == read_tree(undisturbed[0], "checkpoints")


def test_a_run_may_be_lengthened(undisturbed, tmp_path):
    run(make_config(str(tmp_path), run={"steps": 7, "checkpoint_every": 100, "evaluate_every": 100}))
    result, events = run(make_config(str(tmp_path)))
    assert result.resumed_from == 7
    expected = collect_losses(undisturbed[2])
    assert collect_losses(events) == {step: expected[step] for step in range(8, 13)}


def test_dropout_is_on_in_training_and_its_state_is_kept(undisturbed, tmp_path):
    """Without this, equal losses after resuming would not show that the generators were restored."""
    _, events = run(make_config(str(tmp_path), model={"dropout": 0.0}))
    assert collect_losses(events)[1] != collect_losses(undisturbed[2])[1]


def test_a_finished_run_is_only_scored_again(undisturbed, tmp_path):
    config = make_config(str(tmp_path))
    run(config)
    result, events = run(config)
    assert (result.step, result.resumed_from, result.stopped_by) == (12, 12, "steps")
    assert [event.event for event in events] == ["start", "held_out", "export"]
    assert result.held_out == undisturbed[1].held_out


def test_a_run_that_has_come_further_takes_no_step_and_says_so(tmp_path):
    run(make_config(str(tmp_path), run={"steps": 7}))
    config = make_config(str(tmp_path), run={"steps": 3})
    result, events = run(config)
    assert (result.step, result.resumed_from, collect_losses(events)) == (7, 7, {})
    console = Console(file=io.StringIO(), width=200)
    lines = TrainLines(console)
    lines.expect(config.run.steps)
    lines(events[0])
    assert "run.steps = 3 is below step 7 of the checkpoint: no step is taken" in console.file.getvalue()


def test_a_stop_between_steps_is_saved_unless_there_is_no_step(undisturbed, tmp_path):
    """Where a report is given, the state is that of a whole step."""
    for at, saved in ((("start", 0), []), (("train_step", 3), [3]), (("held_out", 4), [4]), (("checkpoint", 5), [5])):
        config = make_config(str(tmp_path / f"{at[0]}"))

        def report(event, at=at):
            if (event.event, event.step) == at:
                raise StopRequestedError(2)

        with pytest.raises(StopRequestedError) as caught:
            run_training(config, make_data(), open_store(config.run.output), report)
        assert caught.value.not_saved is None
        markers = [path for path in read_tree(config, "checkpoints") if path.endswith("checkpoint.json")]
        assert [int(path.split("-")[-1].split("/")[0]) for path in markers] == saved
        _, events = run(config)
        expected = collect_losses(undisturbed[2])
        first = saved[0] if saved else 0
        assert collect_losses(events) == {step: expected[step] for step in range(first + 1, 13)}


def test_a_step_that_cannot_be_saved_on_leaving_is_told(tmp_path, monkeypatch):
    config = make_config(str(tmp_path))

    def report(event):
        if event.event == "train_step":
            raise StopRequestedError(2)

    def fail(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(run_training_module, "write_checkpoint", fail)
    with pytest.raises(StopRequestedError) as caught:
        run_training(config, make_data(), open_store(config.run.output), report)
    assert "no space left" in str(caught.value.not_saved)


def test_global_batches_without_a_label_give_a_loss_of_zero(tmp_path):
    data = make_data(held_out=False)
    make = data.batches.__class__.__iter__

    class Unlabelled(Batches):
        def __iter__(self):
            for batch in make(self):
                yield dataclasses.replace(batch, labels=torch.full_like(batch.labels, -100))

    data = dataclasses.replace(data, batches=Unlabelled(6, 4))
    result, events = run(make_config(str(tmp_path), run={"steps": 3}), data=data)
    assert set(collect_losses(events).values()) == {0.0}
    assert result.last_loss == 0.0


@pytest.mark.parametrize(
    ("section", "keys", "named"),
    [
        ("optimizer", {"learning_rate": 1e-3}, "optimizer.learning_rate"),
        ("model", {"num_layers": 1}, "model.num_layers"),
        ("mask", {"rate": 0.2}, "mask.rate"),
        ("data", {"seed": 1}, "data.seed"),
        ("run", {"seed": 1}, "run.seed"),
    ],
)
def test_another_train_file_is_refused_by_name(tmp_path, section, keys, named):
    run(make_config(str(tmp_path), run={"steps": 1}))
    with pytest.raises(StaleArtifactError, match=named):
        run(make_config(str(tmp_path), **{section: keys}))


def test_another_dataset_is_refused(tmp_path):
    run(make_config(str(tmp_path), run={"steps": 1}))
    with pytest.raises(StaleArtifactError, match="dataset"):
        run(make_config(str(tmp_path)), data=make_data(fingerprint="0" * 32))


def test_the_target_stops_a_run_at_the_evaluation_that_reaches_it(tmp_path, monkeypatch):
    scores = iter([HeldOutScore(3.1, 3.5, 9), HeldOutScore(3.0, 3.5, 9), HeldOutScore(0.0, 3.5, 9)])
    monkeypatch.setattr(run_training_module, "score_held_out", lambda *_, **__: next(scores))
    result, events = run(make_config(str(tmp_path), run={"target_gap_nats": 0.5}))
    assert (result.stopped_by, result.step, result.held_out.gap) == ("target", 8, 0.5)
    assert [event.step for event in events if event.event == "checkpoint"] == [5, 8]


def test_a_run_that_has_reached_its_target_takes_no_further_step(tmp_path, monkeypatch):
    monkeypatch.setattr(
        run_training_module,
        "score_held_out",
        lambda *_, **__: HeldOutScore(loss=1.0, unigram_entropy=2.0, num_labels=1),
    )
    config = make_config(str(tmp_path), run={"target_gap_nats": 0.5, "steps": 12})
    first, _ = run(config)
    again, events = run(config)
    assert (first.stopped_by, again.stopped_by) == ("target", "target")
    assert again.step == first.step == again.resumed_from
    assert collect_losses(events) == {}
    assert (again.first_loss, again.last_loss) == (first.first_loss, first.last_loss)
    assert None not in (again.first_loss, again.last_loss)


def test_the_time_limit_stops_a_run_after_whole_steps(tmp_path):
    result, events = run(make_config(str(tmp_path), run={"max_seconds": 1e-9}))
    assert (result.step, result.stopped_by) == (1, "seconds")
    assert [event.event for event in events] == ["start", "train_step", "checkpoint", "held_out", "export"]


def test_without_held_out_rows_nothing_is_scored(tmp_path):
    result, events = run(make_config(str(tmp_path), run={"steps": 4}), data=make_data(held_out=False))
    assert result.held_out is None
    assert collect_scores(events) == {}


def test_a_loss_that_is_no_number_leaves_the_last_checkpoint_as_it_was(tmp_path):
    config = make_config(str(tmp_path), optimizer={"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 1e30})
    config = config.model_copy(update={"run": config.run.model_copy(update={"checkpoint_every": 1})})
    with pytest.raises(ConfigError, match="no longer a number") as caught:
        run(config)
    assert "learning rate" in caught.value.action
    steps = [path for path in read_tree(config, "checkpoints") if path.endswith("checkpoint.json")]
    assert len(steps) == int(str(caught.value).split("at step ")[1].split(";")[0])


def test_steps_are_taken_at_the_rate_of_the_schedule(tmp_path):
    """At the start of a warmup of a million steps nothing is learned."""
    keys = {"warmup_steps": 10**6, "decay_steps": None}
    _, events = run(make_config(str(tmp_path), optimizer=keys))
    scores = collect_scores(events)
    assert scores[12][0] == pytest.approx(scores[4][0], abs=1e-4)
    rates = [event.learning_rate for event in events if event.event == "train_step"]
    assert rates == pytest.approx([5e-9 * step for step in range(1, 13)])


def test_a_gradient_is_scaled_down_to_the_clip_norm(tmp_path):
    """With a norm far below epsilon AdamW's steps vanish, so nothing is learned; the reported norm is unclipped."""
    keys = {"clip_norm": 1e-14, "weight_decay": 0.0}
    _, events = run(make_config(str(tmp_path), optimizer=keys))
    scores = collect_scores(events)
    assert scores[12][0] == pytest.approx(scores[4][0], abs=1e-4)
    assert min(event.gradient_norm for event in events if event.event == "train_step") > 1e-3


def test_the_callers_generators_are_left_alone(tmp_path):
    before = torch.get_rng_state()
    run(make_config(str(tmp_path), run={"steps": 1}))
    assert torch.equal(before, torch.get_rng_state())


def test_transformers_loads_the_exported_model(undisturbed):
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    config, result, _ = undisturbed
    assert result.model_url == f"{config.run.output}/model"
    model = AutoModelForMaskedLM.from_pretrained(result.model_url)
    tokenizer = AutoTokenizer.from_pretrained(result.model_url)
    assert tokenizer("w5 w6 nothing [MASK]", add_special_tokens=False)["input_ids"] == [5, 6, 1, 4]
    assert (tokenizer.pad_token_id, tokenizer.mask_token, tokenizer.model_max_length) == (0, "[MASK]", 12)
    from safetensors.torch import load

    store = open_store(config.run.output)
    saved = load(store.read_bytes("checkpoints/step-00000012/model.safetensors"))
    loaded = dict(model.named_parameters())
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)
    assert not model.training


def test_global_batches_are_whole_and_nothing_is_read_ahead():
    batches = Batches(global_rows=6, micro_rows=4)
    steps = iter_global_batches(batches, 6)
    for number in range(1, 6):
        micro_batches = next(steps)
        assert [len(batch.row_ids) for batch in micro_batches] == [4, 2]
        assert len({(batch.epoch, batch.step) for batch in micro_batches}) == 1
        assert batches.next_step == number


@pytest.mark.parametrize("global_batch_rows", [5, 7, 10])
def test_micro_batches_that_do_not_add_up_are_refused(global_batch_rows):
    with pytest.raises(ShardCorruptError, match="add up") as caught:
        next(iter_global_batches(Batches(global_rows=6, micro_rows=4), global_batch_rows))
    assert caught.value.path == "data.dataset"
    assert "maskmill verify" in caught.value.action
