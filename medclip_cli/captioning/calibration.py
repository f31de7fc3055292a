"""What was measured on validation images, kept in the model folder: which method won, how sure it may be.

The file is ``captioning.json``. It is fitted to one model and the neighbours its own training split gives; a
collection of other scans is answered with the same numbers, which are then a guess.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip_cli.captioning.appearance import KnownAppearance, appearance
from medclip_cli.captioning.confidence import (
    MIN_EXAMPLES,
    Platt,
    ReliabilityRow,
    cross_fitted,
    fit_platt,
    reliability,
)
from medclip_cli.errors import ModelError

Floats = NDArray[np.float64]

FILE_NAME = "captioning.json"
FORMAT_VERSION = 1
# Shares of real held-out scans that may be refused: far from their neighbours, or unlike known images.
REFUSED_SHARE = 0.01
FOREIGN_SHARE = 0.01
# Methods are compared by this score: it distinguishes captions of one template best.
DECIDING_SCORE = "cider"


@dataclass(frozen=True, slots=True)
class MethodRecord:
    """How one caption method did on the validation split."""

    scores: dict[str, float]  # caption scores by name
    platt: Platt | None = None  # from features to the probability that modality, view and region are right
    # of the confidence, each answer evaluated by a calibration fitted without its patient
    reliability: tuple[ReliabilityRow, ...] = ()
    right: float = 0.0  # share of answers that were right
    answers: int = 0  # how many were evaluated


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything ``captioning.json`` holds."""

    neighbours: int  # the k that features and the domain test were measured with
    domain_floor: float  # similarity of the k-th neighbour under which an image is like nothing that is known
    methods: Mapping[str, MethodRecord] = field(default_factory=dict)  # by name
    appearance: KnownAppearance | None = None  # how the known images look; None where it was not measured
    corpus: str = ""  # name of the corpus it was measured on
    format_version: int = FORMAT_VERSION

    @property
    def best_method(self) -> str:
        """The method with the highest CIDEr; of equals the first."""
        return max(self.methods, key=lambda name: self.methods[name].scores.get(DECIDING_SCORE, 0.0))

    @property
    def knows_confidence(self) -> bool:
        """Whether enough validation images had fields that answers can be checked against."""
        return any(record.platt is not None for record in self.methods.values())

    def confidence(self, method: str, features: Floats) -> float | None:
        """Probability that an answer has modality, view and region right; None where nothing is known."""
        record = self.methods.get(method)
        if record is None or record.platt is None:
            return None
        return float(record.platt(features)[0])

    def looks_foreign(self, pixels: NDArray[np.uint8] | None) -> bool:
        """Whether an image (uint8 ``[side, side, 3]``) looks like none of the known images."""
        if self.appearance is None or pixels is None:
            return False
        return self.appearance.is_foreign(appearance(pixels))

    def is_far(self, scores: Sequence[float]) -> bool:
        """Whether an image is further from everything known than all but a few real scans are.

        Args:
            scores: similarity of the neighbours, best first. With fewer than k of them the last one counts.
        """
        return bool(scores) and scores[min(self.neighbours, len(scores)) - 1] < self.domain_floor

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with the best method."""
        return {"best_method": self.best_method, **asdict(self)}

    def to_json(self) -> str:
        """The content of the file."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Read the content of the file.

        Raises:
            ModelError: it is damaged, or comes from a newer medclip.
        """
        try:
            content = json.loads(text)
            version = int(content["format_version"])
            if version > FORMAT_VERSION:
                raise ModelError(f"{FILE_NAME} has format {version}, newer than this medclip: upgrade it")
            methods = {name: _method_record(record) for name, record in content["methods"].items()}
            return cls(
                int(content["neighbours"]),
                float(content["domain_floor"]),
                methods,
                _appearance(content["appearance"]),
                str(content["corpus"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{FILE_NAME} cannot be read: measure it again with medclip train confidence"
            ) from error


def _appearance(content: dict[str, Any] | None) -> KnownAppearance | None:
    if content is None:
        return None
    precision = tuple(tuple(row) for row in content["precision"])
    return KnownAppearance(tuple(content["mean"]), precision, float(content["limit"]))


def _method_record(content: dict[str, Any]) -> MethodRecord:
    platt = content["platt"]
    if platt is not None:
        values = {name: tuple(platt[name]) for name in ("mean", "scale", "slopes")}
        platt = Platt(**values, intercept=float(platt["intercept"]))
    rows = tuple(ReliabilityRow(**row) for row in content["reliability"])
    return MethodRecord(
        dict(content["scores"]), platt, rows, float(content["right"]), int(content["answers"])
    )


def calibrate_method(
    scores: Mapping[str, float], features: Floats, right: Sequence[bool | None], groups: Sequence[str]
) -> MethodRecord:
    """Fit a method's confidence and say how well it keeps its promise.

    Args:
        scores: caption scores on the validation split.
        features: [n, f] of each answer.
        right: [n] whether its fields were right; None where the truth is not known.
        groups: [n] patient or case of each image.
    """
    known = np.array([value is not None for value in right], dtype=bool)
    outcome = np.array([bool(value) for value in right], dtype=bool)[known]
    if len(outcome) < MIN_EXAMPLES:
        return MethodRecord(dict(scores))
    checked = features[known]
    kept_apart = [group for group, is_known in zip(groups, known, strict=True) if is_known]
    promised = cross_fitted(checked, outcome, kept_apart)
    return MethodRecord(
        dict(scores),
        fit_platt(checked, outcome),
        reliability(promised, outcome),
        float(outcome.mean()),
        len(outcome),
    )


def domain_floor(kth_scores: Sequence[float], refused_share: float = REFUSED_SHARE) -> float:
    """Similarity of the k-th neighbour that all but a few real scans reach.

    The quantile of the validation images, lowered by the uncertainty of a few of them, as the limit of
    `learn_appearance` is widened: what fewer images have not shown of the tail must not be refused.

    Args:
        kth_scores: of validation images, at least one.
        refused_share: of them that may be below it.
    """
    quantile = float(np.quantile(np.asarray(kth_scores, dtype=np.float64), refused_share))
    return float(quantile - abs(quantile) * len(kth_scores) ** -0.5)
