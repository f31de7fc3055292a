"""The curves of a run as a picture: loss above, recall below, drawn from its journal."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

CURVES_FILE = "curves.png"
WIDTH, PANEL, MARGIN = 900, 320, 60
HEIGHT = 2 * PANEL
INK, GRID = (40, 40, 40), (225, 225, 225)
# Told apart by people of every colour vision (Okabe and Ito, 2008).
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167))
Line = tuple[str, Sequence[float]]


def draw_curves(journal: bytes) -> bytes:
    """Draw the epochs of a ``training.jsonl``.

    Args:
        journal: its content.

    Returns:
        A PNG: the mean training loss of each epoch, and recall at 1 and 10 in both directions.
    """
    epochs = _epochs(journal)
    ways = (("image to text", "image_to_text"), ("text to image", "text_to_image"))
    recalls = [
        (f"R@{k} {name}", [_recall(epoch, way, k) for epoch in epochs]) for name, way in ways for k in (1, 10)
    ]
    return _draw(epochs, "validation recall", recalls)


def draw_caption_curves(journal: bytes) -> bytes:
    """Draw the epochs of a decoder's journal: the loss, and the scores of its greedy captions."""
    epochs = _epochs(journal)
    names = (("BLEU-4", "bleu4"), ("ROUGE-L", "rouge_l"), ("CIDEr", "cider"))
    scores = [
        (shown, [epoch["scores"][name] for epoch in epochs if name in epoch["scores"]])
        for shown, name in names
    ]
    return _draw(epochs, "validation captions", scores)


def _epochs(journal: bytes) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in journal.splitlines()]
    return [event for event in events if event["event"] == "epoch"]


def _draw(epochs: Sequence[dict[str, Any]], title: str, lines: Sequence[Line]) -> bytes:
    """A PNG: the mean training loss of each epoch above, validation below."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(picture)
    _draw_panel(pen, 0, "training loss", [("loss", [epoch["loss"] for epoch in epochs])])
    _draw_panel(pen, PANEL, title, lines)
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def _recall(epoch: dict[str, Any], way: str, k: int) -> float:
    return float(epoch["validation"][way][f"r{k}"])


def _draw_panel(pen: ImageDraw.ImageDraw, top: int, title: str, lines: Sequence[Line]) -> None:
    font, small = ImageFont.load_default(16), ImageFont.load_default(12)
    left, right, upper, lower = MARGIN, WIDTH - 200, top + 40, top + PANEL - 40
    pen.text((left, top + 10), title, INK, font)
    highest = max((value for _, values in lines for value in values), default=1.0) or 1.0
    count = max(len(values) for _, values in lines)
    for part in range(5):
        y = lower - (lower - upper) * part / 4
        pen.line((left, y, right, y), GRID)
        pen.text((left - 8, y), f"{highest * part / 4:.2f}", INK, small, anchor="rm")
    pen.text((left, lower + 8), "1", INK, small)
    pen.text((right, lower + 8), f"{count} epochs", INK, small, anchor="ra")
    for place, ((name, values), colour) in enumerate(zip(lines, COLOURS, strict=False)):
        points = [
            (left + (right - left) * x / max(count - 1, 1), lower - (lower - upper) * value / highest)
            for x, value in enumerate(values)
        ]
        if len(points) > 1:
            pen.line(points, colour, width=2)
        for x, y in points if len(points) == 1 else points[-1:]:
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), colour)
        pen.text((right + 16, upper + 20 * place), name, colour, small)
