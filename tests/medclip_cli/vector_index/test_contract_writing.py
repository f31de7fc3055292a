"""What every engine of the vector index keeps of what is written; the same tests run over each of them."""

from dataclasses import replace

import numpy as np
import pytest

from medclip_cli.errors import CollectionError
from medclip_cli.vector_index.base import CorpusSource, Query, parse_condition, point_id
from medclip_cli.vector_index.payload import content_digest

from .drawn import DIM, SPEC, draw_points, draw_record, draw_vector

# qdrant-client's in-memory Qdrant says that it has no search parameters and no payload indexes.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
]
POINTS = draw_points(60)


def ids(neighbours):
    return [neighbour.id for neighbour in neighbours]


def test_writing_twice_changes_nothing_and_it_describes_itself(engine):
    source = CorpusSource("/data/drawn", "/scans", ("train",))
    first, again = (engine.write(POINTS, source=source) for _ in range(2))
    assert first.points == again.points == 60
    with engine.open() as index:
        info = index.info
    assert (info.name, info.points, info.dim) == (engine.name, 60, DIM)
    assert (info.fingerprint, info.model_name, info.model_path) == (
        SPEC.fingerprint,
        SPEC.model_name,
        SPEC.model_path,
    )
    assert info.corpora == {"drawn": source}
    assert info.fields["modality"] == {"CT": 20, "MR": 20, "XR": 20}
    assert info.created
    assert info.updated >= info.created


def test_a_changed_record_replaces_its_point(engine):
    engine.write(POINTS)
    changed = replace(
        POINTS[3],
        record=replace(POINTS[3].record, caption="a new caption", age=None),
        image_vector=draw_vector(999),
    )
    assert engine.write([changed]).points == 60
    with engine.open() as index:
        by_vector, by_words, old = index.query(
            [
                Query(image_vector=draw_vector(999), top=1),
                Query(words="new caption", mode="words", top=1),
                Query(image_vector=POINTS[3].image_vector, top=1),
            ]
        )
    assert by_vector[0].caption == by_words[0].caption == "a new caption"
    assert "age" not in by_vector[0].fields
    assert old[0].score < 0.999


def test_two_corpora_share_a_collection(engine):
    engine.write(draw_points(5), source=CorpusSource("/one", "/one/images"))
    engine.write(
        draw_points(5, corpus="other"), corpus="other", source=CorpusSource("/other", "/other/images")
    )
    with engine.open() as index:
        assert set(index.info.corpora) == {"drawn", "other"}
        assert index.info.points == 10
        (found,) = index.query([Query(image_vector=POINTS[2].image_vector, top=2)])
        (only,) = index.query(
            [Query(image_vector=POINTS[2].image_vector, where=(parse_condition("corpus=other"),))]
        )
    assert [(n.id, n.corpus) for n in found] == [("drawn/00002", "drawn"), ("drawn/00002", "other")]
    assert {n.corpus for n in only} == {"other"}


def test_digests_are_told_by_corpus(engine):
    engine.write(draw_points(4))
    engine.write(draw_points(3, corpus="other"), corpus="other")
    with engine.writer() as writer:
        assert writer.digests("other") == {
            point_id("other", point.record.id): content_digest(point.record) for point in draw_points(3)
        }
        assert len(writer.digests("drawn")) == 4
        assert writer.digests("nobody") == {}


def test_deleted_points_do_not_answer(engine):
    engine.write(POINTS)
    gone = [point.point_id for point in POINTS[:50]]
    with engine.writer() as writer:
        writer.delete([*gone, point_id("drawn", "never there")])
        assert writer.commit().points == 10
    with engine.open() as index:
        (found,) = index.query([Query(image_vector=POINTS[0].image_vector, top=60)])
    assert set(ids(found)) == {point.record.id for point in POINTS[50:]}


def test_nothing_is_seen_before_the_commit(engine):
    engine.write(POINTS[:10])
    with engine.writer() as writer:
        writer.upsert(POINTS[10:])
        with engine.open() as index:
            assert index.info.points == 10
            (found,) = index.query([Query(image_vector=POINTS[30].image_vector, top=60)])
            assert len(found) == 10
        writer.commit()
    with engine.open() as index:
        (found,) = index.query([Query(image_vector=POINTS[30].image_vector, top=60)])
    assert len(found) == 60


def test_a_rebuild_begins_empty_and_may_change_the_model(engine):
    engine.write(POINTS)
    other = replace(SPEC, fingerprint="fedcba9876543210", model_name="base", dim=4)
    with pytest.raises(CollectionError, match="made with model 'tiny'.*not with 'base'.*rebuild"):
        engine.writer(spec=other)
    small = [
        replace(point, image_vector=draw_vector(number, 4), caption_vector=draw_vector(number, 4))
        for number, point in enumerate(draw_points(3))
    ]
    with engine.writer(spec=other, rebuild=True) as writer:
        assert writer.digests("drawn") == {}
        writer.upsert(small)
        info = writer.commit()
    assert (info.points, info.dim, info.fingerprint) == (3, 4, "fedcba9876543210")


def test_points_of_another_length_are_refused(engine):
    point = replace(POINTS[0], caption_vector=np.zeros(5, np.float32))
    with (
        engine.writer() as writer,
        pytest.raises(CollectionError, match=r"drawn/00000: .*\(5,\).*dimension 8"),
    ):
        writer.upsert([point])


def test_an_empty_collection_answers_nothing(engine):
    engine.write([])
    with engine.open() as index:
        assert index.info.points == 0
        assert index.query([Query(image_vector=draw_vector(1))]) == [[]]


def test_digest_follows_what_is_stored():
    record = draw_record(4)
    assert content_digest(record) == content_digest(draw_record(4))
    for change in ({"caption": "other"}, {"age": 3.0}, {"sha256": "ff"}, {"split": "val"}, {"findings": ()}):
        assert content_digest(replace(record, **change)) != content_digest(record)
    unhashed = replace(record, sha256="")
    assert content_digest(unhashed, "10:1") != content_digest(unhashed, "10:2")
    assert content_digest(record, "10:1") == content_digest(record, "10:2")
