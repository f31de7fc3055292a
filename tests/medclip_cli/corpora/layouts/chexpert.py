"""CheXpert-v1.0-small: paths under the release's own folder, blank, uncertain and negative labels."""

from __future__ import annotations

from pathlib import Path

from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.reading import write

TABLE = "train.csv"
HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,"
    "Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,"
    "Fracture,Support Devices\n"
)
SMALL = "CheXpert-v1.0-small"
TRAIN = (
    f"{SMALL}/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0\n"
    f"{SMALL}/train/patient00002/study1/view1_frontal.jpg,Male,0,Frontal,PA,,,-1.0,1.0,,1.0,,,,,0.0,,,\n"
    f"{SMALL}/train/patient00002/study1/view2_lateral.jpg,Unknown,90,Lateral,,,,,,,,,,,,,,,\n"
)
VALID = (
    f"{SMALL}/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0,1,1,0,0,0,0,0,0,0,0,0,0,0\n"
)


def draw(root: Path) -> None:
    write(root / TABLE, HEADER + TRAIN)
    write(root / "valid.csv", HEADER + VALID)
    for seed, row in enumerate((TRAIN + VALID).splitlines()):
        draw_scan(root / row.partition(",")[0].removeprefix(f"{SMALL}/"), seed=seed)
