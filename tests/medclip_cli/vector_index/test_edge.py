"""The embedded engine on disk: collections, their generations, and what becomes of old ones."""

from pathlib import Path

import pytest

from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.vector_index import edge as edge_engine
from medclip_cli.vector_index import generations, payload
from medclip_cli.vector_index.base import Query, point_id
from medclip_cli.vector_index.edge import open_collection
from medclip_cli.vector_index.generations import list_collections

from .drawn import draw_point, draw_points, draw_vector, folder_of, generation_names


def test_an_unknown_collection_names_those_there_are(edge, home):
    with pytest.raises(CollectionError, match="no collection 'scans' in .*: make one with medclip index"):
        edge.open()
    edge.write(draw_points(1))
    with pytest.raises(CollectionError, match="no collection 'other' in .*: name one of scans"):
        open_collection(home, "other")


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "a b", "x" * 101])
def test_names_that_no_folder_should_bear_are_refused(home, name):
    with pytest.raises(UsageError, match="not a valid collection name"):
        open_collection(home, name)


def test_collections_are_listed_without_the_damaged(edge, home):
    assert list_collections(home) == []
    edge.write(draw_points(3))
    damaged = folder_of(home, "broken")
    damaged.mkdir()
    (damaged / "collection.json").write_text("{")
    assert [(info.name, info.points) for info in list_collections(home)] == [("scans", 3)]
    assert generations.collection_names(home) == ["broken", "scans"]


def test_one_generation_is_kept_and_none_is_left_half(edge, home):
    for start in range(3):
        edge.write(draw_points(3, start=3 * start))
    assert generation_names(home) == ["000003"]
    assert sorted(path.name for path in folder_of(home).iterdir()) == [
        "collection.json",
        "generations",
        "writer.lock",
    ]


def test_a_commit_without_changes_builds_nothing(edge, home):
    before = edge.write(draw_points(3))
    with edge.writer() as writer:
        assert writer.commit() == before
    assert generation_names(home) == ["000001"]


def test_an_old_generation_stays_while_it_is_read(edge, home):
    edge.write(draw_points(3))
    with edge.open():
        edge.write(draw_points(3, start=3))
        assert generation_names(home) == ["000001", "000002"]
    edge.write(draw_points(3, start=6))
    assert generation_names(home) == ["000003"]


def test_a_reader_keeps_the_generation_it_opened(edge):
    edge.write(draw_points(10))
    with edge.open() as index:
        edge.write(draw_points(10, start=10))
        (found,) = index.query([Query(image_vector=draw_vector(1), top=60)])
        assert len(found) == 10


def test_many_points_get_payload_indexes(edge, monkeypatch):
    monkeypatch.setattr(edge_engine, "PAYLOAD_INDEX_POINTS", 50)
    info = edge.write(draw_points(60))
    assert info.fields["modality"] == {"CT": 20, "MR": 20, "XR": 20}
    assert info.fields["sex"] == {"M": 20, "F": 20}
    with edge.open() as index:
        assert set(index._shard.info().payload_schema) == set(edge_engine.INDEXED_FIELDS)


def test_fields_with_very_many_values_are_not_counted(edge, monkeypatch):
    monkeypatch.setattr(payload, "MOST_VALUES", 2)
    assert set(edge.write(draw_points(12)).fields) == {"sex", "split", "corpus", "source"}


def test_point_ids_belong_to_corpus_and_record():
    ids = {point_id(*pair) for pair in (("a", "b"), ("a/b", "c"), ("a", "b/c"), ("b", "a"))}
    assert len(ids) == 4
    assert draw_point(3).point_id == point_id("drawn", "drawn/00003")


def mapped_folders():
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return maps.read()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not tell what is mapped")
def test_a_collection_that_was_asked_stays_mapped_until_another_is(edge, home):
    """The engine has the system forget the pages of what it closes, and the next process would read them."""
    edge.write(draw_points(3))
    other = type(edge)(home, "other")
    other.write(draw_points(3))
    for asked in (edge, other, edge):
        with asked.open() as index:
            index.query([Query(image_vector=draw_vector(1))])
        mapped = mapped_folders()
        assert [str(folder_of(home, name)) in mapped for name in ("scans", "other")] == [
            asked is edge,
            asked is other,
        ]


def test_rounded_vectors_find_and_whole_ones_score(edge, home, monkeypatch):
    monkeypatch.setattr(edge_engine, "HNSW_FROM_KILOBYTES", 1)  # a graph for these few, too
    edge.write(draw_points(500))
    assert list(folder_of(home).glob("generations/*/shard/segments/*/vector_storage-image/quantized.data"))
    questions = [draw_vector(number) + 0.1 * draw_vector(5_000 + number) for number in range(50)]
    with edge.open() as index:
        found = index.query([Query(image_vector=question) for question in questions])
        exact = index.query([Query(image_vector=question, exact=True) for question in questions])
    assert [[hit.id for hit in hits] for hits in found] == [[hit.id for hit in hits] for hits in exact]
    for hits, whole in zip(found, exact, strict=True):
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in whole], abs=1e-6)
