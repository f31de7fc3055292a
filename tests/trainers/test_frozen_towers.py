"""Frozen towers: their features are computed once, and nothing of them changes."""

import pytest
import torch

from tests.trainers.drawn import Recorder, draw_pairs
from tests.trainers.test_contrastive_run import make_run
from trainers.augmentation import Augmentation


@pytest.fixture
def pairs(tmp_path):
    train = draw_pairs(tmp_path / "train", 16)
    train[3].image.unlink()
    return train, draw_pairs(tmp_path / "val", 8, seed=1)


def weights_after(pairs, folder, **given):
    listener = Recorder()
    options = {"epochs": 3, "learning_rate": 5e-3, "augmentation": Augmentation()} | given
    with make_run(pairs, folder, listener, **options) as run:
        before = {name: value.clone() for name, value in run.task.module.model.state_dict().items()}
        run.fit()
        after = {name: value.clone() for name, value in run.task.module.model.state_dict().items()}
    return before, after, listener


@pytest.mark.parametrize("freeze", ["image", "text", "both"])
def test_with_the_cache_as_without(pairs, tmp_path, freeze):
    before, cached, listener = weights_after(pairs, tmp_path, freeze=freeze)
    _, plain, _ = weights_after(pairs, tmp_path, freeze=freeze, cache_frozen=False)
    for name in cached:
        torch.testing.assert_close(cached[name], plain[name], rtol=1e-4, atol=1e-5, msg=name)
    frozen = ("image", "text") if freeze == "both" else (freeze,)
    for name in before:
        moved = not torch.equal(before[name], cached[name])
        if any(name.startswith(f"{tower}_tower.") for tower in frozen):
            assert not moved, name
    for head in ("image_head.weight", "text_head.weight"):
        assert not torch.equal(before[head], cached[head])
    assert [what[0] for what in listener.skips] == [pairs[0][3].id]


def test_a_tower_that_is_not_frozen_learns(pairs, tmp_path):
    before, after, _ = weights_after(pairs, tmp_path, freeze="text")
    assert any(
        not torch.equal(before[name], after[name]) for name in before if name.startswith("image_tower.")
    )


def test_only_trainable_parameters_are_counted(pairs, tmp_path):
    counts = {
        freeze: weights_after(pairs, tmp_path, freeze=freeze, epochs=1)[2].starts[0].parameters
        for freeze in ("none", "both")
    }
    assert counts["both"] == 16 * (64 + 16) + 1  # two heads and the scale
    assert counts["none"] > counts["both"]
