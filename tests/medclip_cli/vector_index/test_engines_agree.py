"""The embedded engine and the server engine give the same ids in the same order for the same data."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from medclip_cli.vector_index.base import Query, parse_condition

from .conftest import Edge, InMemoryServer
from .drawn import draw_points, draw_vector

pytestmark = [
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
]

QUERIES = {
    "image": Query(image_vector=draw_vector(500), top=20),
    "words as a vector": Query(text_vector=draw_vector(501), top=20),
    "words as a vector, against images": Query(text_vector=draw_vector(502), against="image", top=20),
    "exact": Query(image_vector=draw_vector(503), exact=True, top=20),
    "words": Query(words="axial scans of a fractured spine", mode="words", top=20),
    "image and words": Query(image_vector=draw_vector(504), text_vector=draw_vector(505), top=20),
    "examples": Query(image_vector=draw_vector(506), examples=(draw_vector(507), draw_vector(508)), top=20),
    "diverse": Query(image_vector=draw_vector(509), diversity=0.4, top=12),
    "hybrid": Query(text_vector=draw_vector(510), words="number 7 12 31 44 52", mode="hybrid", top=30),
    "hybrid, weighted": Query(
        text_vector=draw_vector(511), words="number 3 8 19", mode="hybrid", weights=(1.0, 3.0), top=30
    ),
    "hybrid by score": Query(
        text_vector=draw_vector(512), words="number 3 8 19", mode="hybrid", fusion="dbsf", top=30
    ),
    "nothing like it": Query(words="photograph", mode="words"),
}
FILTERS = [(), ("modality=CT,MR", "age>=10"), ("view!=Axial",), ("findings=*", "sex!=*"), ("modality=US",)]


@pytest.fixture(scope="module")
def indexes(fast_folder):
    points = draw_points(120)
    opened = []
    for engine in (Edge(Path(tempfile.mkdtemp(dir=fast_folder))), InMemoryServer(Path())):
        engine.write(points[:100])
        engine.write([replace(points[5], image_vector=draw_vector(900)), *points[90:]])
        opened.append(engine.open())
    yield opened
    for index in opened:
        index.close()


@pytest.mark.parametrize("where", FILTERS, ids=lambda where: " and ".join(where) or "unfiltered")
@pytest.mark.parametrize("name", QUERIES)
def test_on_ids_order_and_scores(indexes, name, where):
    conditions = tuple(parse_condition(text) for text in where)
    query = replace(QUERIES[name], where=conditions, exclude_groups=frozenset({"patient3"}))
    edge, server = ([(n.id, n.score) for n in index.query([query])[0]] for index in indexes)
    assert [record_id for record_id, _ in edge] == [record_id for record_id, _ in server]
    assert [score for _, score in edge] == pytest.approx([score for _, score in server], abs=2e-4)


def test_on_what_they_are(indexes):
    edge, server = (index.info for index in indexes)
    assert (edge.engine, server.engine) == ("edge", "server")
    told_by_edge = replace(edge, engine="", size_bytes=0, created="", updated="")
    assert told_by_edge == replace(server, engine="", size_bytes=0, created="", updated="")


def test_on_every_point(indexes):
    edge, server = (list(index.points(vectors=True)) for index in indexes)
    assert len(edge) == len(server) == 120
    for one, other in zip(edge, server, strict=True):
        assert (one.point_id, one.payload) == (other.point_id, other.payload)
        assert one.image_vector == pytest.approx(other.image_vector, abs=1e-6)
        assert one.caption_vector == pytest.approx(other.caption_vector, abs=1e-6)
