"""The vector index: opening and asking, upserting, indexing again, and recall of the approximate search.

Points are drawn: clustered 256-dimensional vectors with captions and fields as MedPix has them. The other
side is the bare engine on the same points, or qdrant-client's local mode.

    python -m benchmarks.bench_index [--points 220000] [--runs 5] [--local]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import Comparison, compare
from medclip_cli.records import CaptionedImage
from medclip_cli.vector_index.base import CollectionSpec, Point, Query
from medclip_cli.vector_index.edge import open_collection
from medclip_cli.vector_index.edge_writer import create_writer
from medclip_cli.vector_index.generations import SHARD, generation_folder
from medclip_cli.vector_index.payload import content_digest, payload_of
from medclip_cli.vector_index.words import caption_encoder

DIM = 256
CLUSTERS = 500
INNER_DIMENSIONS = 24  # of a cluster; embeddings of images lie near surfaces of far fewer dimensions than 256
BATCH = 256
UPSERTED = 10_000
QUESTIONS = 200
SPEC = CollectionSpec(DIM, "0" * 16, "drawn", "/models/drawn", average_words=12.0)
_PLANES, _ORGANS = ("Axial", "Coronal", "Sagittal"), ("brain", "chest", "abdomen", "spine", "pelvis", "knee")
_SIGNS = ("mass", "fracture", "oedema", "effusion", "haemorrhage", "cyst", "stenosis", "abscess")


class DrawnVectors:
    """Unit vectors around cluster centres, the same for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        """Draw the clusters."""
        rng = np.random.default_rng(seed)
        self._centres = rng.normal(size=(CLUSTERS, DIM)).astype(np.float32)
        self._directions = rng.normal(size=(CLUSTERS, INNER_DIMENSIONS, DIM)).astype(np.float32)

    def draw(self, count: int, seed: int) -> np.ndarray:
        """Return `count` vectors ``[count, DIM]``."""
        rng = np.random.default_rng(seed)
        cluster = rng.integers(0, CLUSTERS, count)
        inner = rng.normal(size=(count, 1, INNER_DIMENSIONS)).astype(np.float32)
        vectors = self._centres[cluster] + 0.5 * (inner @ self._directions[cluster])[:, 0]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def draw_record(number: int) -> CaptionedImage:
    """Return a record whose caption and fields vary as those of a data set do."""
    plane, organ, sign = _PLANES[number % 3], _ORGANS[number % 6], _SIGNS[number % 8]
    modality, age = ("CT", "MR")[number % 2], float(number % 90)
    caption = f"a {plane} plane {modality} scan of the {organ} of a {age:.0f} year old depicting {sign}"
    return CaptionedImage(
        id=f"drawn/{number:07d}",
        image=f"images/{number:07d}.png",
        caption=caption,
        captions=(caption,),
        modality=modality,
        group=f"patient{number // 3}",
        split="train",
        source="drawn",
        licence="CC0-1.0",
        view=plane,
        region=organ,
        findings=(sign,),
        age=age,
    )


def draw_points(count: int, vectors: DrawnVectors) -> Iterator[list[Point]]:
    """Yield batches of points."""
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        images, captions = vectors.draw(size, 2 * start), vectors.draw(size, 2 * start + 1)
        records = [draw_record(number) for number in range(start, start + size)]
        yield [
            Point(record, "drawn", image, caption, content_digest(record))
            for record, image, caption in zip(records, images, captions, strict=True)
        ]


