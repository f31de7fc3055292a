"""What one may ask of a collection: vectors, words, and filters as a person types them (``age>=60``)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medclip_cli.errors import UsageError

Vector = NDArray[np.float32]
Mode = Literal["dense", "words", "hybrid"]
KEYWORD_FIELDS = (
    *("modality", "view", "region", "category", "findings", "sex", "split", "corpus"),
    *("group", "source", "licence", "id"),
)
NUMBER_FIELDS = ("age",)
FIELDS = (*KEYWORD_FIELDS[:5], *NUMBER_FIELDS, *KEYWORD_FIELDS[5:])
_ALIASES = {"plane": "view", "patient": "group", "case": "group", "finding": "findings"}
_EXPRESSION = re.compile(r"\s*([A-Za-z_]+)\s*(!=|>=|<=|=|>|<)\s*(.*?)\s*", re.DOTALL)
_EXAMPLES = "write FIELD=VALUE, FIELD!=VALUE, FIELD=A,B, FIELD=*, age>=60 or age=60..70"


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter on the payload of a point.

    Attributes:
        field: one of `FIELDS`.
        kind: ``any`` keeps a record that has one of `values`; ``range`` one whose number, in the unit of the
            field (age: years), lies between `low` and `high`; ``exists`` one that has the field at all.
        negated: keep the others instead; a record without the field is among the others.
    """

    field: str
    kind: Literal["any", "range", "exists"]
    values: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    includes_low: bool = True
    includes_high: bool = True
    negated: bool = False

    def bounds(self) -> dict[str, float]:
        """Return the bounds of a range under the names that Qdrant gives them: gt, gte, lt, lte."""
        bounds = {
            "gte" if self.includes_low else "gt": self.low,
            "lte" if self.includes_high else "lt": self.high,
        }
        return {name: bound for name, bound in bounds.items() if math.isfinite(bound)}

    def holds(self, payload: Mapping[str, Any]) -> bool:
        """Whether a point with this payload is kept; values are compared without regard to case."""
        value = payload.get(self.field)
        if value is None or self.kind == "exists":
            found = value is not None
        elif self.kind == "range":
            above = value >= self.low if self.includes_low else value > self.low
            found = above and (value <= self.high if self.includes_high else value < self.high)
        else:
            has = {_folded(str(one)) for one in (value if isinstance(value, list) else [value])}
            found = bool(has & {_folded(wanted) for wanted in self.values})
        return found != self.negated

    def with_known_values(self, known: Mapping[str, int]) -> Condition:
        """Return the condition with each value written as the collection writes it.

        ``ct`` becomes ``CT``; and since a comma separates values but also stands in some, as in "Chest,
        Pulmonary", pieces that make up a known value together are put together again.
        """
        if self.kind != "any" or not known:
            return self
        spelling = {_folded(value): value for value in known}
        values: list[str] = []
        left = list(self.values)
        while left:
            size = next((n for n in range(len(left), 1, -1) if _folded(",".join(left[:n])) in spelling), 1)
            piece = ",".join(left[:size])
            values.append(piece if piece in known else spelling.get(_folded(piece), piece))
            left = left[size:]
        return replace(self, values=tuple(dict.fromkeys(values)))


def parse_condition(text: str) -> Condition:
    """Read one filter as a person types it.

    Raises:
        UsageError: no such expression, no such field, or a bound that is no number.
    """
    match = _EXPRESSION.fullmatch(text)
    if match is None or not match[3]:
        raise UsageError(f"cannot read the filter {text!r}: {_EXAMPLES}")
    name, operator, value = match[1].lower(), match[2], match[3]
    field = _ALIASES.get(name, name)
    if field not in FIELDS:
        raise UsageError(f"cannot filter by {name!r}: the fields are {', '.join(FIELDS)}")
    negated = operator == "!="
    if value == "*" and operator in ("=", "!="):
        return Condition(field, "exists", negated=negated)
    if field in NUMBER_FIELDS:
        return _number_condition(field, operator, value)
    if operator not in ("=", "!="):
        raise UsageError(f"{field} is not a number, so {operator} does not apply in {text!r}: {_EXAMPLES}")
    values = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    if not values:
        raise UsageError(f"cannot read the filter {text!r}: {_EXAMPLES}")
    return Condition(field, "any", values, negated=negated)


def _folded(value: str) -> str:
    """Return a value without regard to case and to spaces around commas."""
    return ",".join(part.strip() for part in value.casefold().split(","))


def _number_condition(field: str, operator: str, value: str) -> Condition:
    if operator in (">", ">="):
        return Condition(field, "range", low=_number(field, value), includes_low=operator == ">=")
    if operator in ("<", "<="):
        return Condition(field, "range", high=_number(field, value), includes_high=operator == "<=")
    low, dots, high = value.partition("..")
    bounds = (_number(field, low), _number(field, high if dots else low))
    if bounds[0] > bounds[1]:
        raise UsageError(f"{field}={value} holds nothing: write the smaller number first")
    return Condition(field, "range", low=bounds[0], high=bounds[1], negated=operator == "!=")


