"""The learning rate over a run, and what it remembers of its best epoch."""

import pytest
import torch
from torch import nn

from trainers.optimisation import LossPlateau, run_progress, warmup_cosine
from trainers.run_state import BestEpoch


def test_rises_linearly_then_falls_as_half_a_cosine():
    assert warmup_cosine(0.0, 0.1) == 0.0
    assert warmup_cosine(0.05, 0.1) == pytest.approx(0.5)
    assert warmup_cosine(0.1, 0.1) == pytest.approx(1.0)
    assert warmup_cosine(0.55, 0.1) == pytest.approx(0.5)  # half of the falling part
    assert warmup_cosine(1.0, 0.1) == pytest.approx(0.0)


def test_without_warmup_it_starts_at_the_peak():
    assert warmup_cosine(0.0, 0.0) == 1.0


def test_it_falls_to_the_lowest_factor():
    assert warmup_cosine(1.0, 0.1, lowest=0.2) == pytest.approx(0.2)
    assert warmup_cosine(0.55, 0.1, lowest=0.2) == pytest.approx(0.6)


@pytest.mark.parametrize(("progress", "same_as"), [(-1.0, 0.0), (2.0, 1.0)])
def test_progress_outside_the_run_is_clamped(progress, same_as):
    assert warmup_cosine(progress, 0.1) == warmup_cosine(same_as, 0.1)


def test_progress_by_steps():
    assert run_progress(0, 10) == pytest.approx(0.05)
    assert run_progress(9, 10) == pytest.approx(0.95)


def test_progress_by_the_clock_when_that_is_further():
    assert run_progress(1, 10, elapsed_seconds=90, limit_seconds=100) == pytest.approx(0.9)
    assert run_progress(8, 10, elapsed_seconds=1, limit_seconds=100) == pytest.approx(0.85)
    assert run_progress(8, 10, elapsed_seconds=500, limit_seconds=100) == 1.0


def test_the_plateau_falls_when_torchs_does():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, patience=1, factor=0.8)
    mine = LossPlateau()
    losses = [5.0, 4.0, 4.0, 4.0, 3.9999, 3.9, 4.0, 3.8, 3.9, 3.9, 3.9, 3.9, 3.7, *([3.7] * 7), 1.0]
    rates = []
    for loss in losses:
        theirs.step(loss)
        mine.update(loss)
        rates.append(mine.rate)
        assert mine.rate == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-12)
    assert len(set(rates)) > 4


def weights_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_the_best_weights_are_a_copy_in_the_same_place():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    best: BestEpoch[float] = BestEpoch(lambda score: score)
    assert best.offer(1, 0.5, module)
    first, places = weights_of(module), {name: value.data_ptr() for name, value in best.weights.items()}
    nn.init.ones_(module[0].weight)
    assert not best.offer(2, 0.5, module)
    assert all(torch.equal(best.weights[name], value) for name, value in first.items())
    assert best.offer(3, 0.6, module)
    assert torch.equal(best.weights["0.weight"], torch.ones(2, 3))
    assert {name: value.data_ptr() for name, value in best.weights.items()} == places
    assert best.epoch == 3
    assert best.scores == 0.6
    module.load_state_dict(best.weights)
