"""The moving average of the weights, and a run that keeps it."""

import pytest
import torch

from tests.trainers.drawn import Recorder, draw_pairs, small_model
from tests.trainers.test_contrastive_run import make_run
from trainers.device import Placement
from trainers.pair_encoder import AveragedEncoder, PairEncoder

CPU = Placement(torch.device("cpu"), bf16=False)


def changed(encoder, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in encoder.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator))
        for name, value in encoder.named_buffers():
            value.add_(1 if "batches" in name else torch.rand(value.shape, generator=generator))


def test_it_is_the_exponential_average_of_weights_and_statistics():
    encoder = PairEncoder(small_model(50), "infonce", CPU, "text")
    average = AveragedEncoder(encoder, decay=0.5)
    expected = {name: value.double() for name, value in encoder.state_dict().items()}
    for step in range(12):
        changed(encoder, seed=step)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in encoder.state_dict().items():
            keeps = decay if value.is_floating_point() else 0.0
            expected[name] = keeps * expected[name] + (1 - keeps) * value.double()
    for name, value in average.encoder.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-5, msg=name)
    moved = encoder.state_dict()["model.image_head.weight"]
    assert not torch.equal(average.encoder.state_dict()["model.image_head.weight"], moved)
    assert not any(weight.requires_grad for weight in average.encoder.parameters())
    assert not any(part.training for part in average.encoder.modules())


def test_the_average_is_what_is_judged_and_kept(tmp_path):
    pairs = draw_pairs(tmp_path / "train", 24), draw_pairs(tmp_path / "val", 12, seed=1)
    listener = Recorder()
    with make_run(pairs, tmp_path, listener, epochs=4, learning_rate=5e-3, ema=0.9) as run:
        run.fit()
        last = {name: value.clone() for name, value in run.task.module.model.state_dict().items()}
        best = run.task.best_model()
        again = run.task._evaluator.evaluate(run.task._kept_encoder)
        assert again.recall == run.task.best_recall()
    assert (
        max(report.validation.mean_recall for report in listener.epochs) == run.task.best_recall().mean_recall
    )
    assert not torch.equal(best.state_dict()["image_head.weight"], last["image_head.weight"])


@pytest.mark.parametrize("stop_at", ["on_start", "on_step"])
def test_interrupted_before_an_epoch_the_average_as_it_is_now_is_kept(tmp_path, stop_at):
    def interrupt(self, report):
        raise KeyboardInterrupt

    pairs = draw_pairs(tmp_path / "train", 24), draw_pairs(tmp_path / "val", 12, seed=1)
    listener = type("Interrupting", (Recorder,), {stop_at: interrupt})()
    with make_run(pairs, tmp_path, listener, ema=0.9) as run:
        assert run.fit() is True
        assert run.task.best_model() is run.task._average.encoder.model
