"""Consensus captioning: among the captions of the neighbours, the one closest to all the others.

Devlin et al., "Exploring nearest neighbor approaches for image captioning", https://arxiv.org/abs/1505.04467,
section 3, with a weight for each neighbour: near ones say more about the image than far ones. A caption
speaks once, however many neighbours have it: the slices of one case are no independent witnesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medclip_cli.captioning.kernels import Floats, Kernel, bleu_kernel
from medclip_cli.records import Neighbour

# Found on the MedPix 2.0 validation split, see docs/quality.md.
POOL = 100  # neighbours that are looked at
NEIGHBOURS = 20  # of them, those that speak: the nearest with each caption
TEMPERATURE = 0.1


@dataclass(frozen=True, slots=True)
class Consensus:
    """Which of the captions speaks for all.

    Attributes:
        index: of the chosen caption.
        support: [k] the weighted mean similarity of each caption to all of them, itself included, 0 to 1.
    """

    index: int
    support: Floats


def distinct(neighbours: Sequence[Neighbour], most: int = NEIGHBOURS) -> list[Neighbour]:
    """The nearest neighbour with each caption.

    Args:
        neighbours: nearest first.
        most: captions.

    Returns:
        At most that many neighbours, nearest first, no two with the same caption.
    """
    nearest: dict[str, Neighbour] = {}
    for neighbour in neighbours:
        nearest.setdefault(neighbour.caption, neighbour)
    return list(nearest.values())[:most]


def similarity_weights(scores: Sequence[float], temperature: float = TEMPERATURE) -> Floats:
    """How much each neighbour counts: a softmax over the cosine similarities.

    Args:
        scores: cosine similarity of each neighbour to the image, best first.
        temperature: a neighbour this much further counts 1/e as much.

    Returns:
        float64 ``[k]``, sum 1.

    >>> similarity_weights([0.9, 0.9]).tolist()
    [0.5, 0.5]
    """
    if not scores:
        return np.zeros(0)
    values = np.asarray(scores, dtype=np.float64)
    weights = np.exp((values - values.max()) / temperature)
    return np.asarray(weights / weights.sum())


def consensus(captions: Sequence[str], weights: Floats, kernel: Kernel = bleu_kernel) -> Consensus:
    """Choose the caption with the highest expected similarity to what the neighbours say.

    Seen the other way round, the neighbours are samples of what might be true of the image, and the choice is
    the one with the least expected loss among them. Of equals, the nearer one is taken.

    Args:
        captions: of the neighbours, nearest first, at least one.
        weights: [k] of `similarity_weights`.
        kernel: how alike captions are.

    Raises:
        ValueError: there are no captions.

    >>> chosen = consensus(["MR of a knee", "a chest", "CT of the chest", "CT of a chest"], np.full(4, 0.25))
    >>> chosen.index
    3
    """
    if not captions:
        raise ValueError("a consensus needs at least one caption")
    # Captions repeat among neighbours of one case: compare each wording once.
    wordings = {caption: None for caption in captions}
    places = {caption: place for place, caption in enumerate(wordings)}
    of_wording = np.array([places[caption] for caption in captions])
    likeness = kernel(list(wordings))
    support = likeness @ np.bincount(of_wording, weights, minlength=len(places))
    return Consensus(int(np.argmax(support[of_wording])), support[of_wording])
