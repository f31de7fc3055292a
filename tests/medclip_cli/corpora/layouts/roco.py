"""ROCO, first version: six tab-separated files a split, two of them not; captions that begin with a space."""

from __future__ import annotations

from pathlib import Path

from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.reading import write

TABLE = "data/train/radiology/captions.txt"
TRAIN = 'ROCO_00002\t Axial "CT" & abdomen of a patient.\nROCO_00003\t Chest X-ray.\n'
TEST = "ROCO_00001\t Axial MRI (coronal view).\n"


def draw(root: Path) -> None:
    train, test = root / "data/train/radiology", root / "data/test/radiology"
    write(root / TABLE, TRAIN)
    write(train / "cuis.txt", "ROCO_00002\t\tC0040405\tC0000726\nROCO_00003\t\tC1306645\tC1996865\n")
    write(
        train / "licences.txt",
        "ROCO_ID,PMC_ID,CC\nROCO_00002,PMC4608653_x.jpg,CC BY 4.0\nROCO_00003,PMC77_y.jpg,CC BY-NC\n",
    )
    write(test / "captions.txt", TEST)
    write(
        test / "dlinks.txt",
        "ROCO_00001\twget -r ftp://ftp.ncbi.nlm.nih.gov/x/PMC4608653.tar.gz\tPMC4608653_z.jpg\n",
    )
    write(root / "data/test/non-radiology/captions.txt", "ROCO_00009\t A photograph.\n")
    for seed, name in enumerate(("ROCO_00002", "ROCO_00003")):
        draw_scan(train / "images" / f"{name}.jpg", seed=seed)
    draw_scan(test / "images" / "ROCO_00001.jpg", seed=7)


def draw_repacked(root: Path) -> None:
    folder = root / "all_data/train/radiology"
    write(folder / "traindata.csv", 'id,name,caption\nROCO_00002,PMC4608653_x.jpg," Axial CT.\n"\n,,\n')
    draw_scan(folder / "images" / "PMC4608653_x.jpg")
