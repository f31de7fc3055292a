"""ImageCLEF caption: every year as it was published, and never two at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from medclip_cli.errors import CorpusError
from tests.medclip_cli.corpora.layouts import imageclef
from tests.medclip_cli.corpora.reading import rows_of, write


def test_2023_tabs_crlf_and_doubled_quotes(tmp_path: Path) -> None:
    imageclef.draw(tmp_path)
    rows = rows_of("imageclef", tmp_path)
    first = rows["ImageCLEF_2023_train_000001"]
    assert first.texts == {"report": ('A "double" density,\ton CT.',)}
    assert first.image == "images/ImageCLEF_2023_train_000001.jpg"
    assert (first.modality, first.region, first.findings) == ("CT", "Chest", ("Chest", "Density"))
    assert [row.split for row in rows.values()] == ["train", "train", "val"]
    assert len(rows) == 3


def test_2018_has_no_header_and_single_quotes_are_text(tmp_path: Path) -> None:
    imageclef.draw_2018(tmp_path)
    (row,) = rows_of("imageclef", tmp_path).values()
    assert (row.key, row.image, row.split) == ("1471-2288-5-1", "1471-2288-5-1.jpg", "train")
    assert row.texts == {"report": (' A "quoted caption, with a comma',)}


def test_2019_has_concepts_only(tmp_path: Path) -> None:
    imageclef.draw_2019(tmp_path)
    rows = rows_of("imageclef", tmp_path)
    assert {key: (row.split, row.modality, row.findings) for key, row in rows.items()} == {
        "ROCO_CLEF_41341": ("train", "CT", ("Density",)),
        "ROCO_CLEF_00002": ("val", "MR", ()),
    }
    assert all(row.texts == {} for row in rows.values())


def test_2021_has_an_excel_file_called_csv(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl", reason="the excel extra is not installed")
    imageclef.draw_2021(tmp_path)
    (row,) = rows_of("imageclef", tmp_path).values()
    assert (row.key, row.modality, row.texts) == ("synpic100176", "CT", {"report": ("A CT, with contrast.",)})


def test_2022_names_its_concepts_in_concepts_csv(tmp_path: Path) -> None:
    imageclef.draw_2022(tmp_path)
    (row,) = rows_of("imageclef", tmp_path).values()
    assert (row.split, row.modality, row.findings) == ("train", "CT", ())


def test_2024_folders_of_comma_separated_tables(tmp_path: Path) -> None:
    imageclef.draw_2024(tmp_path)
    rows = rows_of("imageclef", tmp_path)
    assert [(row.split, row.modality) for row in rows.values()] == [("train", "MR"), ("val", "MR")]


def test_two_years_are_refused(tmp_path: Path) -> None:
    imageclef.draw(tmp_path / "2023")
    imageclef.draw_2018(tmp_path)
    with pytest.raises(CorpusError, match="holds ImageCLEF 2018 and 2023: clean one year at a time"):
        rows_of("imageclef", tmp_path)


def test_other_folders_and_rows(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no folder"):
        rows_of("imageclef", tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="has no ImageCLEF caption or concept table"):
        rows_of("imageclef", tmp_path)
    write(tmp_path / "captions.csv", "ID,Caption\n,A scan.\n")
    (row,) = rows_of("imageclef", tmp_path).values()
    assert (row.fault, row.split) == (("malformed_row", "no image named"), None)
