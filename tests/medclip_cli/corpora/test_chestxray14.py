"""ChestX-ray14: two headers, old ages, official lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from medclip_cli.corpora.registry import LAYOUTS
from medclip_cli.errors import CorpusError
from tests.medclip_cli.corpora.layouts import chestxray14
from tests.medclip_cli.corpora.reading import rows_of, write


def test_rows_of_the_2020_table(tmp_path: Path) -> None:
    chestxray14.draw(tmp_path)
    rows = rows_of("chestxray14", tmp_path)
    first = rows["00000001_000"]
    assert (first.image, first.group, first.split) == (
        "images_001/images/00000001_000.png",
        "00000001",
        "train_val",
    )
    assert (first.view, first.age, first.sex, first.findings) == (
        "PA",
        58.0,
        "M",
        ("Cardiomegaly", "Emphysema"),
    )
    assert rows["00000003_000"].image == "images_012/images/00000003_000.png"
    assert rows["00000003_000"].split == "test"
    assert rows["00000002_000"].age is None
    assert rows["00000001_001"].findings == ("No Finding",)


def test_the_2017_table_with_its_trailing_comma_and_old_ages(tmp_path: Path) -> None:
    header = chestxray14.HEADER_2020.replace("Gender", "Sex").replace("\n", ",\n")
    rows = "00000001_000.png,Effusion,0,1,058Y,M,PA,1,1,1,1,\n00000002_000.png,Mass,0,2,006M,F,AP,1,1,1,1,\n"
    write(tmp_path / "Data_Entry_2017.csv", header + rows)
    found = rows_of("chestxray14", tmp_path)
    assert [(row.age, row.sex, row.fault, row.split) for row in found.values()] == [
        (58.0, "M", None, None),
        (0.5, "F", None, None),
    ]


def test_images_in_one_flat_folder_or_none_yet(tmp_path: Path) -> None:
    write(tmp_path / chestxray14.TABLE, chestxray14.HEADER_2020 + chestxray14.ROWS)
    assert rows_of("chestxray14", tmp_path)["00000001_000"].image == "00000001_000.png"
    write(tmp_path / "images" / "00000001_000.png", "")
    assert rows_of("chestxray14", tmp_path)["00000001_000"].image == "images/00000001_000.png"


def test_rows_that_cannot_be_read(tmp_path: Path) -> None:
    write(
        tmp_path / chestxray14.TABLE,
        chestxray14.HEADER_2020 + ",Mass,0,1,58,M,PA,1,1,1,1\n" + "a," * 20 + "b\n",
    )
    assert [row.fault for row in rows_of("chestxray14", tmp_path).values()] == [
        ("malformed_row", "no image named"),
        ("malformed_row", "21 cells under 11 headers"),
    ]


def test_another_folder(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is no ChestX-ray14 folder"):
        LAYOUTS["chestxray14"].read(tmp_path, None)  # type: ignore[arg-type]


def test_the_real_sample(shared_dir: Path) -> None:
    root = shared_dir / "data" / "chestxray14"
    if not root.is_dir():
        pytest.skip("the ChestX-ray14 sample is not there")
    rows = rows_of("chestxray14", root)
    assert len(rows) == 300
    assert all(row.fault is None and (root / row.image).is_file() for row in rows.values())
    assert all(row.split in ("train_val", "test") and row.sex and row.view for row in rows.values())
