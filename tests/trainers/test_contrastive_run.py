"""The loop on drawn images: it learns, it is repeatable, it survives what happens to real runs."""

import json
import signal
from contextlib import closing, contextmanager

import pytest
import torch

from encoders.errors import DataError, DivergedError
from tests.trainers.drawn import Recorder, draw_pairs, small_model, small_options, small_tokenizer
from trainers.augmentation import Augmentation
from trainers.checkpoints import data_fingerprint
from trainers.contrastive_task import ContrastiveTask
from trainers.data import PairSplits
from trainers.device import Placement
from trainers.processes import Processes
from trainers.randomness import seed_torch
from trainers.run_state import Throughput
from trainers.training_run import TrainingRun

CPU = Placement(torch.device("cpu"), bf16=False)


@pytest.fixture
def pairs(tmp_path):
    return draw_pairs(tmp_path / "train", 24), draw_pairs(tmp_path / "val", 12, seed=1)


@contextmanager
def make_run(pairs, folder, listener=None, **given):
    options, listener = small_options(**given), listener or Recorder()
    tokenizer = small_tokenizer(pairs[0])
    seed_torch(options.seed, "weights")
    model = small_model(tokenizer.vocab_size)
    task = ContrastiveTask(model, tokenizer, PairSplits(*pairs), options, CPU, listener, Processes())
    work, data = folder / "model.training", data_fingerprint(*pairs)
    with closing(task):
        yield TrainingRun(task, CPU, work, data, listener=listener, processes=Processes())


def interrupting_after(step):
    class Interrupting(Recorder):
        def on_step(self, report):
            if report.step == step:
                raise KeyboardInterrupt

    return Interrupting()


def weights_after(pairs, folder, **given):
    with make_run(pairs, folder, **given) as run:
        run.fit()
        return {name: value.clone() for name, value in run.task.module.model.state_dict().items()}


def test_it_learns_to_tell_drawn_lesions_apart(pairs, tmp_path):
    listener = Recorder()
    with make_run(pairs, tmp_path, listener, epochs=12, learning_rate=5e-3) as run:
        assert run.fit() is False
        # Chance is (1 + 5 + 10) / 12 / 3 = 0.44.
        assert run.task.best_recall().mean_recall > 0.6
    assert listener.epochs[-1].loss < 0.8 * listener.epochs[0].loss
    assert listener.starts[0].total_steps == len(listener.steps) == 36
    assert [report.step for report in listener.steps] == list(range(1, 37))
    assert listener.steps[-1].learning_rate < 2e-4 < max(report.learning_rate for report in listener.steps)


@pytest.mark.parametrize("loss", ["infonce", "matched", "soft", "sigmoid"])
def test_every_loss_trains(pairs, tmp_path, loss):
    listener = Recorder()
    with make_run(pairs, tmp_path, listener, loss=loss, epochs=4, learning_rate=5e-3) as run:
        run.fit()
    assert listener.epochs[-1].loss < listener.epochs[0].loss


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(pairs, tmp_path):
    first, again, other = (weights_after(pairs, tmp_path, seed=seed) for seed in (4, 4, 5))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_best_epoch_is_kept_not_the_last(pairs, tmp_path):
    listener = Recorder()
    with make_run(pairs, tmp_path, listener, epochs=6, learning_rate=5e-3) as run:
        run.fit()
        recalls = [report.validation.mean_recall for report in listener.epochs]
        assert run.task.best_recall().mean_recall == max(recalls)
        assert run.task.best.epoch == 1 + recalls.index(max(recalls))
        assert [report.is_best for report in listener.epochs][run.task.best.epoch - 1]
        run.task.best_model()
        evaluated_again = run.task._evaluator.evaluate(run.task.module)
    assert evaluated_again.recall == run.task.best_recall()


def test_the_journal_has_a_line_for_each_epoch(pairs, tmp_path):
    with make_run(pairs, tmp_path) as run:
        run.fit()
        lines = [json.loads(line) for line in run.journal.content().splitlines()]
    assert [line["event"] for line in lines] == ["start", "epoch", "epoch"]
    assert lines[0]["options"]["preset"]["name"] == "tiny"
    assert lines[1]["validation"]["pool"] == 12


def test_a_missing_image_is_skipped_counted_and_named(pairs, tmp_path):
    pairs[0][5].image.unlink()
    pairs[1][0].image.write_bytes(b"")
    listener = Recorder()
    with make_run(pairs, tmp_path, listener) as run:
        run.fit()
        assert run.task.skipped == 1
    assert sorted(listener.skips) == [
        (pairs[0][5].id, pairs[0][5].image, "there is no such file"),
        (pairs[1][0].id, pairs[1][0].image, "the file is empty"),
    ]
    assert listener.starts[0].validation_pairs == 11


