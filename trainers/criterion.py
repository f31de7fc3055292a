"""What a contrastive run minimises: the loss of a batch by its name, and what is added to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainers import losses
from trainers.batches import Rows, TrainingPair
from trainers.labels import LabelFields
from trainers.options import ContrastiveOptions, LossName
from trainers.soft_targets import Agreement

VIEW_SCALE = 10.0  # 1 / temperature; SimCLR, table 5


class Vectors(NamedTuple):
    """What an encoder makes of a batch; all but the last have a row for each pair.

    Attributes:
        images: unit vectors [b, d].
        texts: unit vectors [b, d].
        views: of a second view of each image, unit vectors [b, d]; without such views [0, d].
        labels: logits of all classes of all fields, one field after the other [b, c]; without label heads
            [b, 0].
        calibration: the logit scale and bias [2].
    """

    images: Tensor
    texts: Tensor
    views: Tensor
    labels: Tensor
    calibration: Tensor


class Targets(NamedTuple):
    """What a batch should come to.

    Attributes:
        agreement: how much two pairs say the same [b, b], for the ``matched`` loss.
        classes: of each field [b, fields], for the label heads.
    """

    agreement: Tensor | None = None
    classes: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Criterion:
    """The loss of a batch.

    Attributes:
        loss: its name.
        pair_weight: of the loss of that name.
        label_weight: of the cross-entropy of the label heads; 0 for none.
        view_weight: of the loss that tells views of one image from those of others; 0 for none.
        agreement: of the training pairs, for the ``matched`` loss.
        fields: of the training pairs, for the label heads.
    """

    loss: LossName
    pair_weight: float = 1.0
    label_weight: float = 0.0
    view_weight: float = 0.0
    agreement: Agreement | None = None
    fields: LabelFields | None = None

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

    def __call__(self, vectors: Vectors, targets: Targets) -> Tensor:
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

    def _pair_loss(self, vectors: Vectors, agreement: Tensor | None) -> Tensor:
        images, texts, (scale, bias) = vectors.images, vectors.texts, vectors.calibration
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
        agreement=Agreement(pairs, options.label_agreement) if options.loss == "matched" else None,
        fields=fields if fields and fields.sizes else None,
    )
