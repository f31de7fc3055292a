"""What a contrastive run minimises: soft targets and label classes of a batch, and its loss."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainers import losses
from trainers.data import Rows, TrainingPair
from trainers.options import ContrastiveOptions, LossName

MISSING = -100  # what torch's cross-entropy ignores
MIN_VALUES = 2


class LabelFields:
    """The fields of the training pairs (modality, view, region ...) and each pair's value of them.

    A label is ``field=value``. A field counts when no pair has two values of it (several findings are no
    class) and when there is something to tell apart.
    """

    def __init__(self, pairs: Sequence[TrainingPair]) -> None:
        """Number the values of each field."""
        known = [_values(pair) for pair in pairs]
        several = {field for values in known for field, found in values.items() if len(found) > 1}
        found_values: dict[str, set[str]] = defaultdict(set)
        for values in known:
            for field in values.keys() - several:
                found_values[field].update(values[field])
        self.names = tuple(sorted(field for field in found_values if len(found_values[field]) >= MIN_VALUES))
        self.sizes = tuple(len(found_values[field]) for field in self.names)
        self._classes = np.full((len(pairs), len(self.names)), MISSING, dtype=np.int64)
        for place, field in enumerate(self.names):
            numbers = {value: number for number, value in enumerate(sorted(found_values[field]))}
            for row, values in enumerate(known):
                if field in values:
                    self._classes[row, place] = numbers[values[field][0]]

    def classes(self, rows: Rows) -> Tensor:
        """The class of each field, int64 [b, fields]; ``MISSING`` where it is not known."""
        return torch.from_numpy(self._classes[rows])


def _values(pair: TrainingPair) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for label in pair.labels:
        field, is_field, value = label.partition("=")
        if is_field:
            found[field].append(value)
    return found


class SoftTargets:
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
        """How much the pairs of a batch say the same, float32 [b, b] in 0 to 1, of rows [b].

        1 for the same caption or the same group (and on the diagonal), else the share given to labels.
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
    """How much of what tells captions apart the labels of each pair say, 0 to 1; labels are [n, labels].

    The information of the labels (the sum of ``-log`` of their frequencies) over that of one caption among
    the ``distinct`` ones.
    """
    counts = labels.sum(axis=0)
    information = labels @ np.log(len(labels) / np.maximum(counts, 1.0))
    needed = np.log(max(distinct, 2))
    return np.asarray(np.minimum(information / needed, 1.0), dtype=np.float32)


def _numbers(names: Sequence[str]) -> np.ndarray:
    return np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)[1].reshape(-1)


VIEW_SCALE = 10.0  # 1 / temperature; SimCLR, table 5


class EmbeddingPair(NamedTuple):
    """What an encoder makes of a batch; all but the last have a row for each pair."""

    images: Tensor  # unit vectors [b, d]
    texts: Tensor  # unit vectors [b, d]
    views: Tensor  # of a second view of each image, unit vectors [b, d]; without such views [0, d]
    # Logits of all classes of all fields, one field after the other [b, c]; without label heads [b, 0].
    labels: Tensor
    scale_and_bias: Tensor  # the logit scale and bias [2]


class Targets(NamedTuple):
    """What a batch should come to."""

    agreement: Tensor | None = None  # how much two pairs say the same [b, b], for the ``matched`` loss
    classes: Tensor | None = None  # of each field [b, fields], for the label heads


@dataclass(frozen=True, slots=True)
class Criterion:
    """The loss of a batch."""

    loss: LossName  # its name
    pair_weight: float = 1.0  # of the loss of that name
    label_weight: float = 0.0  # of the cross-entropy of the label heads; 0 for none
    view_weight: float = 0.0  # of the loss that tells views of one image from those of others; 0 for none
    agreement: SoftTargets | None = None  # of the training pairs, for the ``matched`` loss
    fields: LabelFields | None = None  # of the training pairs, for the label heads

    @property
    def label_sizes(self) -> tuple[int, ...]:
        """Classes of each field that is to be predicted."""
        return self.fields.sizes if self.fields else ()

    def targets(self, rows: Rows, device: torch.device) -> Targets:
        """The targets of a batch of these rows."""
        return Targets(
            agreement=self.agreement.matrix(rows).to(device) if self.agreement else None,
            classes=self.fields.classes(rows).to(device) if self.fields else None,
        )

    def on_images_alone(self) -> Criterion:
        """Nothing but the loss of the views, for a start without captions."""
        return Criterion(self.loss, pair_weight=0.0, view_weight=1.0)

    def __call__(self, vectors: EmbeddingPair, targets: Targets) -> Tensor:
        """The loss of a batch, a scalar."""
        parts = []
        if self.pair_weight:
            parts.append(self.pair_weight * self._pair_loss(vectors, targets.agreement))
        if targets.classes is not None:
            labels = losses.labelled(vectors.labels, targets.classes, self.label_sizes)
            parts.append(self.label_weight * labels)
        if self.view_weight:
            parts.append(self.view_weight * losses.nt_xent(vectors.images, vectors.views, VIEW_SCALE))
        return torch.stack(parts).sum()

    def _pair_loss(self, vectors: EmbeddingPair, agreement: Tensor | None) -> Tensor:
        images, texts, (scale, bias) = vectors.images, vectors.texts, vectors.scale_and_bias
        if self.loss == "soft":
            return losses.soft(images, texts, scale)
        if self.loss == "sigmoid":
            return losses.sigmoid(images, texts, scale, bias)
        if self.loss == "matched" and agreement is not None:
            return losses.matched(images, texts, scale, agreement)
        return losses.infonce(images, texts, scale)


def criterion_for(pairs: Sequence[TrainingPair], options: ContrastiveOptions) -> Criterion:
    """The criterion of a run on these pairs; labels are predicted if some field of them tells pairs apart."""
    fields = LabelFields(pairs) if options.label_weight else None
    return Criterion(
        options.loss,
        label_weight=options.label_weight,
        view_weight=options.view_weight,
        agreement=SoftTargets(pairs, options.label_agreement) if options.loss == "matched" else None,
        fields=fields if fields and fields.sizes else None,
    )
