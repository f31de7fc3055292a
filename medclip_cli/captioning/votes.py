"""What the neighbours say of each field: modality, view, region, findings, by weighted vote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medclip_cli.records import OTHER_MODALITY

if TYPE_CHECKING:
    from medclip_cli.records import CaptionedImage

VOTED_FIELDS = ("modality", "view", "region", "category", "findings")
# The fields a caption must have right to count as right, where the truth is known.
JUDGED_FIELDS = ("modality", "view", "region")


@dataclass(frozen=True, slots=True)
class Vote:
    """What the neighbours say of one field.

    Attributes:
        field: its name.
        shares: (value, share) with the largest share first. The share is that of the weight of all
            neighbours, those that do not know the field included; of a field with several values at once
            (findings) each value is voted on by itself, so that shares need not add up to 1.
    """

    field: str
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
    # A modality is OT where nobody said which it is, too: two images that share it share nothing.
    return {name: value for name, value in known.items() if (name, value) != ("modality", OTHER_MODALITY)}


def vote(
    fields: Sequence[Mapping[str, Any]], weights: NDArray[np.float64], names: Sequence[str] = VOTED_FIELDS
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
            for value in _values(known.get(name)):
                shares[value] += float(weight)
        if shares:
            # A stable sort: of equals, the nearest neighbour's value wins.
            votes[name] = Vote(name, tuple(sorted(shares.items(), key=lambda item: -item[1])))
    return votes


def _values(value: object) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, (list, tuple)):
        return tuple(str(item) for item in value)
    return (str(value),)
