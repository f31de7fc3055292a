"""Where the vectors of a shard lie, and what that costs: the figures of decision 7.

Each variant is built of the same drawn points, one vector a point. It is opened and asked once, each time by
a new process: where those before closed the shard, and where they left that to their end, as medclip does.
At last it is asked many questions, and its answers are compared with those of exact search.

    python -m benchmarks.placement [--points 220000] [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import qdrant_edge as qe

from benchmarks.drawn_points import COLLECTION, DIM, DrawnVectors, draw_points
from medclip_cli.vector_index.edge import HNSW_FROM_KILOBYTES, OVERSAMPLING
from medclip_cli.vector_index.payload import HNSW_EF, payload_of

FOLDER = Path("work/bench")
QUESTIONS, JUDGED, TOP = 400, 100, 10
_ONCE = """
import json, os, sys, time
import qdrant_edge as qe
from benchmarks.drawn_points import DrawnVectors
path, ef, oversampling, closes = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "closes"
question = DrawnVectors().draw(1, 10**9)[0].tolist()
start = time.perf_counter()
shard = qe.EdgeShard.load(path)
opened = time.perf_counter()
whole = qe.QuantizationSearchParams(rescore=True, oversampling=oversampling)
nearest, params = qe.Query.Nearest(question, using="image"), qe.SearchParams(hnsw_ef=ef, quantization=whole)
shard.query(qe.QueryRequest(query=nearest, limit=5, with_payload=True, params=params))
print(json.dumps([opened - start, time.perf_counter() - opened]), flush=True)
if closes:
    shard.close()
os._exit(0)
"""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of placing vectors.

    Attributes:
        name: for people.
        memory: of whole vectors and of the graph; None is the engine's default.
        quantized: of vectors rounded to 8 bits, which are looked at first; None keeps none.
    """

    name: str
    memory: qe.Memory | None
    quantized: qe.Memory | None = None

    @property
    def config(self) -> qe.EdgeConfig:
        """The layout of a shard."""
        rounded = None
        if self.quantized is not None:
            rounded = qe.ScalarQuantizationConfig(qe.ScalarType.Int8, quantile=0.99, memory=self.quantized)
        vector = qe.EdgeVectorParams(
            size=DIM, distance=qe.Distance.Cosine, memory=self.memory, quantization_config=rounded
        )
        graph = qe.HnswIndexConfig(
            m=16, ef_construct=128, full_scan_threshold=HNSW_FROM_KILOBYTES, memory=self.memory
        )
        optimizers = qe.EdgeOptimizersConfig(indexing_threshold=HNSW_FROM_KILOBYTES, default_segment_number=1)
        return qe.EdgeConfig(
            vectors={"image": vector}, hnsw_config=graph, optimizers=optimizers, wal_enabled=False
        )


VARIANTS = (
    Variant("as the engine does", None),
    Variant("on disk, read as needed", qe.Memory.Cold),
    Variant("8 bits on disk, too", qe.Memory.Cold, qe.Memory.Cold),
    Variant("8 bits in memory, too", qe.Memory.Cold, qe.Memory.Pinned),
)


def main() -> None:
    """Print a row for each variant."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--points", type=int, default=220_000)
    arguments.add_argument("--runs", type=int, default=5)
    given = arguments.parse_args()
    print("| vectors | built | opened | first question, if closed | if left open | a later one | recall@10 |")
    print("|---|---|---|---|---|---|---|")
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            built = _build(Path(folder), variant, given.points)
            opened, first = _ask_once(folder, given.runs, "closes")
            _, next_first = _ask_once(folder, given.runs, "leaves open")
            later, recall = _ask_often(folder)
        print(
            f"| {variant.name} | {built:.0f} s | {opened:.3f} s | {first:.3f} s | {next_first:.3f} s "
            f"| {1000 * later:.2f} ms | {recall:.3f} |",
            flush=True,
        )


def _build(folder: Path, variant: Variant, points: int) -> float:
    start = time.perf_counter()
    shard = qe.EdgeShard.create(str(folder), variant.config)
    for batch in draw_points(points, DrawnVectors()):
        stored = [
            qe.Point(
                point.point_id,
                {"image": point.image_vector.tolist()},
                payload_of(point.record, COLLECTION, point.digest),
            )
            for point in batch
        ]
        shard.update(qe.UpdateOperation.upsert_points(stored))
    shard.optimize()
    shard.flush()
    shard.close()
    qe.EdgeShard.load(str(folder)).close()  # the first opening after a write folds journals into files
    return time.perf_counter() - start


def _ask_once(folder: str, runs: int, ending: str) -> tuple[float, float]:
    command = [sys.executable, "-c", _ONCE, folder, str(HNSW_EF), str(OVERSAMPLING), ending]
    taken = [
        json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(runs + 1)
    ]
    opened, first = (statistics.median(side) for side in zip(*taken[1:], strict=True))
    return opened, first


def _ask_often(folder: str) -> tuple[float, float]:
    shard = qe.EdgeShard.load(folder)
    questions = [question.tolist() for question in DrawnVectors().draw(QUESTIONS, 10**9)]
    usual = {
        "hnsw_ef": HNSW_EF,
        "quantization": qe.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING),
    }
    taken = []
    for _ in range(2):  # the first round fetches the pages
        taken = [_seconds(shard, question, usual) for question in questions]
    shares = [
        len(_found(shard, question, usual) & _found(shard, question, {"exact": True})) / TOP
        for question in questions[:JUDGED]
    ]
    shard.close()
    return statistics.median(taken), statistics.mean(shares)


def _seconds(shard: qe.EdgeShard, question: list[float], params: Mapping[str, object]) -> float:
    start = time.perf_counter()
    _hits(shard, question, params, 5)
    return time.perf_counter() - start


def _found(shard: qe.EdgeShard, question: list[float], params: Mapping[str, object]) -> set[str]:
    return {str(hit.id) for hit in _hits(shard, question, params, TOP)}


def _hits(
    shard: qe.EdgeShard, question: list[float], params: Mapping[str, object], limit: int
) -> list[qe.ScoredPoint]:
    nearest = qe.Query.Nearest(question, using="image")
    chosen = qe.SearchParams(**params)  # type: ignore[arg-type]
    return shard.query(qe.QueryRequest(query=nearest, limit=limit, with_payload=True, params=chosen))


if __name__ == "__main__":
    main()
