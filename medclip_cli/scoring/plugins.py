"""Scorers that others bring: BERTScore, RadGraph, RaTEScore and the like, which need weights of their own.

A package offers one under the entry point group ``medclip.scorers``::

    [project.entry-points."medclip.scorers"]
    radgraph = "my_package.radgraph:f1"

The object takes the predictions and the lists of references, as they were written, and returns a number for
each item; the score of the set is their mean. An attribute ``variant`` says which version and weights it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

import numpy as np

from medclip_cli.errors import ScoringError, UsageError
from medclip_cli.scoring.ngrams import Floats

GROUP = "medclip.scorers"


class Scorer(Protocol):
    """What an entry point of the group must be."""

    def __call__(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Sequence[float]:
        """A number for each item."""


def known_scorers() -> dict[str, EntryPoint]:
    """The scorers that installed packages offer, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load_scorers(names: Sequence[str]) -> dict[str, Scorer]:
    """Load scorers by name.

    Raises:
        UsageError: no installed package offers one.
        ScoringError: one cannot be imported.
    """
    known, loaded = known_scorers(), {}
    for name in names:
        if name not in known:
            offered = ", ".join(sorted(known)) or "none"
            raise UsageError(f"no installed package offers a scorer {name!r} (offered: {offered})")
        try:
            loaded[name] = known[name].load()
        except Exception as error:  # noqa: BLE001 - whatever a foreign module does on import
            raise ScoringError(f"scorer {name!r} ({known[name].value}) cannot be loaded: {error}") from error
    return loaded


def variant_of(name: str, scorer: Scorer) -> str:
    """What a scorer says it is, and the package it came from with its version."""
    said = str(getattr(scorer, "variant", name))
    point = known_scorers().get(name)
    distribution = point.dist if point else None
    return f"{said} ({distribution.name} {distribution.version})" if distribution else said


def run_scorer(
    name: str, scorer: Scorer, predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> Floats:
    """[n] what a scorer says of each item.

    Raises:
        ScoringError: it fails, or does not return one finite number for each item.
    """
    try:
        values = np.asarray(scorer(predictions, references), dtype=np.float64)
    except Exception as error:  # noqa: BLE001 - foreign code; its message may quote captions, so it is left out
        raise ScoringError(f"scorer {name!r} failed with {type(error).__name__}") from error
    if values.shape != (len(predictions),) or not np.isfinite(values).all():
        raise ScoringError(
            f"scorer {name!r} must return one finite number for each of the {len(predictions)} items"
        )
    return values
