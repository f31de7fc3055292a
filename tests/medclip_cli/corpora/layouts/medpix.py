"""MedPix, the first scrape: ten columns in cp1252, thirteen, or the sheet of thirty-four."""

from __future__ import annotations

from pathlib import Path

from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.reading import write

TABLE = "trimmed.csv"
TEN = (
    "Diagnosis,Caption,Core_Modality,Full_Modality,Case_Diagnosis,Diagnosis_By,Location,Category,Keywords,"
    "filename\n"
)
ROWS = (
    "Ménière’s,Axial view,MR,MR - T2 weighted,Ménière’s disease,,Head and Neck,Vascular,ear,synpic1.jpg\n"
    "Fracture,#NAME?,XR,Plain Film,Rib Fracture,Imaging,Left Blank,,,synpic2.jpg\n"
    "Fracture,Second view,XR,Plain Film,rib fracture.,Imaging,Chest,,,synpic3.jpg\n"
    ",no file named,XR,,,,,,,\n"
)
COLUMNS_34 = (
    "ID,Case_URL,Subcase_URL,Diagnosis,Image_URL,Image_Title,Demographics,Caption,Plane,Core_Modality,Full_Modality,"
    "ACR_Codes,Figure_Part,History,Exam,Findings,Differential_Diagnosis,Case_Diagnosis,Diagnosis_By,"
    "Treatment_and_FollowUp,Discussion,Figure_Number,Topic_URL,Topic_Title,Disease_Discussion,Topic_ACR_Code,"
    "Location,Category,Keywords,References,External_Links,Author_URL,Authors,Licence_URL"
).split(",")


def draw(root: Path) -> None:
    write(root / TABLE, TEN + ROWS, encoding="cp1252")
    for seed in (1, 2, 3):
        draw_scan(root / "images" / f"synpic{seed}.jpg", seed=seed)


def raw_row(**cells: str) -> list[str]:
    defaults = {
        "ID": "synpic7",
        "Case_URL": "https://medpix.nlm.nih.gov/case?id=1",
        "Image_URL": "https://medpix.nlm.nih.gov/images/full/synpic7.jpg",
        "Demographics": "58 y.o. male",
        "Caption": "A mass.",
        "Plane": "Transverse",
        "Core_Modality": "CT",
        "Full_Modality": "CT w/contrast (IV)",
        "Findings": "A mass in the left lobe.",
        "Case_Diagnosis": "Glioma",
        "Location": "Brain and Neuro",
        "Category": "Neoplasm, glial",
    }
    values = {**defaults, **cells}
    return [values.get(column, "") for column in COLUMNS_34]
