"""What every engine of the vector index promises; the same tests run over each of them."""

from dataclasses import replace

import numpy as np
import pytest

from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.vector_index.base import CorpusSource, Query, parse_condition, point_id
from medclip_cli.vector_index.payload import content_digest

from .drawn import DIM, SPEC, draw_points, draw_record, draw_vector

# qdrant-client's in-memory Qdrant says that it has no search parameters and no payload indexes.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
]
POINTS = draw_points(60)


def brute_force(vector, points=POINTS, stored="image_vector"):
    """Ids by cosine, best first, computed the long way."""
    scores = {point.record.id: float(getattr(point, stored) @ vector) for point in points}
    return sorted(scores, key=lambda record_id: (-round(scores[record_id], 6), record_id))


def ids(neighbours):
    return [neighbour.id for neighbour in neighbours]


@pytest.fixture(scope="module")
def index(shared_engine):
    shared_engine.write(POINTS)
    with shared_engine.open() as opened:
        yield opened


def test_dense_answers_are_the_nearest_by_cosine(index):
    query = draw_vector(77)
    (found,) = index.query([Query(image_vector=query, top=10)])
    assert ids(found) == brute_force(query)[:10]
    assert [n.rank for n in found] == list(range(1, 11))
    by_id = {point.record.id: point for point in POINTS}
    for neighbour in found:
        assert neighbour.score == pytest.approx(float(by_id[neighbour.id].image_vector @ query), abs=1e-5)


def test_exact_answers_agree(index):
    query = draw_vector(78)
    approximate, exact = index.query([Query(image_vector=query), Query(image_vector=query, exact=True)])
    assert ids(approximate) == ids(exact) == brute_force(query)[:5]


@pytest.mark.parametrize(
    ("kind", "against", "stored"),
    [
        ("image_vector", None, "image_vector"),
        ("text_vector", None, "caption_vector"),
        ("image_vector", "caption", "caption_vector"),
        ("text_vector", "image", "image_vector"),
    ],
)
def test_images_are_compared_with_images_and_words_with_captions(index, kind, against, stored):
    query = draw_vector(79)
    (found,) = index.query([Query(**{kind: query}, against=against)])
    assert ids(found) == brute_force(query, stored=stored)[:5]


def test_a_neighbour_carries_its_record(index):
    record = POINTS[7].record
    (found,) = index.query([Query(image_vector=POINTS[7].image_vector, top=1)])
    assert (found[0].id, found[0].caption, found[0].image) == (record.id, record.caption, record.image)
    assert (found[0].corpus, found[0].group) == ("drawn", record.group)
    assert found[0].fields == {
        "modality": record.modality,
        "findings": list(record.findings),
        "age": record.age,
        "sex": record.sex,
        "split": "train",
        "source": "drawn",
        "licence": "CC0-1.0",
    }


def test_words_find_the_captions_that_hold_them(index):
    (found,) = index.query([Query(words="fractures of the spine", mode="words", top=60)])
    assert found, "stemming makes fractures and fracture the same word"
    for neighbour in found:
        assert "fracture" in neighbour.caption or "spine" in neighbour.caption
    assert [n.score for n in found] == sorted((n.score for n in found), reverse=True)


def test_rare_words_weigh_more_than_common_ones(engine):
    captions = ["chest fracture", *["chest mass"] * 20, "pneumothorax"]
    points = [
        replace(point, record=replace(point.record, caption=caption))
        for point, caption in zip(draw_points(len(captions)), captions, strict=True)
    ]
    engine.write(points)
    with engine.open() as index:
        (found,) = index.query([Query(words="chest pneumothorax", mode="words", top=1)])
    assert found[0].caption == "pneumothorax"


