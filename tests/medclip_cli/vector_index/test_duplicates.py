"""Duplicates: by bytes, by picture, by vector, joined into groups."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medclip_cli.app import app
from medclip_cli.corpora.corpus_folder import Corpus, write_corpus
from medclip_cli.corpora.near_duplicates import difference_hashes
from medclip_cli.settings import load_settings
from medclip_cli.vector_index.duplicates import (
    DuplicatePair,
    find_duplicates,
    join_groups,
    near_pictures,
    same_bytes,
    same_vector,
)

from .conftest import Edge
from .drawn import draw_point, draw_points, draw_record


def hashed(number, dhash):
    return draw_record(number, dhash=f"{dhash:016x}")


def pairs(likenesses):
    return sorted((likeness.one[-2:], likeness.other[-2:]) for likeness in likenesses)


def test_same_bytes():
    records = [draw_record(number, sha256=sha) for number, sha in enumerate(["a", "b", "a", "", "", "a"])]
    assert pairs(same_bytes(records)) == [("00", "02"), ("00", "05")]


def test_same_picture_up_to_three_bits():
    base = 0x0123_4567_89AB_CDEF
    records = [
        hashed(0, base),
        hashed(1, base ^ 0b111),
        hashed(2, base ^ (1 | 1 << 20 | 1 << 40)),
        hashed(3, base ^ 0b1111),
        hashed(4, base ^ (1 << 63)),
        hashed(5, 0),
        hashed(6, 0),
    ]
    found = pairs(near_pictures(records, lambda one, other: True))
    slow = sorted(
        (one.id[-2:], other.id[-2:])
        for i, one in enumerate(records)
        for other in records[i + 1 :]
        if int(one.dhash, 16)
        and int(other.dhash, 16)
        and (int(one.dhash, 16) ^ int(other.dhash, 16)).bit_count() <= 3
    )
    assert found == slow
    assert ("00", "01") in found
    assert ("00", "03") not in found


def test_a_closer_look_decides():
    records = [hashed(0, 77), hashed(1, 77), hashed(2, 77)]
    assert pairs(near_pictures(records, lambda one, other: other.id.endswith("2"))) == [
        ("00", "02"),
        ("01", "02"),
    ]


def test_same_vector(home):
    points = draw_points(30)
    points[7] = replace(points[7], image_vector=points[3].image_vector)
    nudged = points[4].image_vector + np.float32(0.02) * points[5].image_vector
    points[9] = replace(points[9], image_vector=nudged / np.linalg.norm(nudged))
    stranger = replace(draw_point(50, corpus="other"), image_vector=points[3].image_vector)
    edge = Edge(home)
    edge.write([*points, stranger])
    with edge.open() as index:
        found = list(same_vector(index, "drawn", 0.99))
    assert pairs(found) == [("03", "07"), ("04", "09")]
    assert found[0].score == pytest.approx(1.0, abs=1e-5) or found[1].score == pytest.approx(1.0, abs=1e-5)


def test_groups_join_by_way_of_one_another():
    records = {name: draw_record(number, id=name) for number, name in enumerate("abcdxy")}
    groups = join_groups(
        [
            DuplicatePair("a", "b", "bytes"),
            DuplicatePair("x", "y", "vector", 0.992),
            DuplicatePair("b", "c", "vector", 0.995),
            DuplicatePair("d", "c", "picture"),
        ],
        records,
    )
    assert [(group.ids, group.by, group.lowest_score) for group in groups] == [
        (("a", "b", "c", "d"), ("bytes", "picture", "vector"), 0.995),
        (("x", "y"), ("vector",), 0.992),
    ]
    assert groups[1].images == (records["x"].image, records["y"].image)
    assert join_groups([], {}) == []


@pytest.fixture
def corpus(tmp_path):
    """Seven pictures: 1 is 0 saved again in another format, 2 is a byte for byte copy of 0 in val."""
    rng = np.random.default_rng(11)
    root = tmp_path / "raw"
    root.mkdir()
    records = []
    for number in range(7):
        pixels = np.kron(rng.integers(0, 255, (12, 12)), np.ones((16, 16))).astype(np.uint8)
        if number in (0, 1, 2):
            pixels = np.kron(np.arange(144).reshape(12, 12) * 7 % 251, np.ones((16, 16))).astype(np.uint8)
        name = f"{number}.jpg" if number == 1 else f"{number}.png"
        Image.fromarray(pixels).save(root / name)
        with Image.open(root / name) as picture:
            dhash = difference_hashes(picture)[0]
        sha256 = "ab" if number in (0, 2) else f"{number}"
        split = "val" if number == 2 else "train"
        records.append(draw_record(number, image=name, dhash=dhash, sha256=sha256, split=split))
    options = {"caption_style": "report", "rejected": (), "report": {}}
    write_corpus(tmp_path / "drawn", name="drawn", image_root=root, records=records, **options)
    return tmp_path / "drawn"


def run(*arguments, code=0):
    result = CliRunner().invoke(app, ["duplicates", *map(str, arguments)])
    assert result.exit_code == code, (result.stdout, result.stderr)
    return result


def test_the_command_names_the_groups(corpus):
    (group,) = map(json.loads, run(corpus, "--json").stdout.splitlines())
    assert group["ids"] == ["drawn/00000", "drawn/00001", "drawn/00002"]
    assert group["by"] == ["bytes", "picture"]
    assert group["splits"] == ["train", "val"]
    result = run(corpus)
    assert "1 group, 2 copies too many; 1 group in several splits." in result.stderr
    assert "bytes, picture" in result.stdout


def test_from_python(corpus):
    report = find_duplicates(Corpus.open(corpus))
    assert report.to_pandas()["ids"].tolist() == [("drawn/00000", "drawn/00001", "drawn/00002")]
    assert report.to_dict()["groups"][0]["splits"] == ("train", "val")
    assert "drawn/00001" in report._repr_html_()


def test_the_command_compares_vectors_of_a_collection(corpus):
    points = draw_points(7)
    points[6] = replace(points[6], image_vector=points[4].image_vector)
    stale = replace(draw_point(40), image_vector=points[4].image_vector)
    Edge(load_settings().home).write([*points, stale])
    groups = [json.loads(line) for line in run(corpus, "-c", "scans", "--json").stdout.splitlines()]
    assert [(group["ids"], group["by"]) for group in groups[1:]] == [
        (["drawn/00004", "drawn/00006"], ["vector"])
    ]


def test_an_unreadable_image_is_like_nothing_and_that_is_said(corpus):
    for path in Path(corpus.parent / "raw").glob("*.*"):
        path.write_bytes(b"")
    done = run(corpus, "--json", code=3)
    (group,) = map(json.loads, done.stdout.splitlines())
    assert group["by"] == ["bytes"]
    assert "could not be read" in " ".join(done.stderr.split())
