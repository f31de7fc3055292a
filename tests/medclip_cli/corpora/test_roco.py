"""ROCO in both versions: articles as groups, concepts as modality, view and region."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medclip_cli.errors import CorpusError
from tests.medclip_cli.corpora.layouts import roco, roco2
from tests.medclip_cli.corpora.reading import rows_of, write
from tests.medclip_cli.corpora.test_clean_command import run


def test_first_version(tmp_path: Path) -> None:
    roco.draw(tmp_path)
    rows = rows_of("roco", tmp_path)
    assert set(rows) == {"ROCO_00001", "ROCO_00002", "ROCO_00003"}
    abdomen, chest, brain = rows["ROCO_00002"], rows["ROCO_00003"], rows["ROCO_00001"]
    assert abdomen.texts == {"report": (' Axial "CT" & abdomen of a patient.',)}
    assert (abdomen.image, abdomen.split) == ("data/train/radiology/images/ROCO_00002.jpg", "train")
    assert (abdomen.modality, abdomen.region, chest.modality, chest.view) == ("CT", "Abdomen", "XR", "PA")
    assert (brain.modality, brain.split) == ("OT", "test")
    # An article of the training images also stands in the test split.
    assert (abdomen.group, brain.group, chest.group) == ("PMC4608653", "PMC4608653", "PMC77")
    assert abdomen.words == {"licence": "CC BY 4.0"}


def test_the_article_leak_is_counted_and_can_be_filtered(tmp_path: Path) -> None:
    roco.draw(tmp_path)
    report = json.loads(run("roco", tmp_path, "--dry-run", "--json").stdout)
    assert (report["kept"], report["leaks"]["groups"]) == (3, 1)
    filtered = json.loads(run("roco", tmp_path, "--dry-run", "--json", "--splits", "filtered").stdout)
    assert (filtered["rejected"], filtered["leaks"]["groups"]) == ({"leaked_group": 1}, 0)


def test_first_version_without_images_or_asides(tmp_path: Path) -> None:
    write(tmp_path / "validation/radiology/captions.txt", "ROCO_00005\t A scan.\n\t no id\n")
    rows = rows_of("roco", tmp_path)
    assert rows["ROCO_00005"].image == "validation/radiology/images/ROCO_00005.jpg"
    assert (rows["ROCO_00005"].split, rows["ROCO_00005"].group) == ("val", "ROCO_00005")
    assert rows["validation/line2"].fault == ("malformed_row", "no image named")


def test_as_kaggle_repacked_it(tmp_path: Path) -> None:
    roco.draw_repacked(tmp_path)
    rows = rows_of("roco", tmp_path)
    row = rows["ROCO_00002"]
    assert row.image == "all_data/train/radiology/images/PMC4608653_x.jpg"
    assert (row.group, row.texts) == ("PMC4608653", {"report": (" Axial CT.\n",)})
    assert [one.fault for one in rows.values() if one.fault] == [("malformed_row", "no image named")]


def test_second_version(tmp_path: Path) -> None:
    roco2.draw(tmp_path)
    rows = rows_of("roco2", tmp_path)
    first = rows["ROCOv2_2023_train_000001"]
    assert (first.image, first.split, first.group) == ("train/ROCOv2_2023_train_000001.jpg", "train", "PMC12")
    assert (first.modality, first.region) == ("CT", "Abdomen")
    assert first.findings == ("Abdomen", "Liver")
    assert first.texts == {"report": ("CT of the abdomen, axial.",)}
    empty = rows["ROCOv2_2023_train_000004"]
    assert (empty.modality, empty.findings, empty.group) == ("OT", (), "PMC12")
    valid = rows["ROCOv2_2023_valid_000002"]
    assert (valid.split, valid.group) == ("val", "ROCOv2_2023_valid_000002")


def test_second_version_with_nothing_beside_the_captions(tmp_path: Path) -> None:
    write(tmp_path / "test_captions.csv", "ID,Caption\nROCOv2_2023_test_000001,A scan.\n,x\n")
    rows = rows_of("roco2", tmp_path)
    assert rows["ROCOv2_2023_test_000001"].image == "test/ROCOv2_2023_test_000001.jpg"
    assert rows["test/line3"].fault == ("malformed_row", "no image named")


@pytest.mark.parametrize("dataset", ["roco", "roco2"])
def test_other_folders(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(CorpusError, match="is no ROCO"):
        rows_of(dataset, tmp_path)
