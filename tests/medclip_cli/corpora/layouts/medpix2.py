"""MedPix 2.0: three JSON files and a folder of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.medclip_cli.cleaning.drawn import draw as draw_scan
from tests.medclip_cli.corpora.reading import write

TABLE = "Descriptions.json"
CASE = {
    "U_id": "MPX1",
    "Case": {"Title": "Diverticulum", "Findings": "N/A", "Case Diagnosis": "Bladder diverticulum"},
    "Topic": {"Category": "Cyst, benign"},
}


def description(name: str = "MPX1_a", **changes: Any) -> dict[str, Any]:
    about = {
        "Age": "73",
        "Caption": "An enlarged\nprostate.",
        "Modality": "CT",
        "Plane": "Coronal",
        "Sex": "male",
    }
    entry = {"Type": "CT", "U_id": "MPX1", "image": name, "Location": "Abdomen", "Location Category": "Trunk"}
    return {**entry, **changes, "Description": {**about, **changes.get("Description", {})}}


def write_tables(root: Path, *entries: Any, cases: Any = (CASE,), splits: Any = None) -> Path:
    write(root / "Descriptions.json", json.dumps(entries))
    write(root / "Case_topic.json", json.dumps(cases))
    if splits is not None:
        write(root / "splitted_dataset" / "uid_list.json", json.dumps(splits))
    return root


def draw(root: Path) -> None:
    write_tables(root, description(), description("MPX1_b"), splits={"train": ["MPX1"], "dev": []})
    for seed, name in enumerate(("MPX1_a", "MPX1_b")):
        draw_scan(root / "images" / f"{name}.png", seed=seed)
