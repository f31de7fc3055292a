"""What the neighbours of an image agree on: the caption closest to all of theirs, and a vote on each field.

Devlin et al., "Exploring nearest neighbor approaches for image captioning", https://arxiv.org/abs/1505.04467,
section 3, with a weight for each neighbour: near ones say more about the image than far ones. Each distinct
caption counts once, however many neighbours have it: the slices of one case are not independent.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip_cli.records import OTHER_MODALITY, CaptionedImage, Neighbour

Floats = NDArray[np.float64]

# Chosen on the MedPix 2.0 validation split, see docs/quality.md.
POOL = 100  # neighbours that are retrieved
NEIGHBOURS = 20  # of them, those that count: the nearest with each caption
TEMPERATURE = 0.1
MAX_ORDER = 4  # of n-grams
VOTED_FIELDS = ("modality", "view", "region", "category", "findings")
# The fields a caption must have right to count as right, where the truth is known.
JUDGED_FIELDS = ("modality", "view", "region")
_NOTHING = 1e-12
_WORD = re.compile(r"\w+(?:[-'.]\w+)*")


def distinct(neighbours: Sequence[Neighbour], most: int = NEIGHBOURS) -> list[Neighbour]:
    """Return the nearest neighbour with each caption, nearest first, at most that many."""
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


@dataclass(frozen=True, slots=True)
class Consensus:
    """Which of the captions is closest to all."""

    index: int  # of the chosen caption
    # [k] the weighted mean similarity of each caption to all of them, itself included, 0 to 1
    support: Floats


def consensus(captions: Sequence[str], weights: Floats) -> Consensus:
    """Choose the caption with the highest expected similarity to what the neighbours say.

    The neighbours are samples of what might be true of the image; the choice has the least expected loss
    among them. Of equals, the nearer one is taken.

    Args:
        captions: of the neighbours, nearest first, at least one.
        weights: [k] of `similarity_weights`.

    Raises:
        ValueError: there are no captions.

    >>> chosen = consensus(["MR of a knee", "a chest", "CT of the chest", "CT of a chest"], np.full(4, 0.25))
    >>> chosen.index
    3
    """
    if not captions:
        raise ValueError("a consensus needs at least one caption")
    number = {caption: n for n, caption in enumerate(dict.fromkeys(captions))}  # compare each wording once
    of_wording = np.array([number[caption] for caption in captions])
    support = bleu_kernel(list(number)) @ np.bincount(of_wording, weights, minlength=len(number))
    return Consensus(int(np.argmax(support[of_wording])), support[of_wording])


def bleu_kernel(captions: Sequence[str]) -> Floats:
    """Symmetric BLEU-4 of each pair: geometric mean of the F1 of clipped n-gram matches, add-one smoothed.

    BLEU itself (Papineni et al., ACL 2002) rewards the precision of one side and needs a brevity penalty; the
    mean of both directions needs none. Orders above 1 are smoothed as by Lin and Och, COLING 2004. Two equal
    captions have 1, two with no word in common 0.

    Args:
        captions: k captions, at least one.

    Returns:
        float64 ``[k, k]``, symmetric, 0 to 1.
    """
    logarithms = np.zeros((len(captions), len(captions)))
    sentences = [_WORD.findall(caption.lower()) for caption in captions]
    for order in range(1, MAX_ORDER + 1):
        ngrams = [Counter(zip(*(words[i:] for i in range(order)), strict=False)) for words in sentences]
        columns = {ngram: n for n, ngram in enumerate(dict.fromkeys(one for row in ngrams for one in row))}
        counts = np.zeros((len(captions), len(columns)))  # [k, distinct n-grams of this order]
        for row, found in enumerate(ngrams):
            counts[row, [columns[ngram] for ngram in found]] = list(found.values())
        smoothing = float(order > 1)
        matches = np.stack([np.minimum(counts, row).sum(axis=1) for row in counts])
        lengths = counts.sum(axis=1)
        mean_length = (lengths[:, None] + lengths[None, :]) / 2
        share = (matches + smoothing) / np.maximum(mean_length + smoothing, _NOTHING)
        logarithms += np.log(np.maximum(share, _NOTHING)) / MAX_ORDER
    # Without a word in common there is no similarity, whatever smoothing says of the longer n-grams.
    return np.where(logarithms > np.log(_NOTHING) / MAX_ORDER, np.exp(logarithms), 0.0)


@dataclass(frozen=True, slots=True)
class Vote:
    """What the neighbours say of one field."""

    field: str
    # (value, share) with the largest share first. The share is that of the weight of all neighbours,
    # those that do not know the field included; of a field with several values at once (findings) each
    # value is voted on by itself, so that shares need not add up to 1.
    shares: tuple[tuple[str, float], ...]

    @property
    def value(self) -> str:
        """The winner."""
        return self.shares[0][0]

    @property
    def share(self) -> float:
        """The winner's share."""
        return self.shares[0][1]


def known_fields(record: CaptionedImage, names: Sequence[str] = JUDGED_FIELDS) -> dict[str, str]:
    """Return what is known of an image in the fields that answers are judged by."""
    known = {name: getattr(record, name) for name in names if getattr(record, name)}
    # OT also stands for an unknown modality: two images that share it share nothing.
    return {name: value for name, value in known.items() if (name, value) != ("modality", OTHER_MODALITY)}


def vote(
    fields: Sequence[Mapping[str, Any]], weights: Floats, names: Sequence[str] = VOTED_FIELDS
) -> dict[str, Vote]:
    """Let the neighbours vote on each field that at least one of them knows.

    Args:
        fields: of each neighbour; a field it does not know is missing.
        weights: [k] of each neighbour, sum 1.
        names: the fields to vote on.

    Returns:
        By field, in the order of ``names``.

    >>> votes = vote([{"modality": "CT"}, {"modality": "MR"}, {"modality": "CT"}], np.array([0.5, 0.3, 0.2]))
    >>> votes["modality"].value, votes["modality"].share
    ('CT', 0.7)
    """
    votes = {}
    for name in names:
        shares: dict[str, float] = defaultdict(float)
        for known, weight in zip(fields, weights, strict=True):
            values = known.get(name)
            for value in values if isinstance(values, (list, tuple)) else [values]:
                if value not in (None, ""):
                    shares[str(value)] += float(weight)
        if shares:
            # A stable sort: of equals, the nearest neighbour's value wins.
            votes[name] = Vote(name, tuple(sorted(shares.items(), key=lambda item: -item[1])))
    return votes
