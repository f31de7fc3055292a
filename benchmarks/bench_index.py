"""The vector index beside the bare engine: upserting, opening and asking; and what approximate search finds.

The points are drawn and kept under work/bench: the first run builds them, which takes minutes.

    python -m benchmarks.bench_index [--points 220000] [--runs 5] [--folder work/bench]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.drawn_points import COLLECTION, DIM, SPEC, DrawnVectors, draw_points, drawn_collection
from benchmarks.timing import Comparison, Row, compare, record
from medclip_cli.vector_index.base import Query
from medclip_cli.vector_index.bm25 import caption_encoder
from medclip_cli.vector_index.edge import open_collection
from medclip_cli.vector_index.edge_writer import create_writer
from medclip_cli.vector_index.generations import SHARD, generation_folder
from medclip_cli.vector_index.payload import payload_of

FOLDER = Path("work/bench")
POINTS = 220_000  # CheXpert has as many films
UPSERTED = 10_000
QUESTIONS = 200


def main() -> None:
    """Record every claim."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--points", type=int, default=POINTS)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--folder", type=Path, default=FOLDER, help="where the points are kept")
    given = arguments.parse_args()
    vectors = DrawnVectors()
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        record(upserting(Path(folder), vectors, given.runs))
    home = drawn_collection(given.folder, given.points)
    questions = vectors.draw(QUESTIONS, 10**9)
    record(opening(home, questions, given.runs))
    record(recall(home, questions))
    print(sizes(home, given.points))


def upserting(home: Path, vectors: DrawnVectors, runs: int) -> Comparison:
    """Compare the writer with the bare engine, on the same points with the same payload and words."""
    import qdrant_edge as qe

    from medclip_cli.vector_index.edge import shard_config

    batches = list(draw_points(UPSERTED, vectors))
    encoder = caption_encoder(SPEC.average_words)
    number = iter(range(1_000_000))

    def ours() -> None:
        with create_writer(home, f"upserted{next(number)}", SPEC) as writer:
            for batch in batches:
                writer.upsert(batch)

    def bare() -> None:
        path = home / f"bare{next(number)}"
        path.mkdir()
        shard = qe.EdgeShard.create(str(path), shard_config(DIM))
        for batch in batches:
            stored = [
                qe.Point(
                    point.point_id,
                    {
                        "image": point.image_vector.tolist(),
                        "caption": point.caption_vector.tolist(),
                        "words": encoder.embed_document(point.record.caption),
                    },
                    payload_of(point.record, "drawn", point.digest),
                )
                for point in batch
            ]
            shard.update(qe.UpdateOperation.upsert_points(stored))
        shard.flush()
        shard.close()

    return compare(f"upserting {UPSERTED:,} points / the bare engine", ours, bare, aim=1 / 0.7, runs=runs)


def opening(home: Path, questions: np.ndarray, runs: int) -> Comparison:
    """Compare opening and asking once with the bare engine on the very same shard."""
    import qdrant_edge as qe

    with open_collection(home, COLLECTION) as index:
        info = index.info
    shard_path = generation_folder(home / "collections" / COLLECTION, info.generation) / SHARD

    def ours() -> None:
        with open_collection(home, COLLECTION) as index:
            index.query([Query(image_vector=questions[0])])

    def bare() -> None:
        shard = qe.EdgeShard.load(str(shard_path))
        nearest = qe.Query.Nearest(questions[0].tolist(), using="image")
        shard.query(qe.QueryRequest(limit=5, query=nearest, with_payload=True))
        shard.close()

    claim = f"opening {info.points:,} points and one question / the bare engine"
    return compare(claim, ours, bare, aim=3.0, runs=runs)


def recall(home: Path, questions: np.ndarray) -> Row:
    """Return how many of the ten nearest the approximate search finds."""
    asked = [Query(image_vector=vector, top=10) for vector in questions]
    exact = [Query(image_vector=vector, top=10, exact=True) for vector in questions]
    with open_collection(home, COLLECTION) as index:
        found, truth = index.query(asked), index.query(exact)
        points = index.info.points
    hits = sum(len({n.id for n in f} & {n.id for n in t}) for f, t in zip(found, truth, strict=True))
    share = hits / (10 * len(questions))
    what = f"recall@10 of the default search over {len(questions)} questions among {points:,} points"
    return Row(what, share, aim=0.98, against="exact search", at_least=True)


def sizes(home: Path, points: int) -> str:
    """Say how much of the disk a point takes, and how much of that its place in the search graphs."""
    files = [path for path in (home / "collections" / COLLECTION).rglob("*") if path.is_file()]
    graphs = [path for path in files if path.parent.name.startswith("vector_index-") and "links" in path.name]
    whole, linked = (sum(path.stat().st_blocks * 512 for path in some) for some in (files, graphs))
    return f"on disk: {whole / points:,.0f} bytes a point, of which {linked / points:,.0f} are search graphs"


if __name__ == "__main__":
    main()
