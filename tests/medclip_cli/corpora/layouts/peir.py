"""PEIR Gross as the crawler leaves it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.reading import write

TABLE = "peir_gross.tsv"
CAPTIONS = {
    "a1.jpg": 'ABDOMEN: LIVER: Gross: Cirrhosis, case 12, with "nodules"',
    "a2.jpg": 'ABDOMEN: LIVER: Gross: Cirrhosis, case 13, with "nodules"',
    "b.jpg": "A description alone",
}


def draw(root: Path) -> None:
    write(root / TABLE, "".join(f"{name}\t{caption}\n" for name, caption in CAPTIONS.items()))
    write(root / "train_images.tsv", f"a1.jpg\t{CAPTIONS['a1.jpg']}\n")
    write(root / "test_images.tsv", f"a2.jpg\t{CAPTIONS['a2.jpg']}\n")
    write(root / "peir_gross_tags.json", json.dumps({"a1.jpg": ["liver", "cirrhosis"], "b.jpg": "damaged"}))
    for seed, name in enumerate(CAPTIONS):
        draw_scan(root / "peir_gross_images" / name, seed=seed)
