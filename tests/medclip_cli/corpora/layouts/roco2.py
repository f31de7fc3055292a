"""ROCOv2: comma-separated captions, concepts that may be empty, gaps in the ids."""

from __future__ import annotations

from pathlib import Path

from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.reading import write

TABLE = "train_captions.csv"
TRAIN = (
    'ID,Caption\nROCOv2_2023_train_000001,"CT of the abdomen, axial."\nROCOv2_2023_train_000004,Chest X-ray\n'
)


def draw(root: Path) -> None:
    write(root / TABLE, TRAIN)
    write(root / "valid_captions.csv", "ID,Caption\nROCOv2_2023_valid_000002,Ultrasound of a kidney\n")
    write(root / "train_concepts_manual.csv", "ID,CUIs\nROCOv2_2023_train_000001,C0040405;C0000726\n")
    write(
        root / "train_concepts.csv", "ID,CUIs\nROCOv2_2023_train_000001,C0023884\nROCOv2_2023_train_000004,\n"
    )
    write(root / "cui_mapping.csv", "CUI,Canonical name\nC0023884,Liver\nC0000726,Abdomen\n")
    write(
        root / "license_information.csv",
        "id,url,credit\nROCOv2_2023_train_000001.jpg,https://x/PMC12/,a\nROCOv2_2023_train_000004,PMC12,b\n,,\n",
    )
    for seed, name in enumerate(("train/ROCOv2_2023_train_000001", "valid/ROCOv2_2023_valid_000002")):
        draw_scan(root / f"{name}.jpg", seed=seed)
