"""Contrastive losses: pure functions of two batches of unit vectors.

Shape legend: ``b`` pairs in the batch, ``d`` embedding dimensions. Row ``i`` of ``images`` and row ``i`` of
``texts`` belong together; every other row of the batch serves as a negative, except where the loss says so.
``scale`` multiplies cosine similarities (it is 1 / temperature).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def infonce(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross-entropy against the own pair (CLIP, https://arxiv.org/abs/2103.00020, figure 3).

    Args:
        images: unit vectors [b, d].
        texts: unit vectors [b, d].
        scale: 1 / temperature, a scalar.

    Returns:
        The mean of the image-to-text and the text-to-image loss, a scalar.
    """
    logits = scale * images @ texts.T  # [b, b]
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def matched(images: Tensor, texts: Tensor, scale: Tensor, agreement: Tensor) -> Tensor:
    """InfoNCE whose targets are shared among pairs that say the same.

    The idea of MedCLIP (https://arxiv.org/abs/2210.10163, section 3.3): scans of one case, or with one
    caption, are no negatives of each other. Their share of the target is their agreement over the agreement
    of the whole row.

    Args:
        images: unit vectors [b, d].
        texts: unit vectors [b, d].
        scale: 1 / temperature, a scalar.
        agreement: symmetric, in [0, 1], ones on the diagonal [b, b]; the identity gives ``infonce``.

    Returns:
        The mean of the image-to-text and the text-to-image loss, a scalar.
    """
    logits = scale * images @ texts.T  # [b, b]
    targets = agreement / agreement.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def soft(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy against the similarities inside each modality, the loss of the seed project.

    Its embeddings were the outputs of a LayerNorm, about ``sqrt(d)`` long, at temperature 1. Here they are
    unit vectors, so a fixed ``scale`` of ``d`` says the same. As there, gradients flow through the targets
    too.

    Args:
        images: unit vectors [b, d].
        texts: unit vectors [b, d].
        scale: multiplies every similarity, of pairs and inside each modality, a scalar.

    Returns:
        The mean of the image-to-text and the text-to-image loss, a scalar.
    """
    logits = scale * texts @ images.T  # [b, b]
    within = (images @ images.T + texts @ texts.T) / 2
    targets = (scale * within).softmax(dim=-1)
    by_text = -(targets * logits.log_softmax(dim=-1)).sum(dim=1)
    by_image = -(targets.T * logits.T.log_softmax(dim=-1)).sum(dim=1)
    return (by_text + by_image).mean() / 2


def sigmoid(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Every cell of the batch as a yes-or-no question (SigLIP, https://arxiv.org/abs/2303.15343).

    Args:
        images: unit vectors [b, d].
        texts: unit vectors [b, d].
        scale: 1 / temperature, a scalar.
        bias: added to every logit, a scalar; the paper starts it at -10.

    Returns:
        The sum over the ``b * b`` cells divided by ``b``, a scalar.
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

    Args:
        first: unit vectors of one view of each image [b, d].
        second: unit vectors of another view of each, in the same order [b, d].
        scale: 1 / temperature.

    Returns:
        The mean over the 2 b views, a scalar.
    """
    views = torch.cat((first, second))
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    logits = (scale * views @ views.T).masked_fill(itself, -torch.inf)  # [2 b, 2 b]
    other = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(logits, other)
