"""Contrastive losses: pure functions of two batches of unit vectors.

Shape legend: ``b`` pairs in the batch, ``d`` embedding dimensions. ``images`` and ``texts`` are unit vectors
[b, d]; rows ``i`` of both belong together, and every other row of the batch is a negative, except where the
loss says so. ``scale``, a scalar, multiplies cosine similarities (it is 1 / temperature). A loss is a
scalar: the mean of the image-to-text and the text-to-image loss, where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def infonce(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross-entropy against the own pair (CLIP, https://arxiv.org/abs/2103.00020, figure 3)."""
    logits = scale * images @ texts.T  # [b, b]
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def matched(images: Tensor, texts: Tensor, scale: Tensor, agreement: Tensor) -> Tensor:
    """InfoNCE whose targets are shared among pairs that say the same.

    The idea of MedCLIP (https://arxiv.org/abs/2210.10163, section 3.3): scans of one case, or with one
    caption, are no negatives of each other. Their share of the target is their agreement over the agreement
    of the whole row. ``agreement`` [b, b] is symmetric, in [0, 1], with ones on the diagonal; the identity
    gives ``infonce``.
    """
    logits = scale * images @ texts.T  # [b, b]
    targets = agreement / agreement.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def soft(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy against the similarities inside each modality, the loss of preset original.

    Its embeddings were the outputs of a LayerNorm, about ``sqrt(d)`` long, at temperature 1. Here they are
    unit vectors, so a fixed ``scale`` of ``d``, which multiplies the similarities inside each modality, too,
    says the same. As there, gradients flow through the targets too.
    """
    logits = scale * texts @ images.T  # [b, b]
    within = (images @ images.T + texts @ texts.T) / 2
    targets = (scale * within).softmax(dim=-1)
    by_text = -(targets * logits.log_softmax(dim=-1)).sum(dim=1)
    by_image = -(targets.T * logits.T.log_softmax(dim=-1)).sum(dim=1)
    return (by_text + by_image).mean() / 2


def sigmoid(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Every cell of the batch as a yes-or-no question (SigLIP, https://arxiv.org/abs/2303.15343).

    ``bias``, a scalar, is added to every logit; the paper starts it at -10. The sum over the ``b * b`` cells
    is divided by ``b``.
    """
    logits = scale * images @ texts.T + bias  # [b, b]
    signs = 2 * torch.eye(len(logits), device=logits.device, dtype=logits.dtype) - 1
    return -F.logsigmoid(signs * logits).sum() / len(logits)


def labelled(logits: Tensor, classes: Tensor, sizes: Sequence[int]) -> Tensor:
    """Cross-entropy of several fields predicted at once; what is not known of a pair costs nothing.

    Args:
        logits: of all classes, one field after the other [b, sum of sizes].
        classes: the right class of each field, -100 where it is not known, int64 [b, fields].
        sizes: classes of each field, of at least one.

    Returns:
        The mean over the fields of the mean over the pairs whose class is known, a scalar; a field nobody
        has a class of counts as 0.
    """
    fields = [
        F.cross_entropy(part, right, reduction="sum") / (right >= 0).sum().clamp(min=1)
        for part, right in zip(torch.split(logits, list(sizes), dim=1), classes.unbind(dim=1), strict=True)
    ]
    return torch.stack(fields).mean()


def nt_xent(first: Tensor, second: Tensor, scale: float) -> Tensor:
    """Two views of one image against those of all others (SimCLR, https://arxiv.org/abs/2002.05709, eq. 1).

    ``first`` and ``second`` are unit vectors [b, d] of one view of each image and, in the same order, of
    another. The mean over the 2 b views.
    """
    views = torch.cat((first, second))
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    logits = (scale * views @ views.T).masked_fill(itself, -torch.inf)  # [2 b, 2 b]
    other = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(logits, other)
