"""Answers as pictures in the terminal, with ``--pictures``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.pages import html
from medclip_cli.terminal import console, pictures

if TYPE_CHECKING:
    from PIL.Image import Image

    from medclip_cli.captioning.predictor import Answer
    from medclip_cli.records import Neighbour

_SCAN = "the scan"


def draw(hits: Sequence[Neighbour], mode: pictures.Mode, scan: Image | None = None) -> None:
    """Draw the images of an answer in the terminal, where they are wanted there.

    Args:
        hits: best first.
        mode: what ``--pictures`` says.
        scan: the image that was asked with, drawn before them.
    """
    if not pictures.wanted(mode):
        return
    asked = [] if scan is None else [(_SCAN, scan)]
    most = pictures.how_many(mode)
    shown = hits if most is None else hits[: most - len(asked)]
    found = html.thumbnails([hit.path for hit in shown])
    labels = (f"{hit.rank}  {hit.score:.3f}" for hit in shown)
    pictures.show([*asked, *zip(labels, found, strict=True)])


def draw_groups(groups: Sequence[tuple[str, Sequence[tuple[str, Path]]]], mode: pictures.Mode) -> int:
    """Draw images that belong together, each group on rows of its own; returns how many groups were drawn.

    Args:
        groups: what to say of each, and its images with their names.
        mode: what ``--pictures`` says.
    """
    if not pictures.wanted(mode):
        return 0
    most_groups, most_images = pictures.how_many_groups(mode)
    for heading, members in groups[:most_groups]:
        shown = members[:most_images]
        console.out(heading)
        found = html.thumbnails([path for _, path in shown])
        pictures.show([(_last(name), picture) for (name, _), picture in zip(shown, found, strict=True)])
    return len(groups[:most_groups])


def scan_of(answer: Answer) -> Image | None:
    """Return the scan as the model sees it."""
    if answer.pixels is None:
        return None
    from PIL import Image

    return Image.fromarray(answer.pixels)


def _last(name: str) -> str:
    """Return the end of a name, which tells it from others of its data set, as far as it fits."""
    return name if len(name) <= pictures.WIDTH else f"…{name[1 - pictures.WIDTH :]}"
