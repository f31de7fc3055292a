"""Rows and pictures for the cleaning tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medclip_cli.cleaning.captions import caption_style
from medclip_cli.cleaning.pipeline import CleaningOptions
from medclip_cli.corpora.layout import DatasetLayout
from medclip_cli.records import SourceRow

LAYOUT = DatasetLayout(
    name="drawn",
    title="Drawn for a test",
    licence="none",
    download="",
    reads="",
    read=lambda root, options: iter(()),
    texts=("report", "impression"),
    sentence="{view} {modality} showing {labels}",
    fields="modality: {modality}, plane: {view}",
    default_caption="report",
    has_labels=True,
)


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (48, 40)) -> Path:
    """Write a smooth random picture, different for every seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def row(number: int = 0, **changes: Any) -> SourceRow:
    values: dict[str, Any] = {
        "key": str(number),
        "image": f"{number}.png",
        "modality": "CT",
        "group": f"case{number}",
        "split": "train",
        "texts": {"report": (f"scan {number}",)},
    }
    return SourceRow(**{**values, **changes})


def options(style: str = "report", **changes: Any) -> CleaningOptions:
    return CleaningOptions("drawn", "none", caption_style(style, LAYOUT), **changes)
