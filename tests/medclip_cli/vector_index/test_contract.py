"""What every engine of the vector index answers; the same tests run over each of them."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.vector_index.base import Query, parse_condition
from medclip_cli.vector_index.payload import candidates

from .drawn import SPEC, draw_points, draw_vector

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
    found, exact = index.query([Query(image_vector=query, top=10, exact=exact) for exact in (False, True)])
    assert ids(found) == ids(exact) == brute_force(query)[:10]
    assert [n.rank for n in found] == list(range(1, 11))
    by_id = {point.record.id: point for point in POINTS}
    for neighbour in found:
        assert neighbour.score == pytest.approx(float(by_id[neighbour.id].image_vector @ query), abs=1e-5)


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


def test_hybrid_makes_do_with_what_it_is_given(index):
    vector = draw_vector(83)
    only_image, only_words = index.query(
        [Query(image_vector=vector, mode="hybrid"), Query(words="lung", mode="hybrid")]
    )
    assert ids(only_image) == brute_force(vector)[:5]
    assert all("lung" in neighbour.caption for neighbour in only_words)


def test_several_examples_are_fused_by_rank(index):
    vectors = [draw_vector(seed) for seed in (86, 87, 88)]
    images, both = index.query(
        [
            Query(image_vector=vectors[0], examples=tuple(vectors[1:]), top=60),
            Query(image_vector=vectors[0], text_vector=vectors[1], top=60),
        ]
    )
    expected = reciprocal_ranks(*map(brute_force, vectors), weights=(1.0, 1.0, 1.0))
    assert {n.id: pytest.approx(n.score, rel=1e-3) for n in images} == expected
    expected = reciprocal_ranks(brute_force(vectors[0]), brute_force(vectors[1], stored="caption_vector"))
    assert {n.id: pytest.approx(n.score, rel=1e-3) for n in both} == expected


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
        (Query(image_vector=draw_vector(1), diversity=1.5), UsageError, "diversity must be between 0 and 1"),
        (
            Query(image_vector=draw_vector(1, dim=5)),
            CollectionError,
            r"'scans' holds vectors of 8 numbers, not of shape \(5,\): use the model /models/tiny",
        ),
    ],
)
def test_refuses_what_it_cannot_answer(index, query, error, message):
    with pytest.raises(error, match=message):
        index.query([query])


def test_another_model_is_refused_by_name_and_fingerprint(index):
    index.info.check_model(SPEC.fingerprint, "renamed")
    with pytest.raises(CollectionError) as caught:
        index.info.check_model("fedcba9876543210", "base")
    for part in ("'scans'", "'tiny'", SPEC.fingerprint, "'base'", "fedcba9876543210", "/models/tiny"):
        assert part in str(caught.value)


def test_only_candidates_have_their_payload_looked_at():
    hits = [SimpleNamespace(score=score) for score in (0.9, 0.8000001, 0.8, 0.8, 0.7, 0.6)]
    kept = candidates(Query(image_vector=draw_vector(1), top=2), hits)
    assert [hit.score for hit in kept] == [0.9, 0.8000001, 0.8, 0.8]
    assert candidates(Query(image_vector=draw_vector(1), top=2, diversity=0.5), hits) == hits
    assert candidates(Query(image_vector=draw_vector(1), top=9), hits) == hits
