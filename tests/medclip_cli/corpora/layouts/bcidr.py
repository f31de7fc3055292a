"""BCIDR in its two public layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.reading import write

TABLE = "train_labels.json"
FIVE = [f"Nuclei are {size}. Crowding is mild." for size in ("small", "large", "round", "dark", "pale")]


def entry(label: Any) -> dict[str, Any]:
    return {"caption": FIVE, "label": label}


def draw(root: Path) -> None:
    """Draw distill2's layout."""
    write(root / TABLE, json.dumps({"1_00143_sub0_021": entry(1), "1_00143_sub0_022": entry(7)}))
    write(root / "test_labels.json", json.dumps({"2_00001_sub0_001": entry(0), "odd": ["no", "object"]}))
    for seed, name in enumerate(("1_00143_sub0_021", "1_00143_sub0_022", "2_00001_sub0_001")):
        draw_scan(root / "Img" / f"{name}.png", seed=seed)


def draw_nmi(root: Path) -> None:
    records = [{"image_id": "1_00143_sub0_021", "id": 0, "caption": FIVE}, {"caption": None}, 3]
    write(root / "train_annotation.json", json.dumps(records))
    write(root / "val_annotation.json", "[]")
    draw_scan(root / "Images" / "1_00143_sub0_021.png")