def reciprocal_ranks(*rankings, weights=(1.0, 1.0)):
    """Cormack's fusion with Qdrant's weights, which shrink the distance from the top."""
    scores = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, record_id in enumerate(ranking, 1):
            scores[record_id] = scores.get(record_id, 0.0) + 1 / (rank / weight + 60 - 1)
    return scores


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.01), (0.01, 1.0), (2.5, 1.0)])
def test_hybrid_fuses_the_two_rankings_by_weight(index, weights):
    query = Query(
        text_vector=draw_vector(80),
        words="coronal scan of the kidney with a cyst",
        mode="hybrid",
        top=60,
        weights=weights,
    )
    words_only, hybrid = index.query([replace(query, mode="words"), query])
    # Captions with equal BM25 scores are ranked as the engine likes: only ranks without equals are compared.
    scores = [round(n.score, 6) for n in words_only]
    sure = {n.id for n in words_only if scores.count(round(n.score, 6)) == 1}
    dense = brute_force(query.text_vector, stored="caption_vector")
    expected = reciprocal_ranks(dense, ids(words_only), weights=weights)
    assert len(hybrid) == 60
    assert len(sure) > 1
    for neighbour in hybrid:
        if neighbour.id in sure or neighbour.id not in ids(words_only):
            assert neighbour.score == pytest.approx(expected[neighbour.id], rel=1e-4)


def test_scores_can_be_fused_instead_of_ranks(index):
    query = Query(text_vector=draw_vector(82), words="lung effusion", mode="hybrid", fusion="dbsf")
    (found,) = index.query([query])
    assert len(found) == 5
    assert [n.score for n in found] == sorted((n.score for n in found), reverse=True)


def test_hybrid_makes_do_with_what_it_is_given(index):
    vector = draw_vector(83)
    only_image, only_words = index.query(
        [Query(image_vector=vector, mode="hybrid"), Query(words="lung", mode="hybrid")]
    )
    assert ids(only_image) == brute_force(vector)[:5]
    assert all("lung" in neighbour.caption for neighbour in only_words)


def test_an_image_and_words_are_fused_by_rank(index):
    one, other = draw_vector(84), draw_vector(85)
    (found,) = index.query([Query(image_vector=one, text_vector=other, top=60)])
    expected = reciprocal_ranks(brute_force(one), brute_force(other, stored="caption_vector"))
    assert found[0].score == pytest.approx(max(expected.values()), rel=1e-3)


def test_further_examples_are_fused_by_rank(index):
    vectors = [draw_vector(seed) for seed in (86, 87, 88)]
    (found,) = index.query([Query(image_vector=vectors[0], examples=tuple(vectors[1:]), top=60)])
    expected = reciprocal_ranks(*map(brute_force, vectors), weights=(1.0, 1.0, 1.0))
    assert {n.id: pytest.approx(n.score, rel=1e-3) for n in found} == expected


def test_diverse_answers_begin_with_the_nearest_and_repeat_less(engine):
    near = draw_points(3)
    # Three copies of one vector and a few others: likeness alone answers with the copies.
    copies = [replace(point, image_vector=near[0].image_vector) for point in near]
    engine.write([*copies, *draw_points(20, start=100)])
    query = Query(image_vector=near[0].image_vector, top=3)
    with engine.open() as index:
        alike, diverse = index.query([query, replace(query, diversity=0.7)])
    assert ids(alike) == [point.record.id for point in near]
    assert diverse[0].score == pytest.approx(1.0)
    assert sum(n.id in ids(alike) for n in diverse) == 1


def test_many_questions_are_answered_in_their_order(index):
    queries = [Query(image_vector=draw_vector(seed), top=1 + seed % 3) for seed in range(90, 105)]
    answers = index.query(queries)
    assert [ids(answer) for answer in answers] == [
        brute_force(query.image_vector)[: query.top] for query in queries
    ]
    assert index.query([]) == []


FILTERS = {
    "modality=CT": lambda r: r.modality == "CT",
    "modality=ct,mr": lambda r: r.modality in ("CT", "MR"),
    "modality!=CT": lambda r: r.modality != "CT",
    "view=Axial": lambda r: r.view == "Axial",
    "view!=Axial": lambda r: r.view != "Axial",
    "view=*": lambda r: r.view is not None,
    "view!=*": lambda r: r.view is None,
    "age>=60": lambda r: r.age is not None and r.age >= 60,
    "age>42": lambda r: r.age is not None and r.age > 42,
    "age<=42": lambda r: r.age is not None and r.age <= 42,
    "age<42": lambda r: r.age is not None and r.age < 42,
    "age=42": lambda r: r.age == 42,
    "age=20..30": lambda r: r.age is not None and 20 <= r.age <= 30,
    "age!=20..30": lambda r: r.age is None or not 20 <= r.age <= 30,
    "age!=*": lambda r: r.age is None,
    "findings=cyst": lambda r: "cyst" in r.findings,
    "findings=cyst,mass": lambda r: bool({"cyst", "mass"} & set(r.findings)),
    "findings!=*": lambda r: not r.findings,
    "sex=F": lambda r: r.sex == "F",
    "id=drawn/00004": lambda r: r.id == "drawn/00004",
    "patient=patient3": lambda r: r.group == "patient3",
    "corpus!=drawn": lambda r: False,
}


