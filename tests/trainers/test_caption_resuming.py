"""A decoder run that was stopped, politely or not, ends with the weights of one that never was."""

import json

import pytest
import torch

from encoders.errors import CheckpointError
from tests.trainers.drawn_captions import Watcher, share_right, small_options
from trainers.augmentation import Augmentation
from trainers.caption_task import CaptioningTask, prepare
from trainers.captioning import train_decoder, work_folder
from trainers.checkpoints import CHECKPOINT_FILE, data_fingerprint
from trainers.data import PairSplits
from trainers.device import choose_placement
from trainers.processes import Processes
from trainers.training_run import TrainingRun

RECIPE = {
    "epochs": 4,
    "learning_rate": 5e-3,
    "checkpoint_steps": 2,
    "augmentation": Augmentation(),
    "views": 2,
    "dropout": 0.3,
    "retrieve": 2,
    "retrieved_tokens": 8,
    "schedule": "plateau",
}


class Killed(BaseException):
    """Ends a run at once, as SIGKILL does: nothing is caught, and nothing more is written."""


class StopAt(Watcher):
    """Stops a run after a step: politely, or as the kernel would."""

    def __init__(self, step, how):
        super().__init__()
        self.step, self.how = step, how

    def on_step(self, report):
        super().on_step(report)
        if report.step == self.step:
            if self.how == "interrupt":
                raise KeyboardInterrupt
            raise Killed


def make_run(splits, bundle, work, listener=None, **given):
    listener = listener or Watcher()
    options = small_options(**(RECIPE | given))
    placement = choose_placement("cpu", options.precision)
    prepared = prepare(splits, bundle, options, share_right, placement, listener, Processes())
    data = f"{data_fingerprint(splits.train, splits.validation)} {bundle.fingerprint}"
    task = CaptioningTask(prepared, options, placement, Processes())
    return TrainingRun(task, placement, work, data, listener=listener, processes=Processes())


def finish(run):
    assert run.fit() is False
    weights = {name: value.clone() for name, value in run.task.module.state_dict().items()}
    lines = [json.loads(line) for line in run.journal.content().splitlines()]
    return weights, run.task.best, lines


def assert_the_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


@pytest.fixture
def splits(drawn_splits):
    return PairSplits(drawn_splits.train[:24], drawn_splits.validation)


@pytest.mark.parametrize("decoder", ["lstm", "transformer"])
def test_interrupted_between_two_checkpoints(tmp_path, splits, bundle, decoder):
    kind = {"decoder": decoder, "retrieve": 0 if decoder == "lstm" else 2}
    weights, best, lines = finish(make_run(splits, bundle, tmp_path / "whole", **kind))
    stopped = make_run(splits, bundle, tmp_path / "parts", StopAt(8, "interrupt"), **kind)
    assert stopped.fit() is True  # step 8 of 3 an epoch: in the third epoch
    listener = Watcher()
    resumed = make_run(splits, bundle, tmp_path / "parts", listener, resume=True, **kind)
    resumed_weights, resumed_best, resumed_lines = finish(resumed)
    assert_the_same(resumed_weights, weights)
    assert_the_same(resumed_best.weights, best.weights)
    assert (listener.starts[0].first_step, listener.steps[0].step) == (8, 9)
    assert [line["event"] for line in resumed_lines] == ["start", *["epoch"] * 2, "resume", *["epoch"] * 2]
    losses = [[line["loss"] for line in part if line["event"] == "epoch"] for part in (lines, resumed_lines)]
    assert losses[0] == losses[1]


def test_killed_in_mid_epoch(tmp_path, splits, bundle):
    weights, best, _ = finish(make_run(splits, bundle, tmp_path / "whole"))
    with pytest.raises(Killed):
        make_run(splits, bundle, tmp_path / "parts", StopAt(8, "kill")).fit()
    listener = Watcher()
    resumed = make_run(splits, bundle, tmp_path / "parts", listener, resume=True)
    resumed_weights, resumed_best, _ = finish(resumed)
    assert listener.starts[0].first_step == 6  # the last checkpoint, before the step that killed it
    assert_the_same(resumed_weights, weights)
    assert_the_same(resumed_best.weights, best.weights)


def test_nothing_to_resume_is_said_before_any_image_is_looked_at(splits, bundle):
    watcher, options = Watcher(), small_options(resume=True)
    with pytest.raises(CheckpointError, match="there is no run to resume in .*: start one without resuming"):
        train_decoder(splits.train, splits.validation, bundle, options, share_right, watcher)
    assert not watcher.seen


def test_another_run_is_not_gone_on_with(splits, bundle):
    def train(train, **given):
        options = small_options(**given)
        return train_decoder(train, splits.validation, bundle, options, share_right, StopAt(2, "interrupt"))

    assert train(splits.train).interrupted
    assert (work_folder(bundle) / CHECKPOINT_FILE).exists()
    with pytest.raises(CheckpointError, match="had dropout = 0.0, not 0.1: give the same options"):
        train(splits.train, dropout=0.1, resume=True)
    with pytest.raises(CheckpointError, match="the pairs changed since the run"):
        train(splits.train[:-1], resume=True)
