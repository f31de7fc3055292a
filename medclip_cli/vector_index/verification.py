"""Whether a collection is what it should be: its vectors, and its records against their corpora."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.errors import CorpusError
from medclip_cli.vector_index.base import CollectionInfo, VectorIndex, point_id
from medclip_cli.vector_index.sync import record_digest

_UNIT_LENGTH_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class CorpusCheck:
    """The points of one corpus against its records of the indexed splits, by their ids."""

    points: int
    missing: list[str] = field(default_factory=list)  # records that have no point
    changed: list[str] = field(default_factory=list)  # records whose point was made from another content
    extra: list[str] = field(default_factory=list)  # points that no record stands for
    unreadable: str | None = None  # why the corpus could not be compared

    @property
    def agrees(self) -> bool:
        return not (self.missing or self.changed or self.extra or self.unreadable)


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of a whole collection found."""

    points: int
    bad_vectors: list[str]  # ids of points whose vectors are not finite, or not of unit length or `dim`
    corpora: dict[str, CorpusCheck]
    damage: str | None = None  # what is wrong with its files

    @property
    def sound(self) -> bool:
        return not self.damage and not self.bad_vectors and all(c.agrees for c in self.corpora.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as plain data, as ``medclip collections verify --json`` prints them."""
        return asdict(self) | {"sound": self.sound}


def verify_collection(index: VectorIndex) -> Verification:
    """Read every file and point of a collection, and compare each point with the record it was made from."""
    stored: dict[str, dict[str, tuple[str, str]]] = {name: {} for name in index.info.corpora}
    bad_vectors: list[str] = []
    count = 0
    for point in index.points(vectors=True):
        count += 1
        corpus, record_id = str(point.payload.get("corpus", "")), str(point.payload.get("id", ""))
        digest = str(point.payload.get("digest", ""))
        stored.setdefault(corpus, {})[point.point_id] = (record_id, digest)
        if not all(
            vector.shape == (index.info.dim,)
            and abs(float(np.linalg.norm(vector.astype(np.float64))) - 1.0) < _UNIT_LENGTH_TOLERANCE
            for vector in (point.image_vector, point.caption_vector)
        ):
            bad_vectors.append(record_id)
    corpora = {name: _check_corpus(name, points, index.info) for name, points in stored.items()}
    return Verification(count, bad_vectors, corpora, index.find_damage())


def _check_corpus(name: str, points: Mapping[str, tuple[str, str]], info: CollectionInfo) -> CorpusCheck:
    source = info.corpora.get(name)
    if source is None:
        return CorpusCheck(len(points), unreadable="the collection does not say where it came from")
    missing: list[str] = []
    changed: list[str] = []
    seen: set[str] = set()
    try:
        corpus = Corpus.open(source.path)
        for record in corpus.walk():
            if source.splits and record.split not in source.splits:
                continue
            identifier = point_id(name, record.id)
            seen.add(identifier)
            if identifier not in points:
                missing.append(record.id)
            elif points[identifier][1] != record_digest(record, corpus.image_path(record)):
                changed.append(record.id)
    except CorpusError as error:
        return CorpusCheck(len(points), unreadable=str(error))
    extra = [record_id for identifier, (record_id, _) in points.items() if identifier not in seen]
    return CorpusCheck(len(points), missing, changed, sorted(extra))
