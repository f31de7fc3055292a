"""ImageCLEF caption, a folder a year, each as odd as it was published."""

from __future__ import annotations

from pathlib import Path

from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.reading import write

NAME_2023 = "ImageCLEFmedical_Caption_2023_caption_prediction_train_labels.csv"
TABLE = NAME_2023


def draw(root: Path) -> None:
    """Draw 2023: tabs, CRLF, doubled quotes."""
    write(
        root / NAME_2023,
        'ID\tcaption\nImageCLEF_2023_train_000001\t"A ""double"" density,\ton CT."\n'
        "ImageCLEF_2023_train_000002\tChest X-ray.\n",
        newline="\r\n",
    )
    write(
        root / "ImageCLEFmedical_Caption_2023_caption_prediction_valid_labels.csv",
        "ID\tcaption\nImageCLEF_2023_valid_000003\tA scan.\n",
        newline="\r\n",
    )
    write(
        root / "ImageCLEFmedical_Caption_2023_concept_detection_train_labels.csv",
        "ID\tcuis\nImageCLEF_2023_train_000001\tC0040405;C0817096;C0012345\n",
    )
    write(root / "ImageCLEFmedical_Caption_2023_cui_mapping.csv", "C0012345\tDensity\nC0817096\tChest\n")
    for seed, number in enumerate(("train_000001", "train_000002", "valid_000003")):
        draw_scan(root / "images" / f"ImageCLEF_2023_{number}.jpg", seed=seed)


def draw_2018(root: Path) -> None:
    write(
        root / "CaptionPredictionTraining2018-Captions.csv",
        '1471-2288-5-1\t A "quoted caption, with a comma\n',
    )


def draw_2019(root: Path) -> None:
    write(root / "Training-Concepts.csv", "ROCO_CLEF_41341\tC0040405;C0012345\n")
    write(root / "Validation-Concepts.csv", "ROCO_CLEF_00002\tC0024485\n")
    write(root / "String-Concepts.csv", "C0012345\tDensity\n")


def draw_2021(root: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["synpic100176", "C0040405"])
    book.save(root / "book.xlsx")
    (root / "book.xlsx").rename(root / "Training_Set_Concepts.csv")
    write(root / "Validation_Set_Concepts.csv", "synpic999\tC0024485\n", encoding="utf-8-sig")
    write(root / "Training_Set_Captions.txt", "synpic100176\tA CT, with contrast.\n")


def draw_2022(root: Path) -> None:
    write(root / "caption_prediction_train.csv", "ID\tcaption\nImageCLEFmedCaption_2022_train_1\tA CT.\n")
    write(root / "concept_detection_train.csv", "ID\tcuis\nImageCLEFmedCaption_2022_train_1\tC0040405\n")
    write(root / "concepts.csv", "concept\tname\nC0040405\tX-Ray Computed Tomography\n")


def draw_2024(root: Path) -> None:
    for split in ("train", "valid"):
        name = f"ImageCLEFmedical_Caption_2024_{split}_000001"
        write(root / split / "captions.csv", f'ID,Caption\n{name},"A scan, plain."\n')
        write(root / split / "concepts.csv", f"ID,CUIs\n{name},\n")
        write(root / split / "concepts_manual.csv", f"ID,CUIs\n{name},C0024485\n")
