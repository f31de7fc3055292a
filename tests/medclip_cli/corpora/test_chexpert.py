"""CheXpert: labels of four states, two releases, views."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.medclip_cli.corpora.layouts import chexpert
from tests.medclip_cli.corpora.reading import rows_of, write
from tests.medclip_cli.corpora.test_clean_command import run


def test_rows(tmp_path: Path) -> None:
    chexpert.draw(tmp_path / "CheXpert")
    rows = rows_of("chexpert", tmp_path)
    frontal = rows["train/patient00002/study1/view1_frontal"]
    assert frontal.image == "CheXpert/train/patient00002/study1/view1_frontal.jpg"
    assert (tmp_path / frontal.image).is_file()
    assert (frontal.group, frontal.split, frontal.view, frontal.sex) == ("patient00002", "train", "PA", "M")
    assert (frontal.findings, frontal.uncertain) == (("Lung Opacity", "Edema"), ("Cardiomegaly",))
    assert frontal.age is None
    lateral = rows["train/patient00002/study1/view2_lateral"]
    assert (lateral.view, lateral.sex, lateral.age, lateral.findings) == ("Lateral", None, 90.0, ())
    devices = rows["train/patient00001/study1/view1_frontal"]
    assert devices.findings == ("No Finding", "Support Devices")
    valid = rows["valid/patient64541/study1/view1_frontal"]
    assert (valid.split, valid.findings) == ("val", ("Enlarged Cardiomediastinum", "Cardiomegaly"))


def test_the_full_release_and_a_test_table_without_sex_and_age(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", chexpert.HEADER + chexpert.TRAIN.replace("v1.0-small", "v1.0"))
    write(tmp_path / "test.csv", "Path,Edema\ntest/patient64741/study1/view1_frontal.jpg,1.0\n")
    rows = rows_of("chexpert", tmp_path)
    assert rows["train/patient00001/study1/view1_frontal"].image.startswith("train/patient00001/")
    held_out = rows["test/patient64741/study1/view1_frontal"]
    assert (held_out.split, held_out.findings, held_out.sex, held_out.age) == ("test", ("Edema",), None, None)


def test_rows_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", chexpert.HEADER + ",Female,68,Frontal,AP\n")
    (row,) = rows_of("chexpert", tmp_path).values()
    assert row.fault == ("malformed_row", "no image named")


@pytest.mark.parametrize(
    ("uncertain", "caption"),
    [
        (
            "mention",
            "frontal/lateral: frontal, ap/pa: pa, diagnosis: lung opacity, edema, possible cardiomegaly",
        ),
        ("positive", "frontal/lateral: frontal, ap/pa: pa, diagnosis: lung opacity, edema, cardiomegaly"),
        ("negative", "frontal/lateral: frontal, ap/pa: pa, diagnosis: lung opacity, edema"),
    ],
)
def test_the_fields_caption_of_the_seed(tmp_path: Path, uncertain: str, caption: str) -> None:
    from medclip_cli.corpora.corpus_folder import Corpus

    chexpert.draw(tmp_path / "raw")
    arguments = ("chexpert", tmp_path / "raw", "--out", tmp_path / "corpus", "--caption", "fields")
    assert run(*arguments, "--uncertain", uncertain).exit_code == 0
    captions = {record.id: record.caption for record in Corpus.open(tmp_path / "corpus").records}
    assert captions["chexpert/train/patient00002/study1/view1_frontal"] == caption
    assert captions["chexpert/train/patient00002/study1/view2_lateral"] == "frontal/lateral: lateral"


def test_rows_without_labels_are_counted(tmp_path: Path) -> None:
    chexpert.draw(tmp_path)
    counted = json.loads(run("chexpert", tmp_path, "--dry-run", "--caption", "labels", "--json").stdout)
    assert counted["rejected"] == {"missing_caption": 1}
    dropped = json.loads(run("chexpert", tmp_path, "--dry-run", "--uncertain", "drop", "--json").stdout)
    assert dropped["rejected"] == {"uncertain_label": 1}
