"""Is one set of captions better than another of the same items? Paired tests, all resamples at once.

The p-value is that of approximate randomisation (Noreen 1989; Riezler and Maxwell 2005,
https://aclanthology.org/W05-0908): if the two systems were alike, swapping their answers item by item would
often give a difference as large as the one found. The interval of the difference is the paired bootstrap's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medclip_cli.scoring.bootstrap import RESAMPLES, percentile_interval, resampled_scores
from medclip_cli.scoring.ngrams import Floats
from medclip_cli.scoring.score_table import ScoreTable

_SWAPS_AT_ONCE = 4_000_000  # 32 MB of float64


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better the first system is than the second, on one score.

    Attributes:
        value: first minus second.
        interval: of that, 95 %.
        p_value: how often chance alone would give a difference this large, either way.
    """

    value: float
    interval: tuple[float, float]
    p_value: float


def compare(
    first: ScoreTable, second: ScoreTable, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Difference]:
    """Compare two systems on every score that both have.

    Args:
        first: what each item adds to the scores of one system.
        second: the same items in the same order, for the other system.
        resamples: how many times items are drawn, and answers swapped.
        seed: of both.

    Raises:
        ValueError: the tables hold different numbers of items.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} items cannot be paired with {len(second)}")
    shared = [name for name in first.means if name in second.means]
    first, second = first.only(shared), second.only(shared)
    found = _differences(first.total(), second.total())
    # The same seed draws the same items for both, which is what makes the bootstrap a paired one.
    drawn = _differences(
        resampled_scores(first, resamples=resamples, seed=seed),
        resampled_scores(second, resamples=resamples, seed=seed),
    )
    swapped = _swapped_differences(first, second, resamples, seed)
    return {
        name: Difference(
            value=float(value[0]),
            interval=percentile_interval(drawn[name]),
            p_value=_p_value(abs(float(value[0])), np.abs(swapped[name])),
        )
        for name, value in found.items()
    }


def _differences(first: Mapping[str, Floats], second: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name: first[name] - second[name] for name in first}


def _swapped_differences(
    first: ScoreTable, second: ScoreTable, resamples: int, seed: int
) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    change = second.columns - first.columns
    block = max(1, _SWAPS_AT_ONCE // len(first))
    moved = np.concatenate(
        [
            rng.integers(2, size=(min(block, resamples - start), len(first))).astype(np.float64) @ change
            for start in range(0, resamples, block)
        ]
    )
    sums = [table.columns.sum(axis=0) for table in (first, second)]
    return _differences(first.scores(sums[0] + moved), second.scores(sums[1] - moved))


def _p_value(found: float, by_chance: Floats) -> float:
    # The answers as they are count as one of the swaps, so that a p-value is never 0.
    as_large = np.sum(by_chance >= found - 1e-12)
    return float((1 + as_large) / (1 + len(by_chance)))
