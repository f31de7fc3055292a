"""The published data sets, row by row: what a drawn folder of each must be read as, oddities and all."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medclip_cli.corpora import iuxray as iuxray_adapter
from medclip_cli.corpora import mimic_cxr as mimic_adapter
from medclip_cli.corpora import table_layouts
from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.corpora.table_layouts import written_list
from medclip_cli.errors import CorpusError
from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.layouts import (
    bcidr,
    chestxray14,
    chexpert,
    imageclef,
    iuxray,
    medpix,
    medpix2,
    mimic_cxr,
    padchest,
    peir,
    roco,
    roco2,
)
from tests.medclip_cli.corpora.layouts.padchest import LONG
from tests.medclip_cli.corpora.reading import rows_of, write
from tests.medclip_cli.corpora.test_clean_command import run

Draw = Callable[[Path], object]
NO_IMAGE = ("malformed_row", "no image named")
FULL_CHEXPERT = chexpert.HEADER + chexpert.TRAIN.replace("v1.0-small", "v1.0")
OLD_NIH = chestxray14.HEADER_2020.replace("Gender", "Sex").replace("\n", ",\n")
CHEXPERT_BLANK = "," * len(chexpert.HEADER.split(",")[5:])


def files(**contents: str) -> Draw:
    """Return what writes these files."""

    def draw(root: Path) -> None:
        for name, text in contents.items():
            write(root / name, text)

    return draw


def both(*draws: Draw) -> Draw:
    return lambda root: [draw(root) for draw in draws]


def sheet(*rows: list[str]) -> Draw:
    def draw(root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        with (root / "sheet.csv").open("w", newline="") as file:
            csv.writer(file).writerows([medpix.COLUMNS_34, *rows])

    return draw


def excel_sheet(root: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="the excel extra is not installed")
    book = openpyxl.Workbook()
    for line in (medpix.COLUMNS_34, medpix.raw_row()):
        book.active.append(line)
    book.save(root / "Dataset_MedPix_V1.xlsx")


def needs_excel(root: Path) -> None:
    pytest.importorskip("openpyxl", reason="the excel extra is not installed")
    imageclef.draw_2021(root)


def medpix2_of(*entries: Any, **tables: Any) -> Draw:
    return lambda root: medpix2.write_tables(root, *entries, **tables)


NEGBIO = {
    mimic_cxr.TABLE: mimic_cxr.METADATA,
    "mimic-cxr-2.0.0-negbio.csv.gz": mimic_cxr.LABELS,
    "mimic_cxr_sectioned.csv": "study,impression,findings,last_paragraph,comparison\n"
    's50414267,,"The heart, enlarged.",,\ns50000001,,,No acute process.,\n',
}
NOTHING_KNOWN = {"Plane": None, "Sex": "N/A", "Age": "0", "Modality": "Drawing"}
AUTOMATIC = iuxray.xml("CXR5", "Clear.", "", {"CXR5_IM-0001-1001": "PA"}, ("normal",)).replace(
    "</MeSH>", "<automatic>Nodule</automatic></MeSH>"
)
GRADES = {f"1_0_{label}": {"caption": ["Nuclei are small."], "label": label} for label in range(4)}
PMC12 = "ROCOv2_2023_train_00000"

# (data set, what draws it, rows by key with the fields that matter)
CASES: list[tuple[str, Draw, dict[str, dict[str, Any]]]] = [
    (
        "chexpert",
        lambda root: chexpert.draw(root / "CheXpert"),
        {
            "train/patient00002/study1/view1_frontal": {
                "image": "CheXpert/train/patient00002/study1/view1_frontal.jpg",
                **{"group": "patient00002", "split": "train", "view": "PA", "sex": "M", "age": None},
                **{"findings": ("Lung Opacity", "Edema"), "uncertain": ("Cardiomegaly",)},
            },
            "train/patient00002/study1/view2_lateral": {"view": "Lateral", "sex": None, "age": 90.0},
            "train/patient00001/study1/view1_frontal": {"findings": ("No Finding", "Support Devices")},
            "valid/patient64541/study1/view1_frontal": {
                **{"split": "val", "findings": ("Enlarged Cardiomediastinum", "Cardiomegaly")}
            },
        },
    ),
    (  # the full release, and a test table without sex and age
        "chexpert",
        files(
            **{
                "train.csv": FULL_CHEXPERT,
                "test.csv": "Path,Edema\ntest/patient64741/s/view1_frontal.jpg,1.0\n",
            }
        ),
        {
            "train/patient00001/study1/view1_frontal": {
                "image": "train/patient00001/study1/view1_frontal.jpg"
            },
            "test/patient64741/s/view1_frontal": {
                **{"split": "test", "findings": ("Edema",), "sex": None, "age": None}
            },
        },
    ),
    (  # lateral films may say which side
        "chexpert",
        files(
            **{
                "train.csv": chexpert.HEADER
                + f"train/patient1/a.jpg,Unknown,60,Lateral,{CHEXPERT_BLANK}\n"
                + f"train/patient2/b.jpg,Male,60,Frontal,LL{CHEXPERT_BLANK}\n"
                + ",Female,68,Frontal,AP\n"
            }
        ),
        {
            "train/patient1/a": {"view": "Lateral", "sex": None, "fault": None},
            "train/patient2/b": {"view": "Lateral", "sex": "M"},
            "train/line4": {"fault": NO_IMAGE},
        },
    ),
    (
        "chestxray14",
        chestxray14.draw,
        {
            "00000001_000": {
                **{"image": "images_001/images/00000001_000.png", "group": "00000001", "split": "train_val"},
                **{"view": "PA", "age": 58.0, "sex": "M", "findings": ("Cardiomegaly", "Emphysema")},
            },
            "00000003_000": {"image": "images_012/images/00000003_000.png", "split": "test"},
            "00000002_000": {"age": None, "findings": ("Pleural_Thickening",)},
            "00000001_001": {"findings": ("No Finding",)},
        },
    ),
    (  # others' lists and boxes are not read: their test list holds official training images
        "chestxray14",
        both(
            chestxray14.draw,
            files(
                **{
                    "labels/test_list.txt": "00000001_000.png 0 1 0\n",
                    "BBox_List_2017.csv": "Image Index,Finding Label,Bbox,,,\n00000001_000.png,x,1,2\n",
                }
            ),
        ),
        {"00000001_000": {"split": "train_val", "findings": ("Cardiomegaly", "Emphysema")}},
    ),
    (  # the table of 2017: a trailing comma, "Patient Sex", old ages
        "chestxray14",
        files(
            **{
                "Data_Entry_2017.csv": OLD_NIH
                + "00000001_000.png,Effusion,0,1,058Y,M,PA,1,1,1,1,\n"
                + "00000002_000.png,Mass,0,2,006M,F,AP,1,1,1,1,\n",
                "images/00000001_000.png": "",
            }
        ),
        {
            "00000001_000": {"age": 58.0, "sex": "M", "split": None, "image": "images/00000001_000.png"},
            "00000002_000": {"age": 0.5, "sex": "F", "fault": None, "image": "00000002_000.png"},
        },
    ),
    (
        "chestxray14",
        files(
            **{chestxray14.TABLE: chestxray14.HEADER_2020 + ",Mass,0,1,58,M,PA,1,1,1,1\n" + "a," * 20 + "b\n"}
        ),
        {"line2": {"fault": NO_IMAGE}, "line3": {"fault": ("malformed_row", "21 cells under 11 headers")}},
    ),
    (
        "padchest",
        padchest.draw,
        {
            f"{LONG}_k6ga29": {
                **{"image": f"0/{LONG}_k6ga29.png", "group": f"8398{LONG}", "split": None, "view": "PA"},
                **{"sex": "F", "age": 84.0, "findings": ("normal",), "texts": {"report": ("sin hallazg .",)}},
            },
            f"{LONG}_b": {
                **{"image": f"13/{LONG}_b.png", "findings": ("pleural effusion",), "view": "Lateral"},
                **{"texts": {}, "age": None},
                "words": {"view": "L", "localizations": "loc left, loc basal", "label_method": "RNN_model"},
            },
            f"{LONG}_c": {"fault": ("excluded_view", "the authors mark it EXCLUDE")},
            f"{LONG}_d": {"view": "AP", "age": None, "findings": ()},
            f"{LONG}_e": {"fault": ("malformed_row", "labels or localizations are not a list")},
        },
    ),
    (  # images all in one folder, the table gzipped and elsewhere
        "padchest",
        files(
            **{
                f"x/{padchest.TABLE}.gz": padchest.HEADER + padchest.ROWS + "5,,0,,,,,,,,,,,\n",
                f"{LONG}_b.png": "",
            }
        ),
        {f"{LONG}_b": {"image": f"{LONG}_b.png"}, "line7": {"fault": NO_IMAGE}},
    ),
    (
        "medpix",
        medpix.draw,
        {
            "synpic1": {
                **{"image": "images/synpic1.jpg", "modality": "MR", "region": "Head and Neck"},
                "category": "Vascular",
                "texts": {"report": ("Axial view",), "impression": ("Ménière’s disease",)},
            },
            # No case in this table: images of one diagnosis stay together.
            "synpic2": {"modality": "XR", "region": None, "group": "rib fracture"},
            "synpic3": {"group": "rib fracture"},
            "line5": {"fault": NO_IMAGE},
        },
    ),
    (  # thirteen columns
        "medpix",
        files(
            **{
                "dataset.csv": medpix.TEN.replace("\n", ",Plane,Patient_Age,Patient_Gender\n")
                + "D,C,CT,CT,Glioma,,Brain,,,synpic1.jpg,Axial,58, male\n"
            }
        ),
        {"synpic1": {"view": "Axial", "age": 58.0, "sex": "M"}},
    ),
    (
        "medpix",
        both(
            sheet(
                medpix.raw_row(),
                medpix.raw_row(ID="synpic8", Image_URL="", Demographics=""),
                *(
                    medpix.raw_row(ID=f"d{number}", Demographics=text)
                    for number, text in enumerate(
                        ("6 m.o. female", "58 y.o.", "female", ". male", "a woman of 40")
                    )
                ),
            ),
            files(**{"medpix/Images/synpic7.jpg": ""}),
        ),
        {
            "synpic7": {
                **{"image": "medpix/Images/synpic7.jpg", "group": "https://medpix.nlm.nih.gov/case?id=1"},
                **{"age": 58.0, "sex": "M", "view": "Axial"},
            },
            "synpic8": {
                **{"image": "synpic8.jpg", "group": "https://medpix.nlm.nih.gov/case?id=1"},
                **{"age": None, "sex": None},
            },
            "d0": {"age": 0.5, "sex": "F"},
            "d1": {"age": 58.0, "sex": None},
            "d2": {"age": None, "sex": "F"},
            "d3": {"age": None, "sex": "M"},
            "d4": {"age": None, "sex": None},
        },
    ),
    ("medpix", excel_sheet, {"synpic7": {"age": 58.0, "view": "Axial", "region": "Brain and Neuro"}}),
    (
        "medpix2",
        medpix2_of(medpix2.description(), splits={"train": [], "dev": ["MPX1"], "test": []}),
        {
            "MPX1_a": {
                **{"image": "images/MPX1_a.png", "modality": "CT", "group": "MPX1", "split": "val"},
                **{"view": "Coronal", "region": "Abdomen", "category": "Cyst, benign", "age": 73.0},
                "sex": "M",
                "texts": {"report": ("An enlarged\nprostate.",), "impression": ("Bladder diverticulum",)},
            }
        },
    ),
    (  # JPEGs in the folder of the release
        "medpix2",
        lambda root: both(medpix2_of(medpix2.description()), files(**{"images/MPX1_a.jpg": ""}))(
            root / "MedPix-2-0"
        ),
        {"MPX1_a": {"image": "MedPix-2-0/images/MPX1_a.jpg"}},
    ),
    (
        "medpix2",
        medpix2_of(
            medpix2.description(Description=NOTHING_KNOWN, Location="Left Blank"),
            "a string",
            {"U_id": "MPX2"},
            cases=[{"U_id": "MPX1", "Case": None}, 7],
        ),
        {
            "MPX1_a": {
                **{"view": None, "sex": None, "age": None, "region": None, "category": None, "split": None},
                "modality": "OT",
            },
            "entry1": {"fault": ("malformed_row", "not an image description")},
            "entry2": {"fault": ("malformed_row", "not an image description")},
        },
    ),
    (  # 261 images of the overview are not in the folder
        "medpix2",
        both(medpix2.draw, files(**{"images_overview.csv": "Type,U_id,ID_Image\nTAC,MPX1,MPX1_gone\n"})),
        {"MPX1_a": {"split": "train"}, "MPX1_b": {"split": "train"}},
    ),
    (
        "peir",
        peir.draw,
        {
            "a1.jpg": {
                **{"image": "peir_gross_images/a1.jpg", "modality": "GX", "region": "Liver"},
                **{"words": {"area": "ABDOMEN"}, "findings": ("liver", "cirrhosis"), "split": "train_val"},
                "texts": {
                    "report": ('Cirrhosis, case 12, with "nodules"',),
                    "full": (peir.CAPTIONS["a1.jpg"],),
                },
                # The same words but for a number: one case, although the official split cuts it.
                "group": "abdomen liver gross cirrhosis case with nodules",
            },
            "a2.jpg": {"group": "abdomen liver gross cirrhosis case with nodules", "split": "test"},
            "b.jpg": {"region": None, "findings": (), "split": None},
        },
    ),
    (  # as the newest crawler writes it
        "peir",
        files(
            **{
                "peir_gross_captions.json": '{"a.jpg": "X: HEART: Gross: Clot", "": "no name"}',
                "peir_gross.json": '{"a.jpg": ["clot"]}',
            }
        ),
        {"a.jpg": {"region": "Heart", "findings": ("clot",)}, "line2": {"fault": NO_IMAGE}},
    ),
    ("peir", files(**{"peir_gross_captions.json": "[]"}), {}),
    (
        "bcidr",
        bcidr.draw,
        {
            "1_00143_sub0_021": {
                **{"texts": {"report": tuple(bcidr.FIVE)}, "image": "Img/1_00143_sub0_021.png"},
                **{"group": "1_00143_sub0", "split": "train_val", "modality": "HE", "region": "Bladder"},
                "findings": ("low grade",),
            },
            "1_00143_sub0_022": {"findings": ()},
            "2_00001_sub0_001": {"split": "test", "category": "normal"},
            "odd": {"fault": ("malformed_row", "not an image with captions")},
        },
    ),
    (
        "bcidr",
        bcidr.draw_nmi,
        {
            "1_00143_sub0_021": {"image": "Images/1_00143_sub0_021.png", "split": "train"},
            "entry1": {"texts": {}},
            "entry2": {"fault": ("malformed_row", "not an image with captions")},
        },
    ),
    (
        "bcidr",
        files(**{"train_labels.json": json.dumps(GRADES)}),
        {
            f"1_0_{label}": {"findings": (grade,)}
            for label, grade in enumerate(("normal", "low grade", "high grade", "insufficient information"))
        },
    ),
    (
        "roco",
        roco.draw,
        {
            "ROCO_00002": {
                **{"texts": {"report": (' Axial "CT" & abdomen of a patient.',)}, "split": "train"},
                **{"image": "data/train/radiology/images/ROCO_00002.jpg", "words": {"licence": "CC BY 4.0"}},
                **{"modality": "CT", "region": "Abdomen", "group": "PMC4608653"},
            },
            "ROCO_00003": {"modality": "XR", "view": "PA", "group": "PMC77"},
            # An article of the training images also stands in the test split.
            "ROCO_00001": {"modality": "MR", "split": "test", "group": "PMC4608653"},
        },
    ),
    (
        "roco",
        files(**{"validation/radiology/captions.txt": "ROCO_00005\t A scan.\n\t no id\n"}),
        {
            "ROCO_00005": {
                **{"image": "validation/radiology/images/ROCO_00005.jpg", "split": "val"},
                "group": "ROCO_00005",
            },
            "validation/line2": {"fault": NO_IMAGE},
        },
    ),
    (
        "roco",
        roco.draw_repacked,
        {
            "ROCO_00002": {
                "image": "all_data/train/radiology/images/PMC4608653_x.jpg",
                **{"group": "PMC4608653", "texts": {"report": (" Axial CT.\n",)}},
            },
            "train/line4": {"fault": NO_IMAGE},
        },
    ),
    (
        "roco2",
        roco2.draw,
        {
            f"{PMC12}1": {
                **{"image": f"train/{PMC12}1.jpg", "split": "train", "group": "PMC12", "modality": "CT"},
                **{"region": "Abdomen", "findings": ("Abdomen", "Liver")},
                "texts": {"report": ("CT of the abdomen, axial.",)},
            },
            f"{PMC12}4": {"modality": "OT", "findings": (), "group": "PMC12"},
            "ROCOv2_2023_valid_000002": {"split": "val", "group": "ROCOv2_2023_valid_000002"},
        },
    ),
    (
        "roco2",
        files(**{"test_captions.csv": "ID,Caption\nROCOv2_2023_test_000001,A scan.\n,x\n"}),
        {
            "ROCOv2_2023_test_000001": {"image": "test/ROCOv2_2023_test_000001.jpg"},
            "test/line3": {"fault": NO_IMAGE},
        },
    ),
    (  # 2023: tabs, CRLF, doubled quotes
        "imageclef",
        imageclef.draw,
        {
            "ImageCLEF_2023_train_000001": {
                "image": "images/ImageCLEF_2023_train_000001.jpg",
                "texts": {"report": ('A "double" density,\ton CT.',)},
                **{"modality": "CT", "region": "Chest", "findings": ("Chest", "Density"), "split": "train"},
            },
            "ImageCLEF_2023_train_000002": {"split": "train"},
            "ImageCLEF_2023_valid_000003": {"split": "val"},
        },
    ),
    (  # 2018: no header, and single quotes are text
        "imageclef",
        imageclef.draw_2018,
        {
            "1471-2288-5-1": {
                **{"image": "1471-2288-5-1.jpg", "split": "train"},
                "texts": {"report": (' A "quoted caption, with a comma',)},
            }
        },
    ),
    (  # 2019: concepts only
        "imageclef",
        imageclef.draw_2019,
        {
            "ROCO_CLEF_41341": {"split": "train", "modality": "CT", "findings": ("Density",), "texts": {}},
            "ROCO_CLEF_00002": {"split": "val", "modality": "MR", "findings": (), "texts": {}},
        },
    ),
    (  # 2021: an Excel file called .csv; a byte order mark
        "imageclef",
        needs_excel,
        {"synpic100176": {"modality": "CT", "texts": {"report": ("A CT, with contrast.",)}}},
    ),
    (
        "imageclef",
        lambda root: write(
            root / "Validation_Set_Concepts.csv", "synpic999\tC0024485\n", encoding="utf-8-sig"
        ),
        {"synpic999": {"modality": "MR"}},
    ),
    (  # 2022 names its concepts in concepts.csv
        "imageclef",
        imageclef.draw_2022,
        {"ImageCLEFmedCaption_2022_train_1": {"split": "train", "modality": "CT", "findings": ()}},
    ),
    (
        "imageclef",
        imageclef.draw_2024,
        {
            f"ImageCLEFmedical_Caption_2024_{name}_000001": {"split": split, "modality": "MR"}
            for name, split in (("train", "train"), ("valid", "val"))
        },
    ),
    (  # 2026 is as 2024, and a concept list may be empty
        "imageclef",
        files(
            **{
                "captions.csv": 'ID,Caption\nImageCLEF_2026_7,"A ""plain"" scan, twice."\n,A scan.\n',
                "concepts.csv": "ID,CUIs\nImageCLEF_2026_7,\n",
            }
        ),
        {
            "ImageCLEF_2026_7": {"texts": {"report": ('A "plain" scan, twice.',)}, "findings": ()},
            "None/line3": {"fault": NO_IMAGE, "split": None},
        },
    ),
    (
        "iuxray",
        iuxray.draw_xml,
        {
            "CXR1_1_IM-0001-3001": {
                "image": "NLMCXR_png/CXR1_1_IM-0001-3001.png",
                "texts": {
                    "report": ("The heart is normal. Normal.",),
                    "findings": ("The heart is normal.",),
                    "impression": ("Normal.",),
                },
                **{"group": "CXR1", "findings": ("Cardiomegaly", "Aorta"), "split": None, "view": None},
                "words": {"indication": "pain"},
            },
            "CXR1_1_IM-0001-4001": {"view": "Lateral"},
            "CXR2_IM-0652-1001": {"texts": {}, "view": "Frontal"},
            "10": {"fault": ("malformed_row", "10.xml is not an OpenI report")},
        },
    ),
    (  # headings that a machine found are no labels
        "iuxray",
        files(**{"ecgen-radiology/5.xml": AUTOMATIC}),
        {"CXR5_IM-0001-1001": {"findings": ("normal",)}},
    ),
    (
        "iuxray",
        iuxray.draw,
        {
            "CXR1_1_IM-0001-4001": {
                "image": "images/images_normalized/1_IM-0001-4001.dcm.png",
                **{"view": "Frontal", "group": "CXR1"},
            },
            "CXR2_IM-0652-1001": {
                "texts": {"report": ("Borderline heart.",), "impression": ("Borderline heart.",)},
                "findings": ("Cardiomegaly", "Nodule"),
            },
            "CXR3_IM-1384-1001": {"texts": {}},
        },
    ),
    (
        "iuxray",
        both(
            iuxray.draw, files(**{iuxray.TABLE: "uid,filename,projection\n,x.png,Frontal\n9,y.png,Lateral\n"})
        ),
        {"line2": {"fault": NO_IMAGE}, "CXRy.png": {"texts": {}, "group": "CXR9"}},
    ),
    (
        "iuxray",
        iuxray.draw_r2gen,
        {
            "CXR2384_IM-0942/1": {
                **{"image": "images/CXR2384_IM-0942/1.png", "group": "CXR2384", "split": "train"},
                "texts": {"report": ("The lungs are clear.",), "findings": ("The lungs are clear.",)},
            },
            "CXR9_IM-2407/0": {"split": "test", "image": "images/CXR9_IM-2407/0.png"},
            "entry2": {"fault": ("malformed_row", "not a case with images")},
        },
    ),
    (
        "mimic-cxr",
        lambda root: mimic_cxr.draw(root / "mimic-cxr-jpg"),
        {
            "aaa-1": {
                "image": "mimic-cxr-jpg/files/p10/p10000032/s50414267/aaa-1.jpg",
                **{"group": "p10000032", "split": "train", "view": "PA", "findings": ("Cardiomegaly",)},
                "uncertain": ("Edema",),
                "texts": {
                    "report": ("The heart is enlarged. 1. There is no effusion. Cardiomegaly on ___.",),
                    "findings": ("The heart is enlarged. 1. There is no effusion.",),
                    "impression": ("Cardiomegaly on ___.",),
                },
            },
            "aaa-2": {"view": "Lateral"},
            "bbb-1": {"view": None, "split": "val", "texts": {"report": ("No acute process.",)}},
            "ccc-1": {"view": "Lateral", "split": "test", "texts": {}, "findings": ()},
        },
    ),
    (
        "mimic-cxr",
        files(
            **{
                "mimic-cxr-2.0.0-metadata.csv": mimic_cxr.METADATA
                + ",1,2,,,,,,,,,\nx,../../a,../b,,,,,,,,,\n"
            }
        ),
        {"aaa-1": {"split": None}, "line6": {"fault": NO_IMAGE}, "x": {"texts": {}}},
    ),
    (
        "mimic-cxr",
        files(**NEGBIO),
        {
            "aaa-1": {
                "findings": ("Cardiomegaly",),
                "texts": {"report": ("The heart, enlarged.",), "findings": ("The heart, enlarged.",)},
            },
            "bbb-1": {"texts": {"report": ("No acute process.",)}},
        },
    ),
]


@pytest.mark.parametrize(("dataset", "draw", "expected"), CASES)
def test_rows(tmp_path: Path, dataset: str, draw: Draw, expected: dict[str, dict[str, Any]]) -> None:
    draw(tmp_path)
    rows = rows_of(dataset, tmp_path)
    assert {key: {name: getattr(rows[key], name) for name in fields} for key, fields in expected.items()} == (
        expected
    )
    good = [row for row in rows.values() if not row.fault]
    assert expected or not good


@pytest.mark.parametrize(
    ("dataset", "draw", "message"),
    [
        ("chexpert", None, "is no CheXpert folder, it has no train.csv or valid.csv"),
        ("chestxray14", None, "is no ChestX-ray14 folder"),
        ("padchest", None, "has no PADCHEST_chest_x_ray_images_labels_160K"),
        ("peir", None, "is no PEIR Gross folder"),
        ("bcidr", None, "is no BCIDR"),
        ("roco", None, "is no ROCO"),
        ("roco2", None, "is no ROCOv2"),
        ("mimic-cxr", None, "is no MIMIC-CXR-JPG folder"),
        ("medpix", None, "has no table with the columns Core_Modality and Case_Diagnosis"),
        ("medpix", files(**{"other.csv": "a,b\n1,2\n"}), "has no table with the columns"),
        ("medpix2", None, "is no MedPix 2.0 folder, it has no Descriptions.json"),
        ("medpix2", medpix2_of(medpix2.description(), splits=["MPX1"]), "is not a list of cases by split"),
        ("medpix2", files(**{"Descriptions.json": "{}"}), "is not a list of entries"),
        ("imageclef", None, "has no ImageCLEF caption or concept table"),
        (
            "imageclef",
            both(lambda root: imageclef.draw(root / "2023"), imageclef.draw_2018),
            "holds ImageCLEF 2018 and 2023: clean one year at a time",
        ),
        ("iuxray", None, "has no OpenI *.xml, indiana_reports.csv or annotation.json"),
        ("iuxray", files(**{"annotation.json": "[]"}), "is not R2Gen's lists by split"),
    ],
)
def test_other_folders(tmp_path: Path, dataset: str, draw: Draw | None, message: str) -> None:
    if draw is None:
        with pytest.raises(CorpusError, match="there is no folder|has no"):
            rows_of(dataset, tmp_path / "nowhere")
    else:
        draw(tmp_path)
    with pytest.raises(CorpusError) as refused:
        rows_of(dataset, tmp_path)
    assert message in str(refused.value)


def cleaned(dataset: str, root: Path, *options: object) -> tuple[dict[str, int], dict[str, str]]:
    """Clean a drawn folder; return what was rejected, and the captions by id."""
    out = root.parent / "corpus"
    result = run(dataset, root, "--out", out, "--json", "--force", *options)
    assert result.exit_code == 0, result.output
    rejected: dict[str, int] = json.loads(result.stdout)["rejected"]
    return rejected, {record.id: record.caption for record in Corpus.open(out).records}


FRONTAL = "chexpert/train/patient00002/study1/view1_frontal"
FIELDS = "frontal/lateral: frontal, ap/pa: pa, diagnosis: lung opacity, edema"
HEART = "iuxray/CXR1_1_IM-0001-4001"


@pytest.mark.parametrize(
    ("dataset", "draw", "options", "rejected", "captions"),
    [
        ("chexpert", chexpert.draw, "--caption fields", {}, {FRONTAL: f"{FIELDS}, possible cardiomegaly"}),
        (
            "chexpert",
            chexpert.draw,
            "--caption fields --uncertain positive",
            {},
            {FRONTAL: f"{FIELDS}, cardiomegaly"},
        ),
        ("chexpert", chexpert.draw, "--caption fields --uncertain negative", {}, {FRONTAL: FIELDS}),
        ("chexpert", chexpert.draw, "--uncertain drop", {"uncertain_label": 1}, {}),
        ("chexpert", chexpert.draw, "--caption labels", {"missing_caption": 1}, {}),
        (
            "chestxray14",
            chestxray14.draw,
            "--caption labels",
            {},
            {"chestxray14/00000002_000": "Pleural Thickening"},
        ),
        # 16-bit images are kept, and the English labels are the captions.
        (
            "padchest",
            padchest.draw,
            "",
            {"malformed_row": 1, "excluded_view": 1, "missing_caption": 1},
            {f"padchest/{LONG}_b": "pleural effusion"},
        ),
        # Excel's damage is counted under report, and not in the template.
        ("medpix", medpix.draw, "--caption report", {"malformed_row": 1, "placeholder_caption": 1}, {}),
        ("medpix", medpix.draw, "", {"malformed_row": 1}, {}),
        # One file up to three times: the same pair is a duplicate, another caption is not.
        (
            "medpix",
            both(
                files(
                    **{
                        "t.csv": medpix.TEN
                        + "".join(f"D,{c},CT,CT,Glioma,,Brain,,,synpic1.jpg\n" for c in ("A.", "A.", "B."))
                    }
                ),
                lambda root: draw_scan(root / "synpic1.jpg"),
            ),
            "--caption report",
            {"duplicate_row": 1},
            {"medpix/synpic1": "A.", "medpix/synpic1#2": "B."},
        ),
        # A placeholder is the caption of nothing, but its fields are known; two lines become one.
        ("medpix2", medpix2.draw, "--caption report", {}, {"medpix2/MPX1_a": "An enlarged prostate."}),
        ("iuxray", iuxray.draw, "", {"missing_caption": 1}, {HEART: "The heart, XXXX, is normal. Normal."}),
        (
            "iuxray",
            iuxray.draw,
            "--strip-marks",
            {"missing_caption": 1},
            {HEART: "The heart,, is normal. Normal."},
        ),
        ("roco", roco.draw, "--splits filtered", {"leaked_group": 1}, {}),
        ("bcidr", bcidr.draw, "", {"malformed_row": 1}, {"bcidr/1_00143_sub0_021": bcidr.FIVE[0]}),
    ],
)
def test_cleaned(
    tmp_path: Path, dataset: str, draw: Draw, options: str, rejected: dict[str, int], captions: dict[str, str]
) -> None:
    draw(tmp_path / "raw")
    counted, kept = cleaned(dataset, tmp_path / "raw", *options.split())
    assert counted == rejected
    assert {identifier: kept[identifier] for identifier in captions} == captions


def test_medpix2_placeholders_have_fields_and_images_transparency(tmp_path: Path) -> None:
    placeholder = {"Caption": "Replace this - DESCRIPTION OF THE IMAGE OR FINDINGS."}
    medpix2.write_tables(tmp_path / "raw", medpix2.description("a", Description=placeholder))
    (tmp_path / "raw" / "images").mkdir()
    Image.open(draw_scan(tmp_path / "grey.png")).convert("RGBA").save(tmp_path / "raw" / "images" / "a.png")
    assert "1 placeholder_caption" in str(
        run("medpix2", tmp_path / "raw", "--dry-run", "--caption", "report").exception
    )
    rejected, kept = cleaned("medpix2", tmp_path / "raw", "--caption", "medpix-seed")
    assert (rejected, len(kept)) == ({}, 1)


def test_the_source_s_own_words_stay_in_the_captions(tmp_path: Path) -> None:
    medpix2.write_tables(
        tmp_path, medpix2.description(Description={"Plane": "Transverse"}), cases=[{"U_id": "MPX1"}]
    )
    (row,) = rows_of("medpix2", tmp_path).values()
    assert (row.view, row.words["view"], row.words["location_category"]) == ("Axial", "Transverse", "Trunk")
    assert "diagnosis" not in row.words


@pytest.mark.parametrize("cell", ["{'a': 1}", "['a'", "__import__('os').getcwd()", "(" * 5000, "[[['a']]"])
def test_what_is_no_list_is_never_run(cell: str) -> None:
    assert written_list(cell) is None


@pytest.mark.parametrize("module", [table_layouts, iuxray_adapter, mimic_adapter])
def test_the_examples_in_the_docstrings(module: Any) -> None:
    import doctest

    result = doctest.testmod(module)
    assert result.attempted and not result.failed


@pytest.mark.parametrize(("name", "count"), [("chestxray14", 300), ("medpix2", 1850)])
def test_the_real_samples(shared_dir: Path, name: str, count: int) -> None:
    root = shared_dir / "data" / name
    if not root.is_dir():
        pytest.skip(f"the sample of {name} is not there")
    rows = list(rows_of(name, root).values())
    assert len(rows) == count
    assert all(row.fault is None and (root / row.image).is_file() for row in rows)
    assert {row.split for row in rows} == ({"train", "val"} if name == "medpix2" else {"train_val", "test"})
    if name == "medpix2":
        assert [sum(row.split == split for row in rows) for split in ("train", "val")] == [1653, 197]
        assert sum(row.modality == "OT" for row in rows) == 3
        assert all(row.words["diagnosis"] and row.category and row.group for row in rows)
