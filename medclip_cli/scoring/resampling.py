"""How sure a score is: bootstrap intervals and paired tests, all resamples at once.

Any draw of items is scored by adding up what each item adds: a mean needs one column, corpus BLEU the
ten counts it is made of. No caption is counted again, which makes a thousand resamples one matrix
product.

* Intervals are percentile bootstrap intervals over items (Efron and Tibshirani 1993). CIDEr's document
  frequencies are held at those of the whole reference set: they are part of what the score measures, as
  the references themselves are. Resampling them, too, shifts the score a little and makes each resample
  as costly as scoring it (docs/scores.md has the figures).
* p-values are those of approximate randomisation (Noreen 1989; Riezler and Maxwell 2005,
  https://aclanthology.org/W05-0908): if two systems were alike, swapping their answers item by item
  would often give a difference as large as the one found. The interval of a difference is the paired
  bootstrap's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medclip_cli.errors import UsageError
from medclip_cli.scoring.captions import BLEU_NAMES, CaptionScores
from medclip_cli.scoring.measures import BleuCounts, coco_bleu
from medclip_cli.scoring.ngrams import MAX_ORDER, Floats

RESAMPLES = 1_000
LEVEL = 0.95
_NOT_MEANS = (
    *BLEU_NAMES,
    "meteor",
)  # their corpus value comes from summed counts, not from the items' values
_BLEU_COLUMNS = 2 * MAX_ORDER + 2
_NUMBERS_AT_ONCE = 4_000_000  # 32 MB of float64

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """What each item adds to the scores of a corpus."""

    means: tuple[str, ...]  # names of the scores that are means over items, one column each
    # [n, len(means) + 10] those, then the counts of BLEU: matches and guesses of the four orders,
    # candidate length, reference length
    columns: Floats

    @classmethod
    def of(cls, scores: CaptionScores) -> ScoreTable:
        """The table of scored captions, without METEOR, which sums in its own way."""
        means = [name for name in scores.items if name not in _NOT_MEANS]
        counts = scores.bleu_counts
        lengths = (counts.candidate_length, counts.reference_length)
        columns = [*(scores.items[name] for name in means), *counts.matches.T, *counts.guesses.T, *lengths]
        return cls(tuple(means), np.column_stack(columns).astype(np.float64))

    def __len__(self) -> int:
        """Number of items."""
        return len(self.columns)

    def scores(self, sums: Floats) -> dict[str, Floats]:
        """[r] the value of each score, given sums of as many rows as the table has.

        Args:
            sums: [r, columns]
        """
        counts = sums[:, len(self.means) :]
        matches, guesses, lengths = np.split(counts, [MAX_ORDER, 2 * MAX_ORDER], axis=1)
        bleu = coco_bleu(BleuCounts(matches, guesses, lengths[:, 0], lengths[:, 1]))
        means = {name: sums[:, column] / len(self) for column, name in enumerate(self.means)}
        return dict(zip(BLEU_NAMES, bleu.T, strict=True)) | means

    def resampled(self, resamples: int, seed: int) -> dict[str, Floats]:
        """[resamples] each score on each draw of items; equal seeds and numbers of items give equal draws."""
        draws = item_draws(len(self), resamples, seed)
        return self.scores(np.concatenate([block @ self.columns for block in draws]))

    def only(self, means: Sequence[str]) -> ScoreTable:
        """The table with these means alone, in this order."""
        kept = [self.means.index(name) for name in means]
        bleu = range(len(self.means), len(self.means) + _BLEU_COLUMNS)
        return ScoreTable(tuple(means), self.columns[:, [*kept, *bleu]])

    def to_dict(self) -> dict[str, Any]:
        """As plain values, to six decimals: the means by name, and the counts of BLEU item by item."""
        rounded = self.columns.round(6)
        columns = {name: rounded[:, column].tolist() for column, name in enumerate(self.means)}
        return {"means": columns, "bleu_counts": self.columns[:, len(self.means) :].astype(int).tolist()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> ScoreTable:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            means = stored["means"]
            counts = np.asarray(stored["bleu_counts"], dtype=np.float64).reshape(-1, _BLEU_COLUMNS)
            columns = [np.asarray(values, dtype=np.float64) for values in means.values()]
            return cls(tuple(means), np.column_stack([*columns, counts]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"no table of item scores: {error}") from error


def confidence_intervals(
    table: ScoreTable, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> dict[str, Interval]:
    """An interval for each score of the corpus; none where nothing is resampled.

    Args:
        table: what each item adds.
        resamples: how many sets of items are drawn.
        level: the share of resamples inside the interval.
        seed: of the draws.

    Raises:
        UsageError: the number of resamples is negative.
    """
    if resamples < 0:
        raise UsageError(f"resamples {resamples} is not 0 or more")
    if not resamples:
        return {}
    drawn = table.resampled(resamples, seed)
    return {name: percentile_interval(values, level) for name, values in drawn.items()}


def percentile_interval(values: Floats, level: float = LEVEL) -> Interval:
    """The middle `level` share of the values.

    >>> percentile_interval(np.arange(101.0), 0.5)
    (25.0, 75.0)
    """
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def item_draws(items: int, resamples: int, seed: int) -> Iterator[Floats]:
    """[some, items] how often each item was drawn in each resample, block by block to bound the memory."""
    rng = np.random.default_rng(seed)
    block = max(1, _NUMBERS_AT_ONCE // items)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(items, size=(rows, items)) + np.arange(rows)[:, None] * items
        yield np.bincount(drawn.ravel(), minlength=rows * items).reshape(rows, items).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better the first system is than the second, on one score."""

    value: float  # first minus second
    interval: Interval  # of that, 95 %
    p_value: float  # how often chance alone would give a difference this large, either way

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"difference": self.value, "interval": self.interval, "p": self.p_value}


def compare(
    first: ScoreTable, second: ScoreTable, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Difference]:
    """Compare two systems on every score that both have.

    Args:
        first: what each item adds to the scores of one system.
        second: the same items in the same order, for the other system.
        resamples: how many times items are drawn, and answers swapped; at least once.
        seed: of both.

    Raises:
        ValueError: the tables hold different numbers of items.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} items cannot be paired with {len(second)}")
    resamples = max(1, resamples)
    shared = [name for name in first.means if name in second.means]
    first, second = first.only(shared), second.only(shared)
    sums = [table.columns.sum(axis=0, keepdims=True) for table in (first, second)]
    found = _minus(first.scores(sums[0]), second.scores(sums[1]))
    # The same seed draws the same items for both, which is what makes the bootstrap a paired one.
    drawn = _minus(first.resampled(resamples, seed), second.resampled(resamples, seed))

    rng = np.random.default_rng(seed)
    change = second.columns - first.columns
    block = max(1, _NUMBERS_AT_ONCE // len(first))
    moved = np.concatenate(
        [
            rng.integers(2, size=(min(block, resamples - start), len(first))).astype(np.float64) @ change
            for start in range(0, resamples, block)
        ]
    )
    swapped = _minus(first.scores(sums[0] + moved), second.scores(sums[1] - moved))
    differences = {}
    for name, values in found.items():
        value = float(values[0])
        # The answers as they are count as one of the swaps, so that a p-value is never 0.
        as_large = np.sum(np.abs(swapped[name]) >= abs(value) - 1e-12)
        p_value = float((1 + as_large) / (1 + resamples))
        differences[name] = Difference(value, percentile_interval(drawn[name]), p_value)
    return differences


def _minus(first: Mapping[str, Floats], second: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name: first[name] - second[name] for name in first}
