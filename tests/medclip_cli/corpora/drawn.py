"""Records for tests, with everything but what matters filled in."""

from __future__ import annotations

from typing import Any

from medclip_cli.records import CaptionedImage


def record(number: int = 0, **changes: Any) -> CaptionedImage:
    values: dict[str, Any] = {
        "id": f"drawn/{number}",
        "image": f"images/{number}.png",
        "caption": f"a drawn scan number {number}",
        "captions": (f"a drawn scan number {number}",),
        "modality": "CT",
        "group": f"case{number}",
        "split": "train",
        "source": "drawn",
        "licence": "none",
    }
    return CaptionedImage(**{**values, **changes})
