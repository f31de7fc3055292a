"""One's own images with a table of captions, a column for everything."""

from __future__ import annotations

from pathlib import Path

from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.reading import write

TABLE = "captions.csv"


def draw(root: Path) -> None:
    write(
        root / TABLE,
        "image,caption,modality,view,region,patient,split,age,sex,labels\n"
        "a.png,A mass.,CT,Axial,Brain,p1,train,41,F,Mass|Edema\n"
        "sub/b.png,Clear lungs.,XR,PA,Chest,p2,test,7,M,\n",
    )
    for seed, name in enumerate(("a.png", "sub/b.png")):
        draw_scan(root / name, seed=seed)
