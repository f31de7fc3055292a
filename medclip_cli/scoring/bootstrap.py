"""Bootstrap intervals over items (Efron and Tibshirani 1993, percentile method), all resamples at once.

CIDEr's document frequencies are held at those of the whole reference set: they are part of what the score
measures, as the references themselves are. Drawing them anew too shifts the score a little and makes each
resample as dear as scoring it (docs/scores.md has the figures).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medclip_cli.scoring.ngrams import Floats
from medclip_cli.scoring.score_table import ScoreTable

RESAMPLES = 1_000
LEVEL = 0.95
_DRAWS_AT_ONCE = 4_000_000  # 32 MB of float64


def confidence_intervals(
    table: ScoreTable, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """An interval for each score of the corpus.

    Args:
        table: what each item adds.
        resamples: how many sets of items are drawn.
        level: the share of resamples inside the interval.
        seed: of the draws.
    """
    drawn = resampled_scores(table, resamples=resamples, seed=seed)
    return {name: percentile_interval(values, level) for name, values in drawn.items()}


def percentile_interval(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The middle `level` share of the values.

    >>> percentile_interval(np.arange(101.0), 0.5)
    (25.0, 75.0)
    """
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resampled_scores(table: ScoreTable, *, resamples: int, seed: int) -> dict[str, Floats]:
    """[resamples] each score on each draw of items; the same seed and number of items give the same draws."""
    draws = item_draws(len(table), resamples, seed)
    return table.scores(np.concatenate([block @ table.columns for block in draws]))


def item_draws(items: int, resamples: int, seed: int) -> Iterator[Floats]:
    """[some, items] how often each item was drawn in each resample, block by block to bound the memory."""
    rng = np.random.default_rng(seed)
    block = max(1, _DRAWS_AT_ONCE // items)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(items, size=(rows, items)) + np.arange(rows)[:, None] * items
        yield np.bincount(drawn.ravel(), minlength=rows * items).reshape(rows, items).astype(np.float64)