@pytest.mark.parametrize("text", FILTERS)
def test_filters_keep_what_they_say(index, text):
    kept = {point.record.id for point in POINTS if FILTERS[text](point.record)}
    (found,) = index.query([Query(image_vector=draw_vector(5), top=60, where=(parse_condition(text),))])
    assert set(ids(found)) == kept


def test_all_filters_must_hold(index):
    where = tuple(parse_condition(text) for text in ("modality=CT", "age>=20", "view!=Axial"))
    kept = {
        p.record.id
        for p in POINTS
        if p.record.modality == "CT" and (p.record.age or 0) >= 20 and p.record.view != "Axial"
    }
    for mode in ("dense", "hybrid", "words"):
        query = Query(text_vector=draw_vector(6), words="CT", mode=mode, top=60, where=where)
        assert set(ids(index.query([query])[0])) == kept


@pytest.mark.parametrize("mode", ["dense", "words", "hybrid"])
def test_excluded_patients_never_answer(index, mode):
    excluded = frozenset({"patient0", "patient5", "nobody"})
    query = Query(
        text_vector=draw_vector(7), words="scan CT MR XR", mode=mode, top=60, exclude_groups=excluded
    )
    (found,) = index.query([query])
    assert found
    assert not {neighbour.group for neighbour in found} & excluded


def test_weak_answers_are_left_out(index):
    vector = draw_vector(8)
    (found,) = index.query([Query(image_vector=vector, top=60, min_score=0.3)])
    expected = [point.record.id for point in POINTS if float(point.image_vector @ vector) >= 0.3]
    assert set(ids(found)) == set(expected)
    assert index.query([Query(image_vector=vector, min_score=1.01)]) == [[]]


def test_equal_scores_are_ordered_by_id(engine):
    points = [replace(point, image_vector=POINTS[0].image_vector) for point in draw_points(12)]
    engine.write(points[::-1])
    with engine.open() as index:
        (found,) = index.query([Query(image_vector=POINTS[0].image_vector, top=4)])
    assert ids(found) == [point.record.id for point in points[:4]]


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        (Query(), UsageError, "mode dense needs an image or words to embed"),
        (Query(mode="words", image_vector=draw_vector(1)), UsageError, "mode words needs words to look for"),
        (Query(mode="hybrid", words=" "), UsageError, "mode hybrid needs an image or words"),
        (Query(image_vector=draw_vector(1), top=0), UsageError, "must be 1 or more, not 0"),
        (
            Query(image_vector=draw_vector(1), weights=(0.0, 0.0)),
            UsageError,
            "fusion weights must be 0 or more",
        ),
        (Query(image_vector=draw_vector(1), diversity=1.5), UsageError, "diversity lies between 0 and 1"),
        (
            Query(image_vector=draw_vector(1, dim=5)),
            CollectionError,
            r"'scans' holds vectors of 8 numbers, not of shape \(5,\): use --model /models/tiny",
        ),
    ],
)
def test_refuses_what_it_cannot_answer(index, query, error, message):
    with pytest.raises(error, match=message):
        index.query([query])


def test_describes_itself(engine):
    source = CorpusSource("/data/drawn", "/scans", ("train",))
    engine.write(POINTS, source=source)
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


def test_another_model_is_refused_by_name_and_fingerprint(index):
    index.info.check_model(SPEC.fingerprint, "renamed")
    with pytest.raises(CollectionError) as caught:
        index.info.check_model("fedcba9876543210", "base")
    for part in ("'scans'", "'tiny'", SPEC.fingerprint, "'base'", "fedcba9876543210", "--model /models/tiny"):
        assert part in str(caught.value)


def test_writing_twice_changes_nothing(engine):
    first = engine.write(POINTS)
    second = engine.write(POINTS)
    assert first.points == second.points == 60
    with engine.open() as index:
        (found,) = index.query([Query(image_vector=POINTS[3].image_vector, top=60)])
    assert len(found) == len(set(ids(found))) == 60


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
    with pytest.raises(CollectionError, match="made with model 'tiny'.*not with 'base'.*--rebuild"):
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
