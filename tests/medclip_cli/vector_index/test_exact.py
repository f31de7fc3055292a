"""Points in memory, compared one by one: what a simple store borrows."""

from dataclasses import replace

import numpy as np
import pytest

from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.vector_index.base import CorpusSource, Query, parse_condition
from medclip_cli.vector_index.memory import ExactIndex, ExactWriter

from .drawn import SPEC, draw_points, draw_vector
from .test_contract import FILTERS, POINTS, brute_force, ids


class Shelf:
    """Keeps what was saved."""

    def __init__(self, points=POINTS, **options):
        self.index = None
        self.write(points, **options)

    def write(self, points, **options):
        with ExactWriter("drawn", SPEC, self.index, self.save, **options) as writer:
            writer.add_corpus("drawn", CorpusSource("/data/drawn", "/scans", ("train",)))
            writer.upsert(points)
            return writer.commit()

    def save(self, info, points):
        self.index = ExactIndex(info, points)


@pytest.fixture(scope="module")
def index():
    return Shelf().index


def test_answers_are_the_nearest_by_cosine(index):
    vector = draw_vector(77)
    (found,) = index.query([Query(image_vector=vector, top=10)])
    assert ids(found) == brute_force(vector)[:10]


def test_several_vectors_are_compared_by_their_mean(index):
    one, other = draw_vector(1), draw_vector(2)
    (found,) = index.query([Query(image_vector=one, examples=(other,), top=60)])
    assert ids(found) == brute_force((one + other) / 2)


@pytest.mark.parametrize("text", FILTERS)
def test_filters_keep_what_they_say(index, text):
    kept = {point.record.id for point in POINTS if FILTERS[text](point.record)}
    (found,) = index.query([Query(image_vector=draw_vector(5), top=60, where=(parse_condition(text),))])
    assert set(ids(found)) == kept


def test_weak_answers_and_excluded_patients_are_left_out(index):
    vector, excluded = draw_vector(8), frozenset({"patient0"})
    (found,) = index.query([Query(image_vector=vector, top=60, min_score=0.3, exclude_groups=excluded)])
    strong = {p.record.id for p in POINTS if float(p.image_vector @ vector) >= 0.3}
    assert set(ids(found)) == {
        p.record.id for p in POINTS if p.record.id in strong and p.record.group not in excluded
    }


def test_what_it_cannot_answer_is_refused(index):
    with pytest.raises(UsageError, match="this store compares vectors, not words"):
        index.query([Query(words="lung", mode="words")])
    with pytest.raises(CollectionError, match="holds vectors of"):
        index.query([Query(image_vector=np.ones(3, np.float32))])


def test_writing_again_replaces_adds_and_removes():
    shelf = Shelf()
    changed = replace(POINTS[3], record=replace(POINTS[3].record, caption="a new caption"))
    info = shelf.write([changed, *draw_points(2, start=500)])
    assert (info.points, info.generation, info.corpora["drawn"].splits) == (62, 2, ("train",))
    with ExactWriter("drawn", SPEC, shelf.index, shelf.save) as writer:
        assert set(writer.digests("drawn")) == {point.point_id for point in shelf.index.points()}
        assert writer.digests("other") == {}
        writer.delete([POINTS[0].point_id, "nobody"])
        assert writer.commit().points == 61
    captions = {point.payload["caption"] for point in shelf.index.points()}
    assert "a new caption" in captions


def test_a_rebuilt_one_begins_with_nothing():
    shelf = Shelf()
    assert shelf.write(POINTS[:2], rebuild=True).points == 2


def test_an_empty_one_has_no_answers():
    assert Shelf(points=[]).index.query([Query(image_vector=draw_vector(1))]) == [[]]


def test_another_model_and_other_vectors_are_refused():
    shelf = Shelf()
    with pytest.raises(CollectionError, match="was made with model"):
        ExactWriter("drawn", replace(SPEC, fingerprint="f" * 16), shelf.index, shelf.save)
    with pytest.raises(CollectionError, match="does not fit a collection of dimension"):
        shelf.write([replace(POINTS[0], image_vector=np.ones(3, np.float32))])


def test_vectors_come_only_when_they_are_asked_for(index):
    assert next(index.points()).image_vector.size == 0
    assert next(index.points(vectors=True)).image_vector.size == SPEC.dim
    assert index.find_damage() is None