def test_no_readable_training_image_is_an_error(pairs, tmp_path):
    for pair in pairs[0]:
        pair.image.unlink()
    with make_run(pairs, tmp_path) as run, pytest.raises(DataError, match="none of the 24 training images"):
        run.fit()


def test_no_readable_validation_image_is_an_error(pairs, tmp_path):
    for pair in pairs[1][1:]:
        pair.image.unlink()
    expected = "1 validation images can be read: recall needs at least 2"
    with pytest.raises(DataError, match=expected), make_run(pairs, tmp_path):
        pass


def test_a_loss_that_is_no_number_names_step_rate_and_batch(pairs, tmp_path):
    class Poison(Recorder):
        def on_step(self, report):
            super().on_step(report)
            if report.step == 4:
                with torch.no_grad():
                    run.task.module.model.image_head.weight.fill_(float("nan"))

    with make_run(pairs, tmp_path, Poison()) as run:
        expected = r"no longer a number at step 5, learning rate \d\.\d\de-\d\d, batch of drawn/0-"
        with pytest.raises(DivergedError, match=expected):
            run.fit()
        assert run.task.best.epoch == 1
        assert all(torch.isfinite(value).all() for value in run.task.best_model().state_dict().values())


def test_a_signal_stops_between_two_steps(pairs, tmp_path):
    class Impatient(Recorder):
        def on_step(self, report):
            super().on_step(report)
            if report.step == 5:
                signal.raise_signal(signal.SIGINT)

    listener = Impatient()
    before = signal.getsignal(signal.SIGINT)  # a shell ignores it for what runs in the background
    with make_run(pairs, tmp_path, listener, epochs=5) as run:
        assert run.fit() is True
    assert len(listener.steps) == 5
    assert listener.notes == ["interrupted in epoch 2: the best epoch so far, 1, is kept"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_time_limit_ends_the_run_with_its_schedule(pairs, tmp_path):
    clock = iter(range(10_000))
    listener = Recorder()
    with make_run(pairs, tmp_path, listener, epochs=1000, time_limit_minutes=2) as run:
        run.throughput = Throughput(120, now=lambda: float(next(clock)))
        assert run.fit() is False
        assert 0 < run.progress.epochs < 20
        assert run.task.best.epoch > 0
    assert any("the time is over after" in note for note in listener.notes)
    assert listener.steps[-1].learning_rate < 0.1 * max(report.learning_rate for report in listener.steps)


def test_it_stops_early_when_recall_no_longer_grows(pairs, tmp_path):
    listener = Recorder()
    with make_run(pairs, tmp_path, listener, epochs=9, patience=2, learning_rate=1e-9) as run:
        assert run.fit() is False
        assert run.progress.epochs == run.task.best.epoch + 2
    assert listener.notes == [f"no better recall in 2 epochs: stopped after epoch {run.progress.epochs}"]


def test_patience_begins_after_the_epochs_on_images_alone(pairs, tmp_path):
    listener = Recorder()
    options = {"augmentation": Augmentation(), "image_epochs": 4, "patience": 1, "learning_rate": 1e-9}
    with make_run(pairs, tmp_path, listener, epochs=9, **options) as run:
        assert run.fit() is False
    assert run.progress.epochs == max(run.task.best.epoch, 4) + 1


def test_on_images_alone_the_text_tower_waits(pairs, tmp_path):
    options = {"augmentation": Augmentation(), "image_epochs": 1, "weight_decay": 0.0, "learning_rate": 5e-3}
    with make_run(pairs, tmp_path, interrupting_after(3), epochs=2, **options) as run:
        before = {name: value.clone() for name, value in run.task.module.model.state_dict().items()}
        run.fit()
        after = run.task.module.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("image_tower.") for name in moved)
    assert not any(name.startswith("text_") for name in moved)


def test_chunks_under_batch_norm_are_admitted(pairs, tmp_path):
    listener = Recorder()
    with make_run(pairs, tmp_path, listener, cache_chunk=4) as run:
        run.fit()
    assert "batch norms see one chunk, or one process's share, at a time" in listener.notes[0]


def test_a_second_signal_interrupts_at_once(pairs, tmp_path):
    class Twice(Recorder):
        def on_step(self, report):
            super().on_step(report)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            self.reached = True

    listener = Twice()
    with make_run(pairs, tmp_path, listener) as run:
        assert run.fit() is True
    assert not hasattr(listener, "reached")
