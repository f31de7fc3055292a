"""The weights of hybrid search: scored, chosen, kept."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from medclip_cli import models
from medclip_cli.app import app
from medclip_cli.corpora.corpus_folder import write_corpus
from medclip_cli.errors import CollectionError
from medclip_cli.evaluation.tuning import GRID, WeightScore, best_weights, score_weights, shared_fields
from medclip_cli.records import Neighbour
from medclip_cli.settings import load_settings
from medclip_cli.vector_index import store
from medclip_cli.vector_index.base import Query
from medclip_cli.vector_index.store import Store

from .conftest import Edge, InMemoryServer
from .drawn import SPEC, draw_points, draw_record, draw_vector

server_warnings = [
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
]


class Scripted:
    """An index whose answers depend on the weights alone."""

    def __init__(self, answers):
        self.answers = answers

    def query(self, queries):
        return [
            [
                Neighbour(rank, 1.0, name, "", "", "", "", {})
                for rank, name in enumerate(self.answers[q.weights], 1)
            ]
            for q in queries
        ]


def test_ndcg_by_hand():
    answers = dict.fromkeys(GRID, ["bad", "good", "fair"])
    answers[(1.0, 4.0)] = ["good", "fair", "bad"]
    gains = {"good": 1.0, "fair": 0.5, "bad": 0.0}
    questions = [Query(words="x", mode="hybrid", top=3)]
    scores = score_weights(Scripted(answers), questions, lambda _, answer: gains[answer.id])
    ideal = 1.0 + 0.5 / math.log2(3)
    worse = 1.0 / math.log2(3) + 0.5 / math.log2(4)
    by_weights = {score.weights: score.ndcg for score in scores}
    assert by_weights[(1.0, 4.0)] == pytest.approx(1.0)
    assert by_weights[(1.0, 1.0)] == pytest.approx(worse / ideal)
    assert best_weights(scores).weights == (1.0, 4.0)


def test_equals_are_decided_for_counting_both_alike():
    scores = [WeightScore(weights, 0.5) for weights in GRID]
    assert best_weights(scores).weights == (1.0, 1.0)


def test_questions_without_a_right_answer_do_not_count():
    answers = dict.fromkeys(GRID, ["bad"])
    scores = score_weights(Scripted(answers), [Query(words="x", mode="hybrid")], lambda *_: 0.0)
    assert {score.ndcg for score in scores} == {0.0}


def test_shared_fields_are_those_the_question_knows():
    record = draw_record(0, view="Axial", region=None, category="Trauma", modality="CT")
    fields = {"modality": "CT", "view": "Coronal", "category": "Trauma"}
    assert shared_fields(record, Neighbour(1, 1.0, "", "", "", "", "", fields)) == pytest.approx(2 / 3)


@pytest.fixture(params=["edge", pytest.param("server", marks=server_warnings)])
def location(request, home, monkeypatch):
    if request.param == "edge":
        Edge(home).write(draw_points(30))
        return Store(home)
    memory = InMemoryServer(home)
    monkeypatch.setattr(store, "_connect", lambda url: memory.server)
    memory.write(draw_points(30))
    return Store(home, "http://qdrant.example:6333")


def test_learnt_weights_are_kept_and_used(location):
    location.remember_weights("scans", (0.0, 1.0))
    assert location.describe("scans").weights == (0.0, 1.0)
    question = Query(text_vector=draw_vector(900), words="spine fracture number 7", mode="hybrid", top=5)
    with location.open("scans") as index:
        learnt, given, words = index.query(
            [question, replace(question, weights=(1.0, 0.0)), replace(question, mode="words")]
        )
    assert [n.id for n in learnt][:2] == [n.id for n in words][:2]
    assert [n.id for n in given] != [n.id for n in learnt]


def test_learnt_weights_outlive_an_index_run(location):
    location.remember_weights("scans", (1.0, 2.0))
    with location.create_writer("scans", SPEC) as writer:
        writer.upsert(draw_points(3, start=30))
        assert writer.commit().weights == (1.0, 2.0)
    assert location.describe("scans").weights == (1.0, 2.0)


def test_weights_of_a_missing_collection(home):
    with pytest.raises(CollectionError, match="no collection 'gone'"):
        Store(home).remember_weights("gone", (1.0, 1.0))
    assert not (home / "collections" / "gone").exists()


class NoisyModel:
    """Vectors that say nothing, so that the words must win."""

    path, name, fingerprint, dim = "model", "tiny", SPEC.fingerprint, SPEC.dim

    def embed_texts(self, texts):
        return np.stack([draw_vector(7_000 + number) for number in range(len(texts))])


def tune(*arguments, code=0):
    result = CliRunner().invoke(
        app, ["collections", "tune", "scans", "--model", "model", *map(str, arguments)]
    )
    assert result.exit_code == code, (result.stdout, result.stderr)
    return result


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "load_model", lambda path, **_: NoisyModel())
    records = [draw_record(number, split="val") for number in range(300, 320)]
    options = {"caption_style": "report", "rejected": (), "report": {}}
    write_corpus(tmp_path / "drawn", name="drawn", image_root=tmp_path, records=records, **options)
    Edge(load_settings().home).write(draw_points(90))
    return tmp_path / "drawn"


def test_the_command_learns_that_words_say_more(corpus):
    answer = json.loads(tune(corpus, "--json").stdout)
    scores = {(s["vectors"], s["words"]): s["ndcg"] for s in answer["scores"]}
    assert set(scores) == set(GRID)
    assert scores[(0.0, 1.0)] > scores[(1.0, 0.0)]
    assert scores[tuple(answer["best"])] == max(scores.values())
    assert list(Store(load_settings().home).describe("scans").weights) == answer["best"]
    assert "best" in tune(corpus).stdout


def test_a_split_without_images(corpus):
    assert "has no images in its test split" in tune(corpus, "--split", "test", code=1).stderr


def test_images_of_which_nothing_is_known_teach_nothing(corpus, tmp_path):
    bare = {"modality": "OT", "view": None, "region": None, "category": None}
    records = [draw_record(number, split="val", **bare) for number in range(300, 303)]
    options = {"caption_style": "report", "rejected": (), "report": {}}
    write_corpus(tmp_path / "bare", name="bare", image_root=tmp_path, records=records, **options)
    stderr = " ".join(tune(tmp_path / "bare", code=1).stderr.split())
    assert "has no modality, view, region or category in its val split" in stderr
