"""Filters as a person types them: ``modality=CT,MR``, ``view!=Axial``, ``age>=60``, ``findings=*``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from medclip_cli.errors import UsageError

KEYWORD_FIELDS = (
    "modality",
    "view",
    "region",
    "category",
    "findings",
    "sex",
    "split",
    "corpus",
    "group",
    "source",
    "licence",
    "id",
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
        kind: ``any`` keeps a record that has one of `values`; ``range`` one whose number lies between the
            bounds; ``exists`` one that has the field at all.
        values: the accepted values of ``any``.
        low: lower bound of ``range``, in the unit of the field (age: years).
        high: upper bound of ``range``.
        includes_low: whether `low` itself is kept.
        includes_high: whether `high` itself is kept.
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
            has = {_plain(str(one)) for one in (value if isinstance(value, list) else [value])}
            found = bool(has & {_plain(wanted) for wanted in self.values})
        return found != self.negated

    def with_known_values(self, known: Mapping[str, int]) -> Condition:
        """Return the condition with each value spelt as the collection spells it.

        ``ct`` becomes ``CT``; and since a comma separates values but also stands in some, as in "Chest,
        Pulmonary", pieces that make up a known value together are put together again.
        """
        if self.kind != "any" or not known:
            return self
        spelling = {_plain(value): value for value in known}
        values: list[str] = []
        left = list(self.values)
        while left:
            size = next((n for n in range(len(left), 1, -1) if _plain(",".join(left[:n])) in spelling), 1)
            piece = ",".join(left[:size])
            values.append(piece if piece in known else spelling.get(_plain(piece), piece))
            left = left[size:]
        return replace(self, values=tuple(dict.fromkeys(values)))


def parse_condition(text: str) -> Condition:
    """Read one ``--where`` expression.

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


def _plain(value: str) -> str:
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
