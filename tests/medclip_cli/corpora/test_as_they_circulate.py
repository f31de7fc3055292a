"""What a table or a data set says is used, or named with a count; never dropped without a word."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.corpora.folder import read
from medclip_cli.corpora.layout import ReadOptions
from medclip_cli.corpora.notes import noting
from medclip_cli.corpora.vocabulary import age_of, listed, modality_of_caption, split_of, view_of
from medclip_cli.errors import CorpusError
from medclip_cli.records import SourceRow
from tests.medclip_cli.corpora.layouts import chestxray14, iuxray, medpix2, mimic_cxr, padchest, roco
from tests.medclip_cli.corpora.reading import rows_of, write
from tests.medclip_cli.corpora.test_clean_command import run


def noted(root: Path, **options: Any) -> tuple[list[SourceRow], list[str]]:
    with noting() as notes:
        rows = list(read(root, ReadOptions(**options)))
    return rows, [line.replace(f"{root}/", "") for line in notes]


# Headers


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        *((name, "p7", {"group": "p7"}) for name in ("PatientID", "Patientid", "patient id", "PATIENT-ID")),
        *(
            (name, "p7", {"group": "p7"})
            for name in ("SubjectID", "Subject_Id", "Patient's ID", "patient_ID")
        ),
        *((name, "061Y", {"age": 61.0}) for name in ("PatientAge", "patient age", "Patient's Age", "AGE")),
        *((name, "F", {"sex": "F"}) for name in ("PatientSex", "Patient-Gender", "patientgender", "Sex")),
        *((name, "LL", {"view": "Lateral"}) for name in ("ViewPosition", "View Position", "view-position")),
        *((name, "Knee", {"region": "Knee"}) for name in ("BodyPartExamined", "body part", "BODYPART")),
        *((name, "dev", {"split": "val"}) for name in ("Split", "DataSplit", "SPLIT_NAME", "set", "Phase")),
    ],
)
@pytest.mark.parametrize("image", ["ImagePath", "File-Name", "image"])
def test_headers_however_spelt(
    tmp_path: Path, header: str, value: str, expected: dict[str, Any], image: str
) -> None:
    write(tmp_path / "captions.csv", f"{image},Caption,{header}\na.png,A scan.,{value}\n")
    ((row,), notes) = noted(tmp_path)
    assert {name: getattr(row, name) for name in expected} == expected
    assert notes == []


def test_a_set_that_is_a_name_is_no_split(tmp_path: Path) -> None:
    write(tmp_path / "captions.csv", "image,caption,dataset\na.png,x,MIMIC\nb.png,y,test\n")
    rows, notes = noted(tmp_path)
    assert [row.split for row in rows] == [None, None]
    assert notes == ["captions.csv: columns of no known meaning, for templates alone: dataset (2 rows)"]


def test_unknown_columns_are_named_with_their_counts(tmp_path: Path) -> None:
    write(tmp_path / "captions.csv", "image,caption,Scanner,kVp,empty\na.png,x,Aera,,\nb.png,y,Aera,80,\n")
    write(tmp_path / "a.png", "")
    _, notes = noted(tmp_path)
    assert notes == [
        "captions.csv: columns of no known meaning, for templates alone: "
        "scanner (2 rows), kvp (1 row), empty (0 rows)"
    ]


# Splits


@pytest.mark.parametrize(
    ("values", "split"),
    [
        (("train", "Training", "TRN", "train set", "training_set"), "train"),
        (("val", "VALID", "validation", "dev", "validate", "val-set"), "val"),
        (("test", "Testing", "test set", "TEST", "test_images"), "test"),
        (("eval", "0", "2", "fold3", "holdout", "train_1", "dataset", "", "images", None), None),
    ],
)
def test_words_for_splits(values: tuple[str | None, ...], split: str | None) -> None:
    assert [split_of(value) for value in values] == [split] * len(values)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (("train", "eval", "eval"), r"'eval' \(2 rows\)"),
        (("0", "0", "2"), r"'0' \(2 rows\), '2' \(1 row\)"),
        (("train", "holdout", "x"), r"'holdout' \(1 row\), 'x' \(1 row\)"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_values_that_name_no_split_are_an_error(
    tmp_path: Path, values: tuple[str, ...], named: str, kind: str
) -> None:
    records = [{"image": f"{n}.png", "caption": "x", "split": value} for n, value in enumerate(values)]
    lines = ["image,caption,split", *(",".join(record.values()) for record in records)]
    text = "\n".join(map(json.dumps, records) if kind == "jsonl" else lines)
    write(tmp_path / f"captions.{kind}", text + "\n")
    with pytest.raises(CorpusError, match=rf"column split: {named} names no split: write train, val or test"):
        noted(tmp_path)
    rows, notes = noted(tmp_path, new_splits=True)  # somebody who wants new ones need not mend it
    assert len(rows) == 3
    assert len(notes) == 1
    assert "is no split: all are distributed anew" in notes[0]


def test_rows_without_a_split_beside_others_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "captions.csv", "image,caption,split\na.png,x,train\nb.png,y,\nc.png,y,N/A\n")
    assert noted(tmp_path)[1] == [
        "captions.csv: 2 of 3 rows name no split, they follow their patient's or get one"
    ]


def test_images_in_no_folder_of_a_split_are_counted(tmp_path: Path) -> None:
    for name in ("train/a.png", "eval/b.png", "eval/c.png"):
        write(tmp_path / name, "")
    assert noted(tmp_path)[1] == [
        f"{tmp_path}: 2 of 3 rows name no split, they follow their patient's or get one"
    ]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("images/train/a.png", "train"),
        ("data/images/Test/p1/a.png", "test"),
        ("test_images/a.png", "test"),
        ("validation/a.png", "val"),
        ("images/a.png", None),
        ("images/test.png", None),
    ],
)
@pytest.mark.parametrize("table", [True, False])
def test_folders_anywhere_make_the_split(tmp_path: Path, path: str, split: str | None, table: bool) -> None:
    write(tmp_path / path, "")
    if table:
        write(tmp_path / "captions.csv", f"image,caption\n{path},x\n")
    assert [row.split for row in noted(tmp_path)[0]] == [split]


def test_the_columns_of_json_lines_are_those_of_every_record(tmp_path: Path) -> None:
    records = [{"image": "a.png"}, {"image": "b.png", "PatientID": "p", "split": "test", "caption": "x"}]
    records.append({"image": "c.png", "patient_id": "p", "text": "y"})
    write(tmp_path / "captions.jsonl", "\n".join(map(json.dumps, records)))
    rows, notes = noted(tmp_path)
    assert [(row.group, row.split) for row in rows] == [("a", None), ("p", "test"), ("p", None)]
    assert rows[1].texts == {"report": ("x",)}
    assert notes[0] == "captions.jsonl: columns of no known meaning, for templates alone: text (1 row)"


# Lists, links


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("['one', \"it's two\"]", ["one", "it's two"]),
        ('["one", null, "two\\u00e9"]', ["one", None, "twoé"]),
        ("('one', 'two')", ["one", "two"]),
        ("['one'\n 'two']", ["one", "two"]),  # as NumPy writes it
        ("[]", []),
        (["one", "two"], ["one", "two"]),
        *(
            (text, None)
            for text in ("[left] lung", "[1, 2]", "[XXXX]", "(a scan)", "('x')", "", "[" * 3000 + "]")
        ),
        *((text, None) for text in (None, 7, "['one', 'two'] and more", "['\\d', {}]")),
    ],
)
def test_lists_written_out(cell: object, items: list[str | None] | None) -> None:
    assert listed(cell) == items


def test_a_list_in_a_cell_is_several_captions(tmp_path: Path) -> None:
    several = "\"['one', 'N/A', 'two']\",\"['Mass', 'Edema']\""
    table = f"image,caption,labels\na.png,{several}\nb.png,three,Mass|Edema\n"
    write(tmp_path / "captions.csv", table)
    rows, notes = noted(tmp_path)
    assert [row.texts["report"] for row in rows] == [("one", "two"), ("three",)]
    assert [row.findings for row in rows] == [("Mass", "Edema")] * 2
    assert rows[0].words["caption"] == "one"
    assert "labels" not in rows[0].words
    assert notes == ["captions.csv: lists in cells, each item is one: caption (1 row), labels (1 row)"]


def test_a_link_to_a_folder_is_named(tmp_path: Path) -> None:
    write(tmp_path / "root" / "a.png", "")
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "root" / "scans")
    _, notes = noted(tmp_path / "root")
    assert len(notes) == 1
    assert notes[0].startswith("1 link to folders in ")
    assert notes[0].endswith("not followed: scans")


def test_texts_beside_images_are_decoded_or_refused(tmp_path: Path) -> None:
    for name, content in {
        "a": "胸部正位片".encode("gbk"),
        "b": "Größe".encode("utf-16"),
        "c": "рентген".encode("cp1251"),
    }.items():
        write(tmp_path / f"{name}.png", "")
        (tmp_path / f"{name}.txt").write_bytes(content)
    rows, notes = noted(tmp_path)
    assert [row.texts for row in rows] == [{"report": ("胸部正位片",)}, {"report": ("Größe",)}, {}]
    assert rows[2].fault == ("malformed_row", "its text is not UTF-8: save it as UTF-8")
    assert len(notes) == 1
    assert notes[0].endswith("1 text beside images read as GBK")


def test_the_notes_stand_in_the_report(tmp_path: Path) -> None:
    write(tmp_path / "raw" / "captions.csv", "image,caption,scanner\na.png,x,Aera\n")
    result = run("folder", tmp_path / "raw", "--out", tmp_path / "corpus", "--skip-image-check", "--json")
    assert result.exit_code == 0, result.output
    line = f"{tmp_path}/raw/captions.csv: columns of no known meaning, for templates alone: scanner (1 row)"
    assert json.loads(result.stdout)["notes"] == [line]
    assert Corpus.open(tmp_path / "corpus").report["notes"] == [line]
    assert line in result.stderr


# Published sets


def test_every_image_of_a_report_has_its_labels(tmp_path: Path) -> None:
    images = {f"CXR7_IM-1-{n}001": "PA and lateral" for n in range(1, 4)}
    write(tmp_path / "7.xml", iuxray.xml("CXR7", "Big.", "Big.", images, ("Cardiomegaly/mild", "Scar")))
    rows = rows_of("iuxray", tmp_path)
    assert [row.findings for row in rows.values()] == [("Cardiomegaly", "Scar")] * 3
    assert {row.texts["report"] for row in rows.values()} == {("Big.",)}  # what is said twice counts once


def case(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"CXR{number}_IM", "report": "Clear.", "image_path": [f"CXR{number}_IM/0.png"], **more}


@pytest.mark.parametrize(
    ("lists", "splits"),
    [
        ({"train": [case(1)], "val": [case(2)], "test": [case(3)]}, ["train", "val", "test"]),
        ({"Training": [case(1, split=None)], "x": [case(2, split="test")]}, ["train", "test"]),
        ({"train": [case(1, split="val", image_path="CXR1/0.png")]}, ["val"]),
    ],
)
def test_r2gens_lists_are_the_split(tmp_path: Path, lists: dict[str, Any], splits: list[str]) -> None:
    write(tmp_path / "annotation.json", json.dumps(lists))
    assert [row.split for row in rows_of("iuxray", tmp_path).values()] == splits


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": [case(1)], "eval": [case(2), case(3)]}, r"eval \(2 cases\) is no split: write train, val"),
        ({"train": [case(1, split="fold1")]}, r"fold1 \(1 case\) is no split"),
        ({"train": [case(1, study_id=50414267)]}, "is R2Gen's file of MIMIC-CXR, not of IU X-Ray"),
        (
            {"train": [case(1)], "test": [case(2, image_path=["p10/p10000032/s50414267/a.jpg"])]},
            "is R2Gen's file of MIMIC-CXR",
        ),
    ],
)
def test_r2gens_lists_that_are_something_else(tmp_path: Path, lists: dict[str, Any], message: str) -> None:
    write(tmp_path / "annotation.json", json.dumps(lists))
    with pytest.raises(CorpusError, match=message):
        rows_of("iuxray", tmp_path)


def test_both_of_r2gens_files_in_one_folder(tmp_path: Path) -> None:
    write(tmp_path / "a" / "annotation.json", json.dumps({"train": [case(1, subject_id=1)]}))
    write(tmp_path / "b" / "annotation.json", json.dumps({"test": [case(2)]}))
    assert [row.split for row in rows_of("iuxray", tmp_path).values()] == ["test"]


@pytest.mark.parametrize(
    ("caption", "modality"),
    [
        ("Adrenal MRI.", "MR"),
        ("T2-weighted image of the knee", "MR"),
        ("MR cholangiography of the ducts", "MR"),
        ("Axial CT scan after a chest X-ray.", "CT"),
        ("CT angiography of the aorta", "CT"),
        ("X-ray computed tomography", "CT"),
        ("Positron emission tomography", "PET"),
        ("18F-FDG PET/CT and PET-CT", "PET"),
        ("CT/PET of the neck", "PET"),
        ("Bone scan with uptake", "NM"),
        ("Transthoracic echocardiography", "US"),
        ("US of the liver", "US"),
        ("Coronary angiogram", "AN"),
        ("Panoramic radiograph", "XR"),
        ("It shows us an organ, he said; an int.", "OT"),
        ("", "OT"),
    ],
)
def test_the_modality_that_a_caption_names(caption: str, modality: str) -> None:
    assert modality_of_caption(caption) == modality


@pytest.mark.parametrize(
    ("concepts", "caption", "modality"),
    [
        ("C0231881", "A mass.", "MR"),
        ("C0040405", "An MRI.", "CT"),  # the concept counts
        ("C0000726", "An MRI.", "MR"),
        ("", "Something else.", "OT"),
    ],
)
def test_modalities_of_roco(tmp_path: Path, concepts: str, caption: str, modality: str) -> None:
    folder = tmp_path / "data/train/radiology"
    write(folder / "captions.txt", f"ROCO_00001\t {caption}\n")
    write(folder / "cuis.txt", f"ROCO_00001\t\t{concepts}\n")
    (row,) = rows_of("roco", tmp_path).values()
    assert row.modality == modality


@pytest.mark.parametrize(
    ("position", "start"),
    [
        ("LL", "Lateral chest X-ray"),
        ("LATERAL", "Lateral chest X-ray"),
        ("XTABLE LATERAL", "Lateral chest X-ray"),
        ("PA", "PA chest X-ray"),
        ("LAO", "LAO chest X-ray"),
    ],
)
def test_a_template_says_the_view_not_its_code(tmp_path: Path, position: str, start: str) -> None:
    table = f"dicom_id,subject_id,study_id,ViewPosition\nd1,10000001,50000001,{position}\n"
    write(tmp_path / "mimic-cxr-2.0.0-metadata.csv", table)
    assert template_caption("mimic-cxr", tmp_path, "template") == start


@pytest.mark.parametrize(
    ("header", "cells", "template", "caption"),
    [
        ("view", "ll", "{view} view", "Lateral view"),
        ("view,Sex", "RL,F", "{view} view of a {sex}", "Lateral view of a female"),
        ("view", "transverse", "{view} view", "transverse view"),
        ("modality", "DX", "{modality} scan", "XR scan"),
        ("modality", "MRI", "{modality} scan", "MRI scan"),
        ("age", '"58,5"', "scan of a {age} year old", "scan of a 58.5 year old"),
        ("age", "007M", "scan of a {age} year old", "scan of a 7 month old"),
        ("PatientAge", "0.583333", "scan of a {age}-year-old boy", "scan of a 7 month-old boy"),
        ("age", "012D", "age: {age}", "age: 12 day"),
        ("age", "061Y", "scan of a {age} year old", "scan of a 61 year old"),
    ],
)
def test_templates_of_ones_own(tmp_path: Path, header: str, cells: str, template: str, caption: str) -> None:
    write(tmp_path / "captions.csv", f"image,{header}\na.png,{cells}\n")
    assert template_caption("folder", tmp_path, template) == caption


def template_caption(dataset: str, root: Path, template: str) -> str:
    out = root.parent / "corpus"
    result = run(dataset, root, "--out", out, "--skip-image-check", "--caption", template, "--force")
    assert result.exit_code == 0, result.output
    (record,) = Corpus.open(out).records
    return record.caption


@pytest.mark.parametrize(
    ("cell", "years"),
    [
        ("58,5", 58.5),
        ("0,583333", 0.583333),
        ("7 months", 7 / 12),
        ("7 months old", 7 / 12),
        ("58 years old", 58.0),
        ("58-year-old", 58.0),
        ("58yo", 58.0),
        ("3 days", 3 / 365.25),
        ("1,2,3", None),
    ],
)
def test_ages_as_people_write_them(cell: str, years: float | None) -> None:
    assert age_of(cell) == (None if years is None else pytest.approx(years))


def test_views_that_end_in_lateral() -> None:
    assert [view_of(v) for v in ("left lateral", "XTABLE LATERAL", "bilateral")] == [
        "Lateral",
        "Lateral",
        "bilateral",
    ]


def test_padchest_excludes_in_any_case(tmp_path: Path) -> None:
    write(tmp_path / padchest.TABLE, padchest.HEADER + padchest.ROWS.replace("EXCLUDE", "exclude"))
    faults = [row.fault for row in rows_of("padchest", tmp_path).values() if row.fault]
    assert ("excluded_view", "the authors mark it EXCLUDE") in faults


def test_findings_and_impression_are_taken_once(tmp_path: Path) -> None:
    write(
        tmp_path / "mimic-cxr-2.0.0-metadata.csv",
        "dicom_id,subject_id,study_id,ViewPosition\nd1,10000001,50000001,PA\n",
    )
    report = " FINAL REPORT\n HISTORY: Cough.\n\n FINDINGS AND IMPRESSION: Clear lungs.\n"
    write(tmp_path / "files/p10/p10000001/s50000001.txt", report)
    (row,) = rows_of("mimic-cxr", tmp_path).values()
    assert row.texts["report"] == ("Clear lungs.",)


@pytest.mark.parametrize(
    ("dataset", "draw", "gone"),
    [
        ("chestxray14", chestxray14.draw, "test_list.txt"),
        ("medpix2", medpix2.draw, "uid_list.json"),
        ("mimic-cxr", mimic_cxr.draw, "mimic-cxr-2.0.0-split.csv"),
        ("roco", roco.draw, "valdata.csv"),  # the drawn set has none
    ],
)
def test_an_official_list_that_is_missing_is_said(tmp_path: Path, dataset: str, draw: Any, gone: str) -> None:
    draw(tmp_path)
    for path in (*tmp_path.rglob(gone), *tmp_path.rglob(f"{gone}.gz")):
        path.unlink()
    with noting() as notes:
        rows_of(dataset, tmp_path)
    assert any(gone in line for line in notes), notes


def test_a_split_of_mimic_that_is_none_is_an_error(tmp_path: Path) -> None:
    header = "dicom_id,subject_id,study_id"
    write(tmp_path / "mimic-cxr-2.0.0-metadata.csv", f"{header}\nd1,10000001,50000001\n")
    write(tmp_path / "mimic-cxr-2.0.0-split.csv", f"{header},split\nd1,10000001,50000001,held\n")
    with pytest.raises(CorpusError, match=r"held \(1 image\) is no split"):
        rows_of("mimic-cxr", tmp_path)