def _number(field: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{field} is a number, not {text.strip()!r}: {_EXAMPLES}")
    return number


@dataclass(frozen=True, slots=True)
class Query:
    """One query to a collection.

    Attributes:
        image_vector: ``[dim]``, an example image; compared with the stored ``image`` vectors.
        text_vector: ``[dim]``, embedded words; compared with the stored ``caption`` vectors, which
            found the modality, view and region asked for more often than ``image`` vectors did on MedPix.
        words: plain words, compared with the captions by BM25.
        mode: ``dense`` ranks by cosine of the vectors, ``words`` by BM25, ``hybrid`` fuses both.
        top: how many neighbours.
        where: filters; all must hold.
        min_score: leave out neighbours whose shown score is lower.
        exclude_groups: patients or cases that may not answer.
        exact: compare with every vector instead of walking the approximate graph.
        against: compares every vector with the stored ones of this name instead.
        fusion: ``rrf`` adds reciprocal ranks (Cormack et al., SIGIR 2009), ``dbsf`` normalised scores.
        weights: of the dense and the words ranking in ``rrf``; None takes those learnt for the collection.
        diversity: 0 ranks by likeness alone, up to 1 by difference from what is already chosen (maximal
            marginal relevance, Carbonell and Goldstein, SIGIR 1998); None leaves the ranking as it is.
        examples: further example images; each makes a ranking of its own, and all are fused by rank.
            `examples.combine` is the other way: one vector made of several.
    """

    image_vector: Vector | None = None
    text_vector: Vector | None = None
    words: str | None = None
    mode: Mode = "dense"
    top: int = 5
    where: tuple[Condition, ...] = ()
    min_score: float | None = None
    exclude_groups: frozenset[str] = frozenset()
    exact: bool = False
    against: Literal["image", "caption"] | None = None
    fusion: Literal["rrf", "dbsf"] = "rrf"
    weights: tuple[float, float] | None = None
    diversity: float | None = None
    examples: tuple[Vector, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what came from bytes that are no UTF-8: no engine and no tokenizer takes lone surrogates."""
        values = (value for condition in self.where for value in condition.values)
        for text in (self.words or "", *self.exclude_groups, *values):
            if not text.isascii() and text != text.encode("utf-8", "ignore").decode():
                raise UsageError(f"{text!a} is not UTF-8 text: look at the encoding of the terminal")

    @property
    def asks_words(self) -> bool:
        return self.mode != "dense" and bool((self.words or "").strip())

    @property
    def compared_vectors(self) -> list[tuple[Vector, str]]:
        """The vectors that are compared by cosine, each with the name of the stored ones."""
        images, texts = (self.image_vector, *self.examples), (self.text_vector,)
        given = [(vector, "image") for vector in images] + [(vector, "caption") for vector in texts]
        if self.mode == "words":
            return []
        return [(vector, self.against or name) for vector, name in given if vector is not None]

    def clauses(self, known: Mapping[str, Mapping[str, int]]) -> tuple[list[Condition], list[Condition]]:
        """Return the conditions that must hold and those that must not, as the engines take them.

        An ``exists`` condition stands for "the field is empty", which is what engines can ask: of a record
        that has the field it must not hold. `known` has values by field, as the collection writes them.
        """
        must: list[Condition] = []
        must_not: list[Condition] = []
        for condition in self.where:
            written = condition.with_known_values(known.get(condition.field, {}))
            (must_not if written.negated != (written.kind == "exists") else must).append(written)
        if self.exclude_groups:
            must_not.append(Condition("group", "any", tuple(sorted(self.exclude_groups))))
        return must, must_not

    def arm_weights(self, arms: int, learnt: tuple[float, float]) -> list[float]:
        """Return the weight of each of so many rankings: those of vectors first, that of the words last."""
        dense, words = self.weights or learnt
        return [dense] * (arms - 1) + [words] if self.asks_words else [1.0] * arms

    def check(self) -> None:
        """Refuse a query that cannot be answered; a hybrid one makes do with what it is given.

        Raises:
            UsageError: nothing to compare with in this mode, or a number out of range.
        """
        if not self.asks_words and not self.compared_vectors:
            needed = {"dense": "an image or words to embed", "words": "words to look for"}
            raise UsageError(f"mode {self.mode} needs {needed.get(self.mode, 'an image or words')}")
        if self.top < 1:
            raise UsageError(f"the number of neighbours must be 1 or more, not {self.top}")
        if self.weights is not None and (min(self.weights) < 0 or max(self.weights) == 0):
            raise UsageError(f"fusion weights must be 0 or more and not both 0, not {self.weights}")
        if self.diversity is not None and not 0 <= self.diversity <= 1:
            raise UsageError(f"diversity must be between 0 and 1, not {self.diversity}")


def combine(like: Sequence[Vector], unlike: Sequence[Vector] = ()) -> Vector:
    """Return the unit vector that points towards `like` and away from `unlike`.

    The sum is Qdrant's "average vector" strategy of recommendation, ``2 mean(like) - mean(unlike)``
    (https://qdrant.tech/documentation/concepts/explore/#average-vector-strategy). One vector goes to the
    index, so that the answers' scores stay cosines.

    Args:
        like: ``[dim]`` each, unit length, at least one.
        unlike: ``[dim]`` each, unit length.

    Raises:
        UsageError: nothing to look like, or the two sides cancel out.
    """
    if not like:
        raise UsageError("an image to look unlike needs one to look like: add an image")
    mean: Vector = np.mean(np.stack(like), axis=0, dtype=np.float32)
    if unlike:
        mean = 2 * mean - np.mean(np.stack(unlike), axis=0, dtype=np.float32)
    length = np.linalg.norm(mean)
    if length < 1e-6:
        raise UsageError("the example images cancel each other out: use fewer, or others")
    return np.divide(mean, length, dtype=np.float32)
