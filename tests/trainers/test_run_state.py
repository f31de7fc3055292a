"""What a run remembers of its best epoch."""

import torch
from torch import nn

from trainers.run_state import BestEpoch


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