def main() -> None:
    """Print every claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=220_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--local", action="store_true", help="also qdrant-client's local mode: takes minutes")
    arguments = parser.parse_args()
    vectors = DrawnVectors()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        print(upserting(home, vectors, arguments.runs).report(), flush=True)
        with create_writer(home, "drawn", SPEC) as writer:
            for batch in draw_points(arguments.points, vectors):
                writer.upsert(batch)
            writer.commit()
        questions = vectors.draw(QUESTIONS, 10**9)
        print(opening(home, questions, arguments.runs).report(), flush=True)
        print(recall(home, questions), flush=True)
        if arguments.local:
            for comparison in against_local_mode(home, arguments.points, vectors, arguments.runs):
                print(comparison.report(), flush=True)


def upserting(home: Path, vectors: DrawnVectors, runs: int) -> Comparison:
    """Compare the writer with the bare engine, on the same points with the same payload and words."""
    import qdrant_edge as qe

    from medclip_cli.vector_index.edge_requests import shard_config

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

    return compare(f"upserting {UPSERTED:,} points, writer / bare edge", ours, bare, aim=1 / 0.7, runs=runs)


def opening(home: Path, questions: np.ndarray, runs: int) -> Comparison:
    """Compare opening and asking once with the bare engine on the very same shard."""
    import qdrant_edge as qe

    with open_collection(home, "drawn") as index:
        info = index.info
    shard_path = generation_folder(home / "collections" / "drawn", info.generation) / SHARD

    def ours() -> None:
        with open_collection(home, "drawn") as index:
            index.query([Query(image_vector=questions[0])])

    def bare() -> None:
        shard = qe.EdgeShard.load(str(shard_path))
        nearest = qe.Query.Nearest(questions[0].tolist(), using="image")
        shard.query(qe.QueryRequest(limit=5, query=nearest, with_payload=True))
        shard.close()

    claim = f"opening {info.points:,} points and one question, medclip / bare edge"
    return compare(claim, ours, bare, aim=3.0, runs=runs)


def recall(home: Path, questions: np.ndarray) -> str:
    """Return how many of the ten nearest the approximate search finds."""
    asked = [Query(image_vector=vector, top=10) for vector in questions]
    exact = [Query(image_vector=vector, top=10, exact=True) for vector in questions]
    with open_collection(home, "drawn") as index:
        found, truth = index.query(asked), index.query(exact)
    hits = sum(len({n.id for n in f} & {n.id for n in t}) for f, t in zip(found, truth, strict=True))
    share = hits / (10 * len(questions))
    verdict = "met" if share >= 0.98 else "MISSED"
    return f"recall@10 over {len(questions)} questions, default / exact: {share:.4f} (aim 0.98, {verdict})"


def against_local_mode(home: Path, count: int, vectors: DrawnVectors, runs: int) -> Iterator[Comparison]:
    """Compare with qdrant-client's local mode on the same points: opening and asking, and asking alone."""
    import warnings

    from qdrant_client import QdrantClient, models

    warnings.simplefilter("ignore", UserWarning)
    path = str(home / "local")
    with_vectors = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    client = QdrantClient(path=path)
    client.create_collection("drawn", vectors_config={"image": with_vectors, "caption": with_vectors})
    for batch in draw_points(count, vectors):
        client.upsert("drawn", [_local_point(models, point) for point in batch])
    client.close()
    question = vectors.draw(1, 10**9)[0]

    def ours() -> None:
        with open_collection(home, "drawn") as index:
            index.query([Query(image_vector=question)])

    def local() -> None:
        opened = QdrantClient(path=path)
        opened.query_points("drawn", question.tolist(), using="image", limit=5)
        opened.close()

    yield compare(f"opening {count:,} points and one question, medclip / local mode", ours, local, 0.01, runs)
    opened = QdrantClient(path=path)
    with open_collection(home, "drawn") as index:
        yield compare(
            f"one question among {count:,} points, medclip / local mode",
            lambda: index.query([Query(image_vector=question)]),
            lambda: opened.query_points("drawn", question.tolist(), using="image", limit=5),
            1 / 500,
            runs,
        )
    opened.close()


def _local_point(models: Any, point: Point) -> Any:  # noqa: ANN401 - qdrant-client is imported late
    vector = {"image": point.image_vector.tolist(), "caption": point.caption_vector.tolist()}
    payload = payload_of(point.record, "drawn", point.digest)
    return models.PointStruct(id=point.point_id, vector=vector, payload=payload)


if __name__ == "__main__":
    main()
