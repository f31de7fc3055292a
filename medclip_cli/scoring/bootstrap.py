"""Bootstrap intervals over items (Efron and Tibshirani 1993, percentile method), all resamples at once.

A resample is a vector of how often each item was drawn, so a mean is a matrix product and corpus BLEU is
COCO's formula over summed counts: no caption is counted again. CIDEr's document frequencies are held at
those of the whole reference set: they are part of what the score measures, as the references themselves
are. Drawing them anew makes rare n-grams look common and shifts the score, not only its spread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from medclip_cli.scoring.bleu import BleuCounts, coco_bleu
from medclip_cli.scoring.captions import BLEU_NAMES, CaptionScores
from medclip_cli.scoring.ngrams import Floats

RESAMPLES = 1_000
_LEVEL = 0.95
_DRAWS_AT_ONCE = 4_000_000  # 32 MB of float64


def confidence_intervals(
    scores: CaptionScores, *, resamples: int = RESAMPLES, level: float = _LEVEL, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """An interval for each score of the corpus.

    Args:
        scores: of the captions.
        resamples: how many sets of items are drawn.
        level: the share of resamples inside the interval.
        seed: of the draws.
    """
    means = {name: values for name, values in scores.items.items() if name not in BLEU_NAMES}
    drawn = resample(means, scores.bleu_counts, resamples=resamples, seed=seed)
    return {name: percentile_interval(drawn[name], level) for name in scores.corpus if name in drawn}


def percentile_interval(values: Floats, level: float = _LEVEL) -> tuple[float, float]:
    """The middle `level` share of the values.

    >>> percentile_interval(np.arange(101.0), 0.5)
    (25.0, 75.0)
    """
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resample(
    means: Mapping[str, Floats], bleu: BleuCounts | None, *, resamples: int, seed: int
) -> dict[str, Floats]:
    """[resamples] the value of each score on each resample; same seed and size, same draws.

    Args:
        means: [n] per-item values of scores that are means over items.
        bleu: the counts of corpus BLEU, if it is wanted too.
        resamples: how many sets of items are drawn.
        seed: of the draws.
    """
    columns: list[npt.NDArray[Any]] = [*means.values()]
    if bleu is not None:
        columns += [*bleu.matches.T, *bleu.guesses.T, bleu.candidate_length, bleu.reference_length]
    table = np.stack(columns, axis=1).astype(np.float64)
    sums = np.concatenate([draws @ table for draws in item_draws(len(table), resamples, seed)])
    drawn = {name: sums[:, column] / len(table) for column, name in enumerate(means)}
    if bleu is not None:
        drawn.update(zip(BLEU_NAMES, coco_bleu(_as_counts(sums[:, len(means) :])).T, strict=True))
    return drawn


def _as_counts(sums: Floats) -> BleuCounts:
    matches, guesses, lengths = np.split(sums, [4, 8], axis=1)
    return BleuCounts(matches, guesses, lengths[:, 0], lengths[:, 1])  # type: ignore[arg-type] # sums are whole


def item_draws(items: int, resamples: int, seed: int) -> Iterator[Floats]:
    """[some, items] how often each item was drawn in each resample, block by block to bound the memory."""
    rng = np.random.default_rng(seed)
    block = max(1, _DRAWS_AT_ONCE // items)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(items, size=(rows, items)) + np.arange(rows)[:, None] * items
        yield np.bincount(drawn.ravel(), minlength=rows * items).reshape(rows, items).astype(np.float64)
