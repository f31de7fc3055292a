"""MedPix 2.0: descriptions joined to cases, the official split by case, its quirks."""

from __future__ import annotations

from pathlib import Path

import pytest

from medclip_cli.corpora.layout import ReadOptions
from medclip_cli.corpora.medpix2 import read
from medclip_cli.errors import CorpusError
from medclip_cli.records import SourceRow
from tests.medclip_cli.corpora.layouts.medpix2 import description
from tests.medclip_cli.corpora.layouts.medpix2 import write_tables as write


def rows(root: Path) -> list[SourceRow]:
    return list(read(root, ReadOptions()))


def test_a_row(tmp_path: Path) -> None:
    (row,) = rows(write(tmp_path, description(), splits={"train": [], "dev": ["MPX1"], "test": []}))
    assert (row.key, row.image, row.modality, row.group, row.split) == (
        "MPX1_a",
        "images/MPX1_a.png",
        "CT",
        "MPX1",
        "val",
    )
    assert (row.view, row.region, row.category, row.age, row.sex) == (
        "Coronal",
        "Abdomen",
        "Cyst, benign",
        73.0,
        "M",
    )
    assert row.texts == {"report": ("An enlarged\nprostate.",), "impression": ("Bladder diverticulum",)}
    assert row.words["diagnosis"] == "Diverticulum"
    assert row.words["location_category"] == "Trunk"


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_either_image_format_and_either_folder(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / "MedPix-2-0", description())
    image = tmp_path / "MedPix-2-0" / "images" / f"MPX1_a{suffix}"
    image.parent.mkdir()
    image.touch()
    (row,) = rows(tmp_path)
    assert row.image == f"MedPix-2-0/images/MPX1_a{suffix}"


def test_the_word_of_the_source_stays_in_the_caption(tmp_path: Path) -> None:
    (row,) = rows(write(tmp_path, description(Description={"Plane": "Transverse"})))
    assert (row.view, row.words["view"]) == ("Axial", "Transverse")


def test_what_the_source_leaves_open(tmp_path: Path) -> None:
    about = {"Plane": None, "Sex": "N/A", "Age": "0", "Modality": "Drawing"}
    (row,) = rows(write(tmp_path, description(Description=about, Location="Left Blank"), cases=[]))
    assert (row.view, row.sex, row.age, row.region, row.category, row.split) == (
        None,
        None,
        None,
        None,
        None,
        None,
    )
    assert row.modality == "OT"
    assert not {"view", "age", "sex"} & row.words.keys()


def test_cases_of_which_parts_are_null(tmp_path: Path) -> None:
    (row,) = rows(write(tmp_path, description(), cases=[{"U_id": "MPX1", "Case": None}, 7]))
    assert "diagnosis" not in row.words


def test_entries_that_are_none(tmp_path: Path) -> None:
    found = rows(write(tmp_path, description(), "a string", {"U_id": "MPX2"}))
    assert [row.fault for row in found] == [None, *[("malformed_row", "not an image description")] * 2]


def test_another_folder(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"is no MedPix 2\.0 folder, it has no Descriptions\.json"):
        rows(tmp_path)
    with pytest.raises(CorpusError, match="there is no folder"):
        rows(tmp_path / "nowhere")


def test_files_of_another_shape(tmp_path: Path) -> None:
    write(tmp_path, description(), splits=["MPX1"])
    with pytest.raises(CorpusError, match="is not a list of cases by split"):
        rows(tmp_path)
    (tmp_path / "Descriptions.json").write_text("{}")
    with pytest.raises(CorpusError, match="is not a list of entries"):
        rows(tmp_path)


def test_the_real_sample(shared_dir: Path) -> None:
    root = shared_dir / "data" / "medpix2"
    if not root.is_dir():
        pytest.skip("the MedPix 2.0 sample is not there")
    found = rows(root)
    assert len(found) == 1850
    assert [sum(row.split == split for row in found) for split in ("train", "val")] == [1653, 197]
    assert all((root / row.image).is_file() for row in found)
    assert sum(row.modality == "OT" for row in found) == 3
    assert all(row.words["diagnosis"] and row.category and row.group for row in found)
