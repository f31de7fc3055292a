"""How much two pairs say the same: what the ``matched`` loss spares from being pushed apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trainers.batches import Rows, TrainingPair


class Agreement:
    """Compares captions, groups and labels of the training pairs, a batch at a time."""

    def __init__(self, pairs: Sequence[TrainingPair], label_weight: float = 0.0) -> None:
        """Number the captions, groups and labels.

        Args:
            pairs: the training pairs.
            label_weight: agreement of two pairs whose labels are all equal, when neither caption nor group
                is. Partly equal labels count by the square of the shared part (Jaccard), and labels that say
                little of a caption (a corpus may know nothing but the modality) by how much they say. 0
                ignores labels.
        """
        self._texts = _numbers([pair.text for pair in pairs])
        self._groups = _numbers([pair.group or f"\0{row}" for row, pair in enumerate(pairs)])
        self._label_weight = label_weight
        if label_weight:
            self._labels = _label_matrix(pairs)
            self._specificity = _specificity(self._labels, distinct=len(set(self._texts.tolist())))

    def matrix(self, rows: Rows) -> Tensor:
        """Agreement of each pair of a batch with each other.

        Args:
            rows: of the pairs [b].

        Returns:
            float32 [b, b] in 0 to 1: 1 for the same caption or the same group (and on the diagonal), else the
            share given to labels.
        """
        texts, groups = self._texts[rows], self._groups[rows]
        agreement = ((texts[:, None] == texts) | (groups[:, None] == groups)).astype(np.float32)
        if self._label_weight:
            agreement = np.maximum(agreement, self._by_labels(rows))
        return torch.from_numpy(agreement)

    def _by_labels(self, rows: Rows) -> np.ndarray:
        labels = self._labels[rows]
        shared = labels @ labels.T
        either = labels.sum(axis=1)[:, None] + labels.sum(axis=1) - shared
        jaccard = np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)
        specificity = self._specificity[rows]
        trust = self._label_weight * specificity[:, None] * specificity
        return np.asarray(trust * jaccard**2, dtype=np.float32)


def _label_matrix(pairs: Sequence[TrainingPair]) -> np.ndarray:
    """1 where a pair has a label, float32 [n, labels]."""
    names = {name: place for place, name in enumerate(sorted({n for pair in pairs for n in pair.labels}))}
    labels = np.zeros((len(pairs), len(names)), dtype=np.float32)
    for row, pair in enumerate(pairs):
        labels[row, [names[name] for name in pair.labels]] = 1.0
    return labels


def _specificity(labels: np.ndarray, *, distinct: int) -> np.ndarray:
    """How much of what tells captions apart the labels of each pair say, 0 to 1.

    The information of the labels (the sum of ``-log`` of their frequencies) over that of one caption among
    the ``distinct`` ones.

    Args:
        labels: 1 where a pair has a label [n, labels].
        distinct: number of different captions.
    """
    counts = labels.sum(axis=0)
    information = labels @ np.log(len(labels) / np.maximum(counts, 1.0))
    needed = np.log(max(distinct, 2))
    return np.asarray(np.minimum(information / needed, 1.0), dtype=np.float32)


def _numbers(names: Sequence[str]) -> np.ndarray:
    return np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1].reshape(-1)
