"""What is known of each pair, as classes: the targets of the label heads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trainers.batches import Rows, TrainingPair

MISSING = -100  # what torch's cross-entropy ignores
MIN_VALUES = 2


class LabelFields:
    """The fields of the training pairs (modality, view, region ...) and each pair's value of them.

    A label is ``field=value``. A field counts when no pair has two values of it (several findings are no
    class) and when there is something to tell apart.
    """

    def __init__(self, pairs: Sequence[TrainingPair]) -> None:
        """Number the values of each field."""
        known = [_values(pair) for pair in pairs]
        several = {field for values in known for field, found in values.items() if len(found) > 1}
        seen: dict[str, set[str]] = defaultdict(set)
        for values in known:
            for field in values.keys() - several:
                seen[field].update(values[field])
        self.names = tuple(sorted(field for field in seen if len(seen[field]) >= MIN_VALUES))
        self.sizes = tuple(len(seen[field]) for field in self.names)
        self._classes = np.full((len(pairs), len(self.names)), MISSING, dtype=np.int64)
        for place, field in enumerate(self.names):
            numbers = {value: number for number, value in enumerate(sorted(seen[field]))}
            for row, values in enumerate(known):
                if field in values:
                    self._classes[row, place] = numbers[values[field][0]]

    def classes(self, rows: Rows) -> Tensor:
        """The class of each field, int64 [b, fields]; ``MISSING`` where it is not known."""
        return torch.from_numpy(self._classes[rows])


def _values(pair: TrainingPair) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for label in pair.labels:
        field, is_field, value = label.partition("=")
        if is_field:
            found[field].append(value)
    return found
