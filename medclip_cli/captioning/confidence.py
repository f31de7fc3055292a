"""How sure an answer is: a probability fitted on validation images, and a test for what is not a scan at all.

Platt, "Probabilistic outputs for support vector machines" (1999), with several features instead of one
margin: a logistic regression, its targets softened and its slopes held back, since a
validation split is small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medclip_cli.captioning.consensus import JUDGED_FIELDS, Vote

Floats = NDArray[np.float64]

FEATURES = ("top_score", "kth_score", "agreement", "support")
# Slopes of standardised features this size are one standard deviation of what we expect.
PRIOR_SLOPE = 2.0
MIN_EXAMPLES = 10
FOLDS = 10
_STEPS = 50


def features_of(scores: Sequence[float], votes: Mapping[str, Vote], support: float) -> Floats:
    """What the confidence of an answer is read from, in the order of ``FEATURES``.

    Args:
        scores: cosine similarity of the neighbours, best first, at least one.
        votes: of the neighbours on the fields.
        support: of the chosen caption, see `Consensus`.

    Returns:
        float64 ``[4]``: similarity of the nearest neighbour and of the last one; the share that agrees on all
        judged fields, as if they were independent; the support.
    """
    agreement = np.prod([votes[name].share for name in JUDGED_FIELDS if name in votes])
    return np.array([scores[0], scores[-1], agreement, support], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Platt:
    """A logistic regression on standardised features."""

    mean: tuple[float, ...]  # [f] of each feature
    scale: tuple[float, ...]  # [f] its standard deviation
    slopes: tuple[float, ...]  # [f]
    intercept: float  # log odds of an answer with mean features

    def __call__(self, features: Floats) -> Floats:
        """Probability that an answer is right: ``[n, f] -> [n]``."""
        standard = (np.atleast_2d(features) - self.mean) / np.asarray(self.scale)
        return np.asarray(_sigmoid(standard @ np.asarray(self.slopes) + self.intercept))


def fit_platt(features: Floats, right: NDArray[np.bool_]) -> Platt:
    """Fit by Newton's method; the optimum is unique.

    Args:
        features: [n, f]
        right: [n] whether each answer was.

    Raises:
        ValueError: there are no examples.
    """
    if not len(features):
        raise ValueError("a calibration needs examples")
    mean, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
    design = np.column_stack([(features - mean) / scale, np.ones(len(features))])
    # Platt, section 2.2: as if there were one more right and one more wrong answer.
    positives, negatives = right.sum(), (~right).sum()
    target = np.where(right, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    penalty = np.full(design.shape[1], 1 / PRIOR_SLOPE**2)
    penalty[-1] = 1e-6
    weights = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        probability = _sigmoid(design @ weights)
        gradient = design.T @ (probability - target) + penalty * weights
        curvature = (design.T * (probability * (1 - probability))) @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    return Platt(
        tuple(mean.tolist()), tuple(scale.tolist()), tuple(weights[:-1].tolist()), float(weights[-1])
    )


def cross_fitted(features: Floats, right: NDArray[np.bool_], groups: Sequence[str]) -> Floats:
    """Probabilities for examples that their own calibration never saw, patients kept whole.

    Args:
        features: [n, f]
        right: [n]
        groups: [n] patient or case of each; all of one stay in one fold.

    Returns:
        float64 ``[n]``.
    """
    number = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)[1]
    fold = number % min(FOLDS, number.max(initial=0) + 1)
    probabilities = np.full(len(features), right.mean() if len(right) else 0.0)
    for held_out in np.unique(fold):
        inside = fold != held_out
        if inside.any():
            probabilities[~inside] = fit_platt(features[inside], right[inside])(features[~inside])
    return probabilities


@dataclass(frozen=True, slots=True)
class ReliabilityRow:
    """Answers whose confidence lay in one band."""

    low: float  # the band begins here
    high: float  # and ends before here
    answers: int  # how many
    confidence: float  # their mean confidence
    right: float  # share of them that was right


def reliability(
    confidence: Floats, right: NDArray[np.bool_], edges: Sequence[float] = (0, 0.2, 0.4, 0.6, 0.8, 1)
) -> tuple[ReliabilityRow, ...]:
    """Compare what was promised with what was kept, band by band; empty bands are left out."""
    rows = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (confidence >= low) & ((confidence < high) | (high == edges[-1]))
        if inside.any():
            row = ReliabilityRow(
                low, high, int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean())
            )
            rows.append(row)
    return tuple(rows)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))
