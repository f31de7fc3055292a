"""PadChest: an index column without a name, ids of forty digits, 16-bit PNGs, Python lists in cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.medclip_cli.corpora.reading import write

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
LONG = "20536686640136348236148679891455886468"
HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,"
    "Projection,Report,MethodLabel,Labels,Localizations\n"
)
ROWS = (
    f"0,{LONG}_k6ga29.png,0,20140915,{LONG},8398{LONG},1930.0,F,POSTEROANTERIOR,PA,sin hallazg .,Physician,"
    "\"['normal']\",[]\n"
    f"1,{LONG}_b.png,13.0,20140915,{LONG},8398{LONG},,M,,L,impresion,RNN_model,"
    "\"[' pleural effusion', 'pleural effusion', '']\",\"['loc  left', ' loc basal']\"\n"
    f"2,{LONG}_c.png,13.0,20140915,1,2,2050.0,,,EXCLUDE,nan,Physician,\"['exclude']\",[]\n"
    f"3,{LONG}_d.png,1,x,1,3,1950.0,M,,AP_horizontal,,Physician,,\n"
    f"4,{LONG}_e.png,1,20140915,1,4,1950.0,M,,COSTAL,,Physician,not a list,[]\n"
)


def draw(root: Path) -> None:
    write(root / TABLE, HEADER + ROWS)
    for seed, (name, folder) in enumerate({"k6ga29": "0", "b": "13", "d": "1"}.items()):
        deep = np.random.default_rng(seed).integers(0, 65_535, (40, 48), dtype=np.uint16)
        (root / folder).mkdir(exist_ok=True)
        Image.fromarray(deep).save(root / folder / f"{LONG}_{name}.png")
