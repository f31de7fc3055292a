"""Your own images: whatever they look like, `clean folder` reads them or says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from medclip_cli.corpora.folder import read
from medclip_cli.corpora.layout import ReadOptions
from medclip_cli.errors import CorpusError, UsageError
from medclip_cli.records import SourceRow


def rows(root: Path, **options: object) -> list[SourceRow]:
    return list(read(root, ReadOptions(**options)))  # type: ignore[arg-type]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_captions_beside_images(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a/c.tiff", "d.webp", ".hidden/e.png", "notes.pdf")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfA normal chest.\n")
    (tmp_path / "a" / "c.tiff.txt").write_bytes("Ménière’s".encode("cp1252"))
    found = {row.image: row.texts for row in rows(tmp_path)}
    assert found == {
        "a/c.tiff": {"report": ("Ménière’s",)},
        "b.JPG": {"report": ("A normal chest.\n",)},
        "d.webp": {},
    }


def test_a_table_with_every_optional_column(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png")
    (tmp_path / "captions.csv").write_text(
        "File Name,Caption,Modality,Plane,Body Part,Patient ID,Split,Age,Gender,Labels,ID,Scanner\n"
        "a.png,A mass.,MRI,transverse,Brain,p7,validation,41,female,Mass|Edema,s1,Aera\n"
    )
    (row,) = rows(tmp_path)
    assert row == SourceRow(
        key="s1",
        image="images/a.png",
        modality="MR",
        group="p7",
        texts={"report": ("A mass.",)},
        words={
            "caption": "A mass.",
            "modality": "MRI",
            "plane": "transverse",
            "body_part": "Brain",
            "patient_id": "p7",
            "split": "validation",
            "age": "41",
            "gender": "female",
            "labels": "Mass|Edema",
            "id": "s1",
            "scanner": "Aera",
        },
        split="val",
        view="Axial",
        region="Brain",
        findings=("Mass", "Edema"),
        age=41.0,
        sex="F",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.tsv", "image\ttext\na.png\tA mass.\n"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "A mass."}\n'),
        ("list.csv", "path;report\n./a.png;A mass.\n"),
    ],
)
def test_tables_of_other_kinds(tmp_path: Path, name: str, text: str) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / name).write_text(text)
    (row,) = rows(tmp_path)
    assert (row.image, row.texts) == ("a.png", {"report": ("A mass.",)})


def test_several_captions_of_one_image(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "captions.jsonl").write_text('{"image": "a", "captions": ["one", "N/A", "two"]}\n')
    (row,) = rows(tmp_path)
    assert (row.image, row.texts) == ("a.png", {"report": ("one", "two")})


def test_columns_named_by_hand(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "x.csv").write_text("image,caption,Scan,Befund\nwrong,wrong,a.png,eine Raumforderung\n")
    (row,) = rows(tmp_path, image_column="scan", caption_column="Befund")
    assert (row.image, row.texts) == ("a.png", {"report": ("eine Raumforderung",)})


@pytest.mark.parametrize("option", ["image_column", "caption_column"])
def test_a_wrong_column_names_those_that_are_there(tmp_path: Path, option: str) -> None:
    (tmp_path / "x.csv").write_text("image,caption\na.png,x\n")
    with pytest.raises(CorpusError, match=r"x\.csv has no column 'Bild': it has image, caption$"):
        rows(tmp_path, **{option: "Bild"})


def test_no_column_of_images(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        CorpusError, match="has no image column, it has a, b: call one .* or give image_column"
    ):
        rows(tmp_path)


def test_several_tables(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("image,caption\na.png,x\n")
    with pytest.raises(CorpusError, match=r"has several tables \(one\.csv, two\.csv\): .*captions"):
        rows(tmp_path)
    assert len(rows(tmp_path, captions_file=tmp_path / "two.csv")) == 1
    (tmp_path / "captions.csv").write_text("image,caption\na.png,x\na.png,y\n")
    assert len(rows(tmp_path)) == 2


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="has no images .*: name the folder they are in"):
        rows(tmp_path)
    with pytest.raises(CorpusError, match="there is no folder"):
        rows(tmp_path / "nowhere")


def test_rows_that_name_nothing_and_images_that_are_not_there(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "captions.csv").write_text("image,caption\n,x\nb.png,y\n../c.png,z\na.png,x,y,z\n")
    found = rows(tmp_path)
    assert [(row.image, row.fault) for row in found] == [
        ("", ("malformed_row", "no image named")),
        ("b.png", None),
        ("../c.png", None),
        ("", ("malformed_row", "4 cells under 2 headers")),
    ]


def test_a_name_that_two_folders_share_means_neither(tmp_path: Path) -> None:
    touch(tmp_path, "p1/a.png", "p2/a.png")
    (tmp_path / "captions.csv").write_text("image,caption\na.png,x\np2/a.png,y\n")
    assert [row.image for row in rows(tmp_path)] == ["a.png", "p2/a.png"]


def test_splits_by_folder_and_groups_by_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "train/p1_a.png", "valid/p2_a.png", "other/scan.png")
    found = {row.image: (row.split, row.group) for row in rows(tmp_path, group_pattern=r"p\d+")}
    assert found == {
        "train/p1_a.png": ("train", "p1"),
        "valid/p2_a.png": ("val", "p2"),
        "other/scan.png": (None, "other/scan"),
    }
    assert {row.group for row in rows(tmp_path, group_pattern=r"p(\d)_")} == {"1", "2", "other/scan"}


def test_a_pattern_that_is_none(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    with pytest.raises(UsageError, match=r"group pattern '\(' is not a regular expression"):
        rows(tmp_path, group_pattern="(")
