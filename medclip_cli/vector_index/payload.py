"""A record as the payload of a point, and scored payloads as neighbours: one order on every engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from medclip_cli.records import CaptionedImage, Neighbour
from medclip_cli.vector_index.queries import Query

SHOWN_FIELDS = (
    *("modality", "view", "region", "category", "findings", "age", "sex", "split", "source", "licence"),
)
# What is counted of a collection's values; more different values than this say nothing to a person.
COUNTED_FIELDS = ("modality", "view", "region", "category", "findings", "sex", "split", "corpus", "source")
MOST_VALUES = 200
RRF_K = 60  # Cormack, Clarke and Buettcher, SIGIR 2009
# Of 220,000 generated points the graph finds 0.99 of the ten nearest with 40, 0.998 with 48, all with 64;
# each step of 8 is a tenth of the time of a search.
HNSW_EF = 40
MMR_POOL = 100
EXTRA = 8
_DECIMALS = 6


def payload_of(record: CaptionedImage, corpus: str, digest: str) -> dict[str, Any]:
    """Return what is stored beside the vectors: the caption and the fields people filter by."""
    names = ("id", "caption", "image", "group", *SHOWN_FIELDS)
    payload = {name: getattr(record, name) for name in names}
    payload |= {"corpus": corpus, "digest": digest, "findings": list(record.findings)}
    # A missing field is left out, so that "has no age" means the same to every engine.
    return {name: value for name, value in payload.items() if value not in (None, [], "")}


def content_digest(record: CaptionedImage, image_stamp: str = "") -> str:
    """Return 16 hex digits that change when the record's payload or its image changes.

    `image_stamp`, such as a file's size and time, stands for the bytes of which the corpus holds no hash.
    """
    content = payload_of(record, "", "") | {"bytes": record.sha256 or image_stamp}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def telling_counts(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return each field's values and counts, most frequent first, without fields of very many values."""
    return {
        field: dict(sorted(values.items(), key=lambda item: (-item[1], item[0])))
        for field, values in counts.items()
        if 0 < len(values) <= MOST_VALUES
    }


def fused_pool(top: int) -> int:
    """Return how many answers of each ranking are fused."""
    return max(100, 4 * top)


class Scored(Protocol):
    """An answer of an engine, whose payload may have to be decoded when it is looked at."""

    @property
    def score(self) -> float: ...


_Hit = TypeVar("_Hit", bound=Scored)


def candidates(query: Query, hits: Sequence[_Hit]) -> Sequence[_Hit]:
    """Leave out the answers (best first) that `ranked` would by score alone: their payload is not read."""
    if query.diversity is not None or len(hits) <= query.top:
        return hits
    least = hits[query.top - 1].score - 10**-_DECIMALS  # what rounds to the same score comes along
    last = next((n for n in range(query.top, len(hits)) if hits[n].score < least), len(hits))
    return hits[:last]


def ranked(query: Query, scored: Iterable[tuple[float, Mapping[str, Any]]]) -> list[Neighbour]:
    """Return scored payloads as neighbours, best first, equals in the order of their ids.

    Equal scores are common, since many scans share a caption: `EXTRA` more answers than wanted are asked
    for, and the cut among equals is made here, so that every engine and every run makes the same one.
    """
    hits = list(scored)
    if query.diversity is None:
        hits.sort(key=lambda hit: (-round(hit[0], _DECIMALS), hit[1]["corpus"], hit[1]["id"]))
    found = []
    for rank, (score, payload) in enumerate(hits[: query.top], 1):
        own = {name: payload[name] for name in ("id", "caption", "image", "corpus", "group")}
        fields = {name: payload[name] for name in SHOWN_FIELDS if name in payload}
        found.append(Neighbour(rank=rank, score=score, fields=fields, **own))
    return found
