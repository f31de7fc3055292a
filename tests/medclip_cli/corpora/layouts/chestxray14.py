"""ChestX-ray14 as Kaggle packs it: twelve image folders, the table of 2020, lists without a final newline."""

from __future__ import annotations

from pathlib import Path

from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.reading import write

TABLE = "Data_Entry_2017_v2020.csv"
HEADER_2020 = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
)
ROWS = (
    "00000001_000.png,Cardiomegaly|Emphysema,0,1,58,M,PA,2894,2729,0.143,0.143\n"
    "00000001_001.png,No Finding,1,1,58,M,AP,2894,2729,0.143,0.143\n"
    "00000002_000.png,Pleural_Thickening,0,2,414,F,PA,2500,2048,0.171,0.171\n"
    "00000003_000.png,Hernia,0,3,74,F,PA,2500,2048,0.168,0.168\n"
)


def draw(root: Path) -> None:
    write(root / TABLE, HEADER_2020 + ROWS)
    write(root / "train_val_list.txt", "00000001_000.png\n00000001_001.png\n00000002_000.png")
    write(root / "test_list.txt", "00000003_000.png")
    folders = ("images_001", "images_001", "images_002", "images_012")
    for seed, (row, folder) in enumerate(zip(ROWS.splitlines(), folders, strict=True)):
        draw_scan(root / folder / "images" / row.partition(",")[0], seed=seed)
