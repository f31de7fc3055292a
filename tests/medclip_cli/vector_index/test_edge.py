"""The embedded engine on disk: collections, their generations, and what becomes of old ones."""

import pytest

from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.vector_index import edge_building, edge_requests, generations
from medclip_cli.vector_index.base import Query, point_id
from medclip_cli.vector_index.edge import list_collections, open_collection

from .drawn import draw_point, draw_points, draw_vector
from .places import folder_of, generation_names


def test_an_unknown_collection_names_those_there_are(edge, home):
    with pytest.raises(CollectionError, match="no collection 'scans' in .*: make one with medclip index"):
        edge.open()
    edge.write(draw_points(1))
    with pytest.raises(CollectionError, match="no collection 'other' in .*: name one of scans"):
        open_collection(home, "other")


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "a b", "x" * 101])
def test_names_that_no_folder_should_bear_are_refused(home, name):
    with pytest.raises(UsageError, match="cannot name a collection"):
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
    monkeypatch.setattr(edge_requests, "PAYLOAD_INDEX_POINTS", 50)
    info = edge.write(draw_points(60))
    assert info.fields["modality"] == {"CT": 20, "MR": 20, "XR": 20}
    assert info.fields["sex"] == {"M": 20, "F": 20}
    with edge.open() as index:
        assert set(index._shard.info().payload_schema) == set(edge_requests.INDEXED_FIELDS)


def test_fields_with_very_many_values_are_not_counted(edge, monkeypatch):
    monkeypatch.setattr(edge_building, "MOST_VALUES", 2)
    assert set(edge.write(draw_points(12)).fields) == {"sex", "split", "corpus", "source"}


def test_point_ids_belong_to_corpus_and_record():
    ids = {point_id(*pair) for pair in (("a", "b"), ("a/b", "c"), ("a", "b/c"), ("b", "a"))}
    assert len(ids) == 4
    assert draw_point(3).point_id == point_id("drawn", "drawn/00003")
