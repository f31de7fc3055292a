"""Images in the terminal: pixels where it knows kitty's protocol or sixel, half-blocks elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medclip_cli.pages.html import thumbnails
from medclip_cli.terminal import console

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement

Mode = Literal["auto", "always", "never"]
WIDTH, HEIGHT = 18, 9  # cells of one picture; a cell is about twice as high as it is wide
_GAP = 2
_MOST_ROWS = 2  # of pictures that nobody asked for: more push the answer off the screen
_PIXELS = 216  # side of what is sent to a terminal that draws pixels: 12 x 24 a cell


def wanted(mode: Mode) -> bool:
    """Whether pictures are to be drawn on stdout.

    ``auto`` draws on a terminal that has enough colours, unless ``NO_COLOR`` asks for none.
    """
    if mode != "auto":
        return mode == "always"
    out = console.stdout()
    return out.is_terminal and not out.no_color and out.color_system in ("256", "truecolor")


def show_files(
    files: Sequence[tuple[str, str | Path | None]], mode: Mode, first: Sequence[tuple[str, Image | None]] = ()
) -> None:
    """Draw image files with their labels, where pictures are wanted, after those that are read already."""
    if wanted(mode):
        most = None if mode == "always" else _MOST_ROWS * _columns(console.stdout().width) - len(first)
        drawn = thumbnails([path for _, path in files[:most]])
        show([*first, *zip((label for label, _ in files), drawn, strict=False)])


def show_groups(groups: Sequence[tuple[str, Sequence[tuple[str, Path]]]], mode: Mode) -> int:
    """Draw images that belong together, each group on rows of its own; returns how many groups were drawn.

    Args:
        groups: what to say of each, and its images with their names.
        mode: what ``--pictures`` says.
    """
    if not wanted(mode):
        return 0
    is_short = mode != "always"
    shown = groups[: _MOST_ROWS if is_short else None]
    for heading, members in shown:
        console.out(heading)
        some = members[: _columns(console.stdout().width) if is_short else None]
        show_files([(_end_of(name), path) for name, path in some], "always")
    return len(shown)


def _end_of(name: str) -> str:
    """The end of a name, which tells it from others of its data set, as far as it fits."""
    return name if len(name) <= WIDTH else f"…{name[1 - WIDTH :]}"


def show(pictures: Sequence[tuple[str, Image | None]]) -> None:
    """Draw labelled pictures side by side, as many in a row as the terminal is wide.

    Args:
        pictures: label and image; None stands for one that cannot be read.
    """
    if not pictures:
        return
    out, row_length = _canvas(), _columns(console.stdout().width)
    for start in range(0, len(pictures), row_length):
        out.print(_row(pictures[start : start + row_length]))


def _row(pictures: Iterable[tuple[str, Image | None]]) -> Any:  # noqa: ANN401 - rich is imported inside
    from rich.table import Table
    from rich.text import Text

    labels, drawn = zip(*((label, _drawing(image)) for label, image in pictures), strict=True)
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    for _ in labels:
        grid.add_column(width=_cells(), overflow="ellipsis", no_wrap=True)
    grid.add_row(*drawn)
    grid.add_row(*(Text(console.printable(label), style="dim") for label in labels))
    return grid


def _drawing(image: Image | None) -> Any:  # noqa: ANN401
    if image is None:
        return "(cannot be read)"
    from PIL import ImageOps

    graphics = _graphics()
    side = _PIXELS if graphics else _cells()
    square = ImageOps.pad(image.convert("RGB"), (side, side))
    return graphics(square, width=_cells(), height=_cells() // 2) if graphics else HalfBlocks(square)


class HalfBlocks:
    """A picture of two pixels a character, for any terminal with colours."""

    def __init__(self, image: Image) -> None:
        """Take an RGB image; each of its columns becomes a character, each two rows a line."""
        self._width, self._height, self._bytes = image.width, image.height, image.tobytes()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the characters."""
        from rich.color import Color
        from rich.segment import Segment
        from rich.style import Style

        for y in range(0, self._height - 1, 2):
            for x in range(self._width):
                upper, lower = (Color.from_rgb(*self._pixel(x, row)) for row in (y, y + 1))
                yield Segment("▀", Style(color=upper, bgcolor=lower))
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return its width, which does not give way."""
        from rich.measure import Measurement

        return Measurement(self._width, self._width)

    def _pixel(self, x: int, y: int) -> tuple[int, int, int]:
        start = 3 * (y * self._width + x)
        red, green, blue = self._bytes[start : start + 3]
        return red, green, blue


def _cells() -> int:
    """How many cells wide a picture is; an even number, so that its height is whole."""
    return max(2, min(WIDTH, console.stdout().width) // 2 * 2)


def _columns(width: int) -> int:
    return max(1, (width + _GAP) // (WIDTH + _GAP))


def _canvas() -> Console:
    """The console to draw on: one that has colours, for pictures may be asked for where stdout has none.

    kitty's protocol names a picture by the colour of the cells it fills: rounded to one of 256, as where
    nobody says that the terminal knows more (over ssh), it would name another.
    """
    out = console.stdout()
    enough = ("truecolor",) if _graphics() else ("standard", "256", "truecolor")
    if out.color_system in enough and not out.no_color:
        return out
    from rich.console import Console

    return Console(
        file=sys.stdout, force_terminal=True, color_system="truecolor", no_color=False, width=out.width
    )


@cache
def _graphics() -> Any:  # noqa: ANN401 - a class of a library that is imported only where it can draw
    """What draws pixels on this terminal, or None.

    The library asks the terminal what it can when it is imported, and reads the answer from stdin: that
    must be the terminal, too, and never a pipe that brings us paths.
    """
    terminals = (sys.__stdin__, sys.__stdout__)
    if not all(stream is not None and stream.isatty() for stream in terminals):
        return None
    if os.environ.get("TERM", "dumb") in ("dumb", "linux"):
        return None
    from textual_image import renderable

    drawing = renderable.Image
    return drawing if drawing in (renderable.SixelImage, renderable.TGPImage) else None
