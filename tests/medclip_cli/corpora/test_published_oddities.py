"""Oddities of the published sets that no other test of their layouts shows."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from medclip_cli.corpora.corpus_folder import Corpus
from tests.encoders.drawn_dicom import write_dicom
from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.layouts import chestxray14, chexpert, imageclef, iuxray, medpix, medpix2
from tests.medclip_cli.corpora.reading import rows_of, write
from tests.medclip_cli.corpora.test_any_layout import HOSTILE_CELLS, rows_or_one_line
from tests.medclip_cli.corpora.test_clean_command import run


def cleaned(dataset: str, tmp_path: Path, *options: object) -> tuple[dict[str, int], list[tuple[str, str]]]:
    out = tmp_path / "corpus"
    result = run(dataset, tmp_path / "raw", "--out", out, "--json", *options)
    assert result.exit_code == 0, result.output
    kept = [(record.id, record.caption) for record in Corpus.open(out).records]
    return json.loads(result.stdout)["rejected"], kept


def test_medpix_names_a_file_up_to_three_times(tmp_path: Path) -> None:
    line = "D,{},CT,CT,Glioma,,Brain,,,synpic1.jpg\n"
    write(tmp_path / "raw" / "t.csv", medpix.TEN + line.format("A.") + line.format("A.") + line.format("B."))
    draw_scan(tmp_path / "raw" / "synpic1.jpg")
    rejected, kept = cleaned("medpix", tmp_path, "--caption", "report")
    assert rejected == {"duplicate_row": 1}
    assert kept == [("medpix/synpic1", "A."), ("medpix/synpic1#2", "B.")]


def test_medpix2_placeholders_are_captions_of_nothing_but_their_fields_are_known(tmp_path: Path) -> None:
    placeholder = {"Caption": "Replace this - DESCRIPTION OF THE IMAGE OR FINDINGS."}
    entries = (medpix2.description("a", Description=placeholder), medpix2.description("b"))
    medpix2.write_tables(tmp_path / "raw", *entries)
    for seed, name in enumerate("ab"):
        draw_scan(tmp_path / "raw" / "images" / f"{name}.png", seed=seed)
    rejected, kept = cleaned("medpix2", tmp_path, "--caption", "report")
    assert rejected == {"placeholder_caption": 1}
    # A caption of two lines becomes one.
    assert kept == [("medpix2/b", "An enlarged prostate.")]
    rejected, kept = cleaned("medpix2", tmp_path, "--caption", "medpix-seed", "--force")
    assert (rejected, len(kept)) == ({}, 2)


def test_medpix2_overview_is_not_joined_on(tmp_path: Path) -> None:
    medpix2.draw(tmp_path)
    before = rows_of("medpix2", tmp_path)
    overview = "Type,U_id,ID_Image,Img_Large,URL_Article_image\nTAC,MPX1,MPX1_gone,http://x,http://y\n"
    write(tmp_path / "images_overview.csv", overview)
    assert rows_of("medpix2", tmp_path) == before


def test_medpix2_pngs_with_transparency_are_kept(tmp_path: Path) -> None:
    medpix2.write_tables(tmp_path / "raw", medpix2.description("a"))
    picture = Image.open(draw_scan(tmp_path / "grey.png")).convert("RGBA")
    (tmp_path / "raw" / "images").mkdir()
    picture.save(tmp_path / "raw" / "images" / "a.png")
    rejected, kept = cleaned("medpix2", tmp_path)
    assert (rejected, len(kept)) == ({}, 1)


def test_chexpert_lateral_films_may_say_which_side_and_a_sex_may_be_unknown(tmp_path: Path) -> None:
    blank = "," * len(chexpert.HEADER.split(",")[5:])
    rows = "".join(
        f"CheXpert-v1.0-small/train/patient0000{number}/study1/view1_{kind}.jpg,{sex},60,{where}{blank}\n"
        for number, (kind, sex, where) in enumerate(
            [
                ("lateral", "Unknown", "Lateral,"),
                ("frontal", "Male", "Frontal,LL"),
                ("frontal", "Female", "Frontal,RL"),
            ]
        )
    )
    write(tmp_path / "train.csv", chexpert.HEADER + rows)
    found = list(rows_of("chexpert", tmp_path).values())
    assert [(row.view, row.sex, row.fault) for row in found] == [
        ("Lateral", None, None),
        ("Lateral", "M", None),
        ("Lateral", "F", None),
    ]


def test_chestxray14_lists_and_boxes_of_others_are_not_read(tmp_path: Path) -> None:
    chestxray14.draw(tmp_path)
    before = rows_of("chestxray14", tmp_path)
    # CheXNet's test list holds official training images; the boxes spell a label their own way.
    write(tmp_path / "labels" / "test_list.txt", "00000001_000.png 0 1 0 0 0 0 0 0 0 0 0 0 0 0\n")
    write(
        tmp_path / "BBox_List_2017.csv",
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Infiltrate,1,2,3,4\n",
    )
    assert rows_of("chestxray14", tmp_path) == before


def test_chestxray14_has_films_with_transparency_and_labels_with_underscores(tmp_path: Path) -> None:
    chestxray14.draw(tmp_path / "raw")
    film = tmp_path / "raw" / "images_002" / "images" / "00000002_000.png"
    Image.open(film).convert("RGBA").save(film)
    rejected, kept = cleaned("chestxray14", tmp_path, "--caption", "labels")
    assert rejected == {}
    assert dict(kept)["chestxray14/00000002_000"].lower() == "pleural thickening"


def test_iuxray_headings_found_by_machine_are_no_labels(tmp_path: Path) -> None:
    report = iuxray.xml("CXR5", "Clear.", "", {"CXR5_IM-0001-1001": "PA"}, ("normal",))
    report = report.replace("</MeSH>", "<automatic>Nodule</automatic></MeSH>")
    write(tmp_path / "ecgen-radiology" / "5.xml", report)
    (row,) = rows_of("iuxray", tmp_path).values()
    assert row.findings == ("normal",)


def test_iuxray_captions_without_the_marks_of_de_identification(tmp_path: Path) -> None:
    iuxray.draw(tmp_path / "raw")
    _, kept = cleaned("iuxray", tmp_path)
    assert dict(kept)["iuxray/CXR1_1_IM-0001-4001"] == "The heart, XXXX, is normal. Normal."
    _, kept = cleaned("iuxray", tmp_path, "--strip-marks", "--force")
    assert "XXXX" not in dict(kept)["iuxray/CXR1_1_IM-0001-4001"]


def test_bcidr_grades(tmp_path: Path) -> None:
    labels = {f"1_0_{label}": {"caption": ["Nuclei are small."], "label": label} for label in range(4)}
    write(tmp_path / "train_labels.json", json.dumps(labels))
    grades = [row.findings[0] for row in rows_of("bcidr", tmp_path).values()]
    assert grades == ["normal", "low grade", "high grade", "insufficient information"]


def test_imageclef_2021_concepts_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    write(tmp_path / "Validation_Set_Concepts.csv", "synpic999\tC0024485\n", encoding="utf-8-sig")
    (row,) = rows_of("imageclef", tmp_path).values()
    assert (row.key, row.modality) == ("synpic999", "MR")


def test_imageclef_2026_is_as_2024_and_a_concept_list_may_be_empty(tmp_path: Path) -> None:
    name = "ImageCLEFmedical_Caption_2026_test_7"
    write(tmp_path / "captions.csv", f'ID,Caption\n{name},"A ""plain"" scan, twice."\n')
    write(tmp_path / "concepts.csv", f"ID,CUIs\n{name},\n")
    (row,) = rows_of("imageclef", tmp_path).values()
    assert (row.texts, row.findings) == ({"report": ('A "plain" scan, twice.',)}, ())


def test_imageclef_2021_and_medpix_share_pictures_that_a_merge_finds(tmp_path: Path) -> None:
    from medclip_cli.corpora.merging import merge_corpora

    imageclef.draw_2024(tmp_path / "clef")
    for n, split in enumerate(("train", "valid")):
        draw_scan(
            tmp_path / "clef" / split / "images" / f"ImageCLEFmedical_Caption_2024_{split}_000001.jpg", n
        )
    write(tmp_path / "mine" / "captions.csv", 'image,caption\na.jpg,"A scan, plain."\n')
    draw_scan(tmp_path / "mine" / "a.jpg", 0)
    for dataset, name in (("imageclef", "clef"), ("folder", "mine")):
        result = run(dataset, tmp_path / name, "--out", tmp_path / f"corpus-{name}")
        assert result.exit_code == 0, result.output
    merged = merge_corpora([Corpus.open(tmp_path / "corpus-clef"), Corpus.open(tmp_path / "corpus-mine")])
    assert [row.reason for row in merged.rejected] == ["duplicate_row"]


@pytest.fixture(scope="module")
def dicom_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    stored = np.random.default_rng(0).integers(0, 4000, (32, 32), dtype=np.uint16)
    path = write_dicom(
        tmp_path_factory.mktemp("dicom") / "IM1", stored, PatientID="1", BodyPartExamined="CHEST"
    )
    return path.read_bytes()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(data=st.data())
def test_damaged_dicom_headers_and_tables_give_rows_or_reasons(
    dicom_file: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(dicom_file)
    for at in data.draw(st.lists(st.integers(132, len(damaged) - 1), max_size=8)):
        damaged[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(132, len(damaged)))
    cells = data.draw(st.lists(st.sampled_from(HOSTILE_CELLS), min_size=2, max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "raw").mkdir()
        (root / "raw" / "IM1").write_bytes(damaged[:cut])
        (root / "raw" / "IM2").write_bytes(dicom_file)
        rows = f"image,caption\nIM2,A scan.\n{','.join(cells)}\n"
        (root / "t.csv").write_bytes(rows.encode("utf-8", "surrogatepass"))
        rows_or_one_line("dicom", root / "raw")
        rows_or_one_line("dicom", root / "raw", "--captions", root / "t.csv")
