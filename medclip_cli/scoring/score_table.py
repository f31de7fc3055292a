"""What each item adds to the scores of a corpus, so that any draw of items is scored by adding rows up.

A mean needs one column, corpus BLEU the ten counts it is made of. No caption is counted again, which makes a
thousand resamples one matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medclip_cli.scoring.bleu import BleuCounts, coco_bleu
from medclip_cli.scoring.captions import BLEU_NAMES, NOT_MEANS, CaptionScores
from medclip_cli.scoring.ngrams import MAX_ORDER, Floats

_BLEU_COLUMNS = 2 * MAX_ORDER + 2


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Columns to add up.

    Attributes:
        means: names of the scores that are means over items, one column each.
        columns: [n, len(means) + 10] those, then the counts of BLEU: matches and guesses of the four orders,
            candidate length, reference length.
    """

    means: tuple[str, ...]
    columns: Floats

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

    def total(self) -> dict[str, Floats]:
        """[1] the value of each score over all items."""
        return self.scores(self.columns.sum(axis=0, keepdims=True))

    def only(self, means: Sequence[str]) -> ScoreTable:
        """The table with these means alone, in this order."""
        kept = [self.means.index(name) for name in means]
        bleu = range(len(self.means), len(self.means) + _BLEU_COLUMNS)
        return ScoreTable(tuple(means), self.columns[:, [*kept, *bleu]])

    def to_json(self) -> dict[str, Any]:
        """As plain values, to six decimals: the means by name, and the counts of BLEU item by item."""
        rounded = self.columns.round(6)
        columns = {name: rounded[:, column].tolist() for column, name in enumerate(self.means)}
        return {"means": columns, "bleu_counts": self.columns[:, len(self.means) :].astype(int).tolist()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ScoreTable:
        """Read what `to_json` wrote.

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


def table_of(scores: CaptionScores) -> ScoreTable:
    """The table of scored captions, without the scores that are no means (METEOR sums in its own way)."""
    means = [name for name in scores.items if name not in NOT_MEANS]
    counts = scores.bleu_counts
    lengths = (counts.candidate_length, counts.reference_length)
    columns = [*(scores.items[name] for name in means), *counts.matches.T, *counts.guesses.T, *lengths]
    return ScoreTable(tuple(means), np.column_stack(columns).astype(np.float64))
