"""The library behind `caption` and `search`: a collection that a program opens and asks."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import medclip_cli
from medclip_cli.collection import Collection, conditions
from medclip_cli.commands.caption import _show
from medclip_cli.errors import CollectionError, ScanError, UsageError
from medclip_cli.models import Embedded
from medclip_cli.vector_index.base import CorpusSource
from tests.medclip_cli import schemas
from tests.medclip_cli.vector_index.conftest import Edge
from tests.medclip_cli.vector_index.drawn import SPEC, draw_point, draw_points, draw_vector


class DrawnModel:
    """Embeds the file `7.png` as the drawn point 7, and any text as the caption of the point it numbers."""

    name, fingerprint, path = "tiny", SPEC.fingerprint, Path("/models/tiny")

    def read_addition(self, name):
        return None

    def embed_files(self, sources, batch_size=None):
        for number, source in enumerate(sources):
            if source.stem.isdecimal():
                image = np.full((4, 4, 3), 7, dtype=np.uint8)
                yield Embedded(number, source, draw_vector(int(source.stem)), image=image)
            else:
                yield Embedded(number, source, None, "not an image")

    def embed_texts(self, texts):
        return np.stack([draw_vector(1_000_000 + int(text.split()[-1])) for text in texts])


@pytest.fixture
def opened(tmp_path):
    def opened(points):
        edge = Edge(tmp_path)
        edge.write(points, source=CorpusSource("/corpora/drawn", "/scans"))
        collection = Collection(edge.open())
        collection.__dict__["model"] = DrawnModel()
        return collection

    return opened


def test_images_are_captioned_in_order_and_one_that_cannot_be_read_costs_itself(opened):
    with opened(draw_points(30)) as collection:
        answers = collection.caption(["3.png", "broken", Path("11.png")], k=2)
    assert [one.image for one in answers] == ["3.png", "broken", "11.png"]
    assert [one.error for one in answers] == [None, "not an image", None]
    assert answers[0].caption == draw_point(3).record.caption
    assert answers[0].neighbours[0] is answers[0].lender
    assert answers[0].neighbours[0].path == "/scans/images/00003.png"
    for one in answers:
        schemas.check("caption", one.to_dict(fields=True))
    frame = answers.to_pandas()
    assert list(frame["caption"].notna()) == [True, False, True]
    assert answers[2].caption in answers._repr_html_()
    assert answers[0].caption in answers[0]._repr_html_()
    assert "not an image" in answers[1]._repr_html_()


def test_consensus_shows_the_neighbour_that_lent_its_caption_however_far_away(opened, capsys):
    """The nearest captions stand alone; two that are further away say the same in other words."""
    captions = ["a fracture of the wrist", "left knee", "axial CT of the chest", "axial CT of a chest"]
    points = []
    for number, caption in enumerate([*captions, *["left knee"] * 30]):
        away = draw_vector(0) + 0.005 * number * draw_vector(99)
        point = draw_point(number, caption=caption, captions=(caption,))
        points.append(replace(point, image_vector=(away / np.linalg.norm(away)).astype(np.float32)))
    with opened(points) as collection:
        (answer,) = collection.caption("0.png", method="consensus", k=1)
        assert (len(answer.neighbours), answer.neighbours[0].rank) == (2, 1)
        assert answer.lender is answer.neighbours[1]
        assert (answer.lender.rank, answer.caption) == (3, "axial CT of the chest")
        assert [one["lent"] for one in answer.to_dict()["neighbours"]] == [False, True]
        _show(answer, False, "never")
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["rank", "1", "3*"]
        (same,) = collection.caption("0.png", method="consensus", k=5)
    assert (len(same.neighbours), same.lender.rank) == (5, 3)


def test_an_image_is_scored_against_true_captions(opened):
    with opened(draw_points(30)) as collection:
        truth = draw_point(3).record.caption
        (answer,) = collection.caption("3.png", references=[truth])
    assert answer.reference_scores["bleu4"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"method": "best"}, "method 'best'"),
        ({"beam": 3}, "beam"),
        ({"allow_repeats": True}, "allow_repeats"),
        ({"min_confidence": 0.5}, "min_confidence"),
        ({"min_confidence": 2}, "between 0 and 1, not 2"),
        ({"k": 0}, "k must be 1 or more"),
        ({"where": {"colour": "red"}}, "colour"),
    ],
)
def test_wrong_options_are_named_before_any_image_is_read(opened, options, named):
    with opened(draw_points(3)) as collection, pytest.raises(UsageError, match=named):
        collection.iter_caption(["0.png"], **options)


def test_an_unknown_option_is_a_type_error(opened):
    with opened(draw_points(3)) as collection, pytest.raises(TypeError, match="'beams'"):
        collection.caption(["0.png"], beams=2)


def test_search_by_words_by_examples_and_by_both(opened):
    with opened(draw_points(40)) as collection:
        hits = collection.search("CT number 12", where={"modality": "CT"}, k=4)
        assert {hit.fields["modality"] for hit in hits} == {"CT"}
        assert "number 12" in hits[0].caption
        assert collection.search(images="9.png", k=1)[0].id == "drawn/00009"
        like = collection.search(images=["9.png", "12.png"], not_like=["3.png"], k=40)
        assert [hit.id for hit in like].index("drawn/00003") > 20
        schemas.check("search", hits.to_dict())
        frame = hits.to_pandas()
        assert list(frame["rank"]) == [hit.rank for hit in hits]
        assert set(frame["modality"]) == {"CT"}
        assert hits[0].caption in hits._repr_html_()
        with pytest.raises(UsageError, match="nothing to search for"):
            collection.search("  ")
        with pytest.raises(ScanError, match="broken"):
            collection.search(images=["broken"])
        with pytest.raises(UsageError, match="look unlike"):
            collection.search(not_like=["3.png"])


def test_words_alone_need_no_model(opened):
    with opened(draw_points(20)) as collection:
        del collection.__dict__["model"]
        assert collection.search("number 12", mode="words")[0].id == "drawn/00012"
        with pytest.raises(CollectionError, match="no longer at /models/tiny"):
            collection.search("number 12")


@pytest.mark.parametrize(
    ("where", "expressions"),
    [
        (None, []),
        ("age>=60", ["age>=60"]),
        (["modality=CT", "view!=Axial"], ["modality=CT", "view!=Axial"]),
        ({"age": ">=60", "modality": ["CT", "MR"]}, ["age>=60", "modality=CT,MR"]),
        ({"view": "!=Axial", "findings": "*", "age": 50}, ["view!=Axial", "findings=*", "age=50"]),
    ],
)
def test_conditions_by_field_are_those_of_the_command_line(where, expressions):
    assert conditions(where) == conditions(expressions)
    assert conditions(conditions(where)) == conditions(expressions)


def test_every_public_name_is_there_and_nothing_else():
    assert {name: hasattr(medclip_cli, name) for name in medclip_cli.__all__} == dict.fromkeys(
        medclip_cli.__all__, True
    )
    assert set(medclip_cli.__all__) <= set(dir(medclip_cli))
    with pytest.raises(AttributeError, match="no_such_name"):
        medclip_cli.no_such_name  # noqa: B018


def test_importing_medclip_imports_nothing_of_it_and_sets_nothing():
    code = (
        "import os, sys; before = dict(os.environ); import medclip_cli;"
        "assert dict(os.environ) == before;"
        "print([name for name in sys.modules if name.partition('.')[0] in"
        " ('medclip_cli', 'encoders', 'trainers', 'numpy', 'typer')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['medclip_cli']\n"
