"""The vector index beside qdrant-client's local mode, which needs no server either, on the same points.

Local mode takes minutes to fill and half a minute to open with 220,000 points: without points that it has
already, nothing is measured unless MEDCLIP_BENCH_LOCAL=1. They are kept under work/bench.

    MEDCLIP_BENCH_LOCAL=1 python -m benchmarks.bench_index_local [--points 220000] [--runs 5] [--folder F]
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from qdrant_client import QdrantClient, models

from benchmarks.bench_index import FOLDER, POINTS
from benchmarks.drawn_points import COLLECTION, DIM, DrawnVectors, draw_points, drawn_collection
from benchmarks.timing import Comparison, compare, record
from medclip_cli.vector_index.base import Point, Query
from medclip_cli.vector_index.edge import open_collection
from medclip_cli.vector_index.payload import payload_of

WANTED_VARIABLE = "MEDCLIP_BENCH_LOCAL"
OURS_IN_TURN, THEIRS_IN_TURN = 500, 5  # a turn of ours still takes a fifth of the time of one of theirs


def main() -> None:
    """Record both claims: opening and asking once, and asking alone."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--points", type=int, default=POINTS)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--folder", type=Path, default=FOLDER, help="where the points are kept")
    given = arguments.parse_args()
    local = given.folder / f"local-{given.points}"
    if not (local / "ready").exists() and not os.environ.get(WANTED_VARIABLE):
        print(f"not measured: filling local mode takes minutes; ask for it with {WANTED_VARIABLE}=1")
        return
    warnings.simplefilter("ignore", UserWarning)  # local mode warns of its own slowness
    _fill(local, given.points)
    home = drawn_collection(given.folder, given.points)
    _opening(home, local, given.points, given.runs)
    _asking(home, local, given.points, given.runs)


def _fill(local: Path, count: int) -> None:
    if (local / "ready").exists():
        return
    shutil.rmtree(local, ignore_errors=True)
    dense = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    client = QdrantClient(path=str(local))
    client.create_collection(COLLECTION, vectors_config={"image": dense, "caption": dense})
    for batch in draw_points(count, DrawnVectors()):
        client.upsert(COLLECTION, [_stored(point) for point in batch])
    client.close()
    (local / "ready").touch()


def _stored(point: Point) -> models.PointStruct:
    vector = {"image": point.image_vector.tolist(), "caption": point.caption_vector.tolist()}
    payload = payload_of(point.record, COLLECTION, point.digest)
    return models.PointStruct(id=point.point_id, vector=vector, payload=payload)


def _ask(client: QdrantClient, question: np.ndarray) -> None:
    client.query_points(COLLECTION, question.tolist(), using="image", limit=5)


def _opening(home: Path, local: Path, points: int, runs: int) -> None:
    question = DrawnVectors().draw(1, 10**9)[0]

    def ours() -> None:
        with open_collection(home, COLLECTION) as index:
            index.query([Query(image_vector=question)])

    def theirs() -> None:
        client = QdrantClient(path=str(local))
        _ask(client, question)
        client.close()

    claim = f"opening {points:,} points and one question / qdrant-client's local mode"
    record(compare(claim, ours, theirs, aim=1 / 100, runs=runs))


def _asking(home: Path, local: Path, points: int, runs: int) -> None:
    """Ask different questions one by one: some of ours, then some of theirs, and so on."""
    questions = DrawnVectors().draw(OURS_IN_TURN, 10**9)
    client = QdrantClient(path=str(local))
    ours: list[float] = []
    theirs: list[float] = []
    with open_collection(home, COLLECTION) as index:
        for _ in range(runs):
            ours += [_seconds(index.query, [Query(image_vector=question)]) for question in questions]
            theirs += [_seconds(_ask, client, question) for question in questions[:THEIRS_IN_TURN]]
    client.close()
    claim = f"one question among {points:,} points, opened / qdrant-client's local mode"
    record(Comparison(claim, ours, theirs, aim=1 / 500))


def _seconds(ask: Callable[..., object], *question: object) -> float:
    start = time.perf_counter()
    ask(*question)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
