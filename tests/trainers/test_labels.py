"""Which labels are worth predicting, and what predicting them does to a run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.trainers.drawn import Recorder, draw_pairs
from tests.trainers.test_contrastive_run import make_run
from trainers.criterion import MISSING, LabelFields
from trainers.data import TrainingPair


def pair(number, *labels):
    return TrainingPair(f"p{number}", Path(f"{number}.png"), "a scan", labels=labels)


PAIRS = [
    pair(0, "modality=CT", "region=Chest", "finding=mass", "finding=effusion", "source=here"),
    pair(1, "modality=MR", "region=Head", "finding=mass", "source=here", "a remark"),
    pair(2, "region=Chest", "source=here"),
    pair(3, "modality=CT", "region=Eye=Orbit", "source=here"),
]


def test_a_field_counts_when_it_tells_pairs_apart_and_no_pair_has_two_values():
    fields = LabelFields(PAIRS)
    assert fields.names == ("modality", "region")
    assert fields.sizes == (2, 3)
    assert fields.classes(np.array([3, 2, 1])).tolist() == [[0, 1], [MISSING, 0], [1, 2]]


def test_without_labels_there_is_nothing_to_predict(tmp_path):
    plain = [replace(pair, labels=("a remark",)) for pair in draw_pairs(tmp_path / "train", 8)]
    listener = Recorder()
    with make_run((plain, plain), tmp_path, listener, epochs=1, label_weight=1.0) as run:
        run.fit()
        assert run.task.module.label_head is None
    assert listener.notes == ["the training pairs have no labels to predict: label_weight has no effect"]


def test_label_heads_make_vectors_from_which_labels_can_be_read(tmp_path):
    pairs = draw_pairs(tmp_path / "train", 24), draw_pairs(tmp_path / "val", 12, seed=1)
    listener = Recorder()
    with make_run(pairs, tmp_path, listener, epochs=12, learning_rate=5e-3, label_weight=5.0) as run:
        run.fit()
        encoder = run.task.module.eval()
        batches = [batch for (batch,) in run.task._batches.epoch(0)]
        with torch.no_grad():
            logits = torch.cat([run.task._stepper._embed(batch, (0,)).labels for batch in batches])
    fields = LabelFields(pairs[0])
    rows = np.concatenate([batch.rows for batch in batches])
    right = logits[:, : fields.sizes[0]].argmax(dim=1) == fields.classes(rows)[:, 0]
    assert fields.names == ("place", "size")
    assert right.float().mean() > 0.5  # chance is 0.25
    assert encoder.label_head is not None
    assert not any("label" in name for name in run.task.best_model().state_dict())
    assert not any("label" in name for name in run.task.best.weights)
