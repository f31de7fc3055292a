"""A run that was stopped, politely or not, ends with the weights of one that never was."""

import json

import pytest
import torch

from encoders.errors import CheckpointError
from tests.trainers.drawn import Recorder, draw_pairs
from tests.trainers.test_contrastive_run import make_run
from trainers.augmentation import Augmentation
from trainers.checkpoints import data_fingerprint, read_checkpoint, write_checkpoint

RECIPE = {"epochs": 4, "learning_rate": 5e-3, "checkpoint_steps": 2, "augmentation": Augmentation()}


class Killed(BaseException):
    """Ends a run at once, as SIGKILL does: nothing is caught, and nothing more is written."""


class StopAt(Recorder):
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


def pairs_in(folder):
    return draw_pairs(folder / "train", 24), draw_pairs(folder / "val", 12, seed=1)


def hurry(run):
    """Let a plateau begin whatever the losses are, so that a short run sees its rate fall."""
    run.task.plateau.threshold = 0.9


def finish(folder, work, **given):
    listener = Recorder()
    with make_run(pairs_in(folder), work, listener, **(RECIPE | given)) as run:
        hurry(run)
        assert run.fit() is False
        weights = {name: value.clone() for name, value in run.task.module.state_dict().items()}
        best = {name: value.clone() for name, value in run.task.best_model().state_dict().items()}
        lines = [json.loads(line) for line in run.journal.content().splitlines()]
    return weights, best, lines, listener


def assert_the_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_interrupted_between_two_checkpoints(tmp_path):
    weights, best, lines, _ = finish(tmp_path, tmp_path / "whole")
    listener = StopAt(8, "interrupt")  # step 8 of 3 a epoch: in the third epoch
    with make_run(pairs_in(tmp_path), tmp_path / "parts", listener, **RECIPE) as run:
        assert run.fit() is True
    resumed, resumed_best, resumed_lines, listener = finish(tmp_path, tmp_path / "parts", resume=True)
    assert_the_same(resumed, weights)
    assert_the_same(resumed_best, best)
    assert (listener.starts[0].first_step, listener.steps[0].step) == (8, 9)
    assert [line["event"] for line in resumed_lines] == ["start", *["epoch"] * 2, "resume", *["epoch"] * 2]
    losses = [[line["loss"] for line in part if line["event"] == "epoch"] for part in (lines, resumed_lines)]
    assert losses[0] == losses[1]


EVERYTHING = {
    "schedule": "plateau",
    "ema": 0.9,
    "label_weight": 0.5,
    "view_weight": 0.5,
    "image_epochs": 1,
    "loss": "sigmoid",
    "epochs": 7,
}


@pytest.mark.parametrize("step", [2, 16], ids=["on images alone", "in the sixth epoch"])
def test_everything_that_can_be_added_resumes_too(tmp_path, step):
    weights, best, lines, listener = finish(tmp_path, tmp_path / "whole", **EVERYTHING)
    rates = {report.learning_rate for report in listener.steps}
    assert len(rates) > 2
    with make_run(
        pairs_in(tmp_path), tmp_path / "parts", StopAt(step, "interrupt"), **(RECIPE | EVERYTHING)
    ) as run:
        hurry(run)
        assert run.fit() is True
    resumed, resumed_best, _, rest = finish(tmp_path, tmp_path / "parts", **EVERYTHING, resume=True)
    assert_the_same(resumed, weights)
    assert_the_same(resumed_best, best)
    expected = [report.learning_rate for report in listener.steps[step:]]
    assert [report.learning_rate for report in rest.steps] == expected
    seen = [(line["validation_loss"], line["loss"]) for line in lines if line["event"] == "epoch"]
    assert [(report.validation_loss, report.loss) for report in rest.epochs] == seen[-len(rest.epochs) :]


def test_killed_in_mid_epoch(tmp_path):
    weights, best, _, _ = finish(tmp_path, tmp_path / "whole")
    with (
        pytest.raises(Killed),
        make_run(pairs_in(tmp_path), tmp_path / "parts", StopAt(8, "kill"), **RECIPE) as run,
    ):
        run.fit()
    resumed, resumed_best, _, listener = finish(tmp_path, tmp_path / "parts", resume=True)
    assert listener.starts[0].first_step == 6  # the last checkpoint, before the step that killed it
    assert_the_same(resumed, weights)
    assert_the_same(resumed_best, best)


def test_frozen_towers_resume_too(tmp_path):
    weights, _, _, _ = finish(tmp_path, tmp_path / "whole", freeze="image")
    with make_run(
        pairs_in(tmp_path), tmp_path / "parts", StopAt(5, "interrupt"), **RECIPE, freeze="image"
    ) as run:
        run.fit()
    resumed, _, _, _ = finish(tmp_path, tmp_path / "parts", freeze="image", resume=True)
    assert_the_same(resumed, weights)


def test_nothing_to_resume(tmp_path):
    expected = "there is no run to resume in .*: start one without resuming"
    with pytest.raises(CheckpointError, match=expected), make_run(pairs_in(tmp_path), tmp_path, resume=True):
        pass


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    with make_run(pairs_in(tmp_path), tmp_path, StopAt(2, "interrupt"), **RECIPE) as run:
        run.fit()
    expected = "had batch_size = 8, not 6: give the same options"
    with (
        pytest.raises(CheckpointError, match=expected),
        make_run(pairs_in(tmp_path), tmp_path, **RECIPE, batch_size=6, resume=True),
    ):
        pass
    train, validation = pairs_in(tmp_path)
    expected = "the pairs changed since the run in .* began"
    with (
        pytest.raises(CheckpointError, match=expected),
        make_run((train[:-1], validation), tmp_path, **RECIPE, resume=True),
    ):
        pass


def test_a_damaged_checkpoint_is_one_clear_line(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt cannot be read: force a new run"):
        read_checkpoint(tmp_path, {}, "")


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write_checkpoint(tmp_path, {"options": {}, "data": "", "step": 1})

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("trainers.checkpoints.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(tmp_path, {"options": {}, "data": "", "step": 2})
    assert read_checkpoint(tmp_path, {}, "")["step"] == 1


def test_the_fingerprint_of_pairs_sees_captions_and_order(tmp_path):
    train, validation = pairs_in(tmp_path)
    same = data_fingerprint(train, validation)
    assert data_fingerprint(list(train), validation) == same
    assert data_fingerprint(train[::-1], validation) != same
    assert data_fingerprint(train[:-1], [train[-1], *validation]) != same
