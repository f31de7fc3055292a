"""Draws docs/medclip.svg: what a terminal shows of two real commands, asked about drawn phantoms.

Run as ``python -m docs.tools.readme_picture [DEMO]``, where DEMO is what ``medclip demo --out DEMO`` made;
without it, the demo is run first. The image asked about is of the held-out split: the model has not seen it,
and it is nobody's.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from io import StringIO
from pathlib import Path

from rich.color import Color
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import MONOKAI, TerminalTheme
from rich.text import Text

from medclip_cli.corpora.corpus_folder import Corpus

PICTURE = Path(__file__).resolve().parents[1] / "medclip.svg"
COMMANDS = (
    "medclip caption scan.png -k 3 --pictures always",
    'medclip search "axial CT with a large lesion" -k 3 --pictures always',
)
FINDING = "axial X-ray scan of the torso with a large lesion on the left"  # of the scan asked about
COLUMNS = 112
CELL_WIDTH, CELL_HEIGHT, MARGIN, BAR = 8.4, 18, 16, 36
QUESTIONS = re.compile(r"\x1b\[c|\x1b_G.*?\x1b\\")  # what a program asks its terminal
HALF_BLOCK = "▀"
THEME: TerminalTheme = MONOKAI


def main() -> None:
    """Ask, and draw the answers."""
    with tempfile.TemporaryDirectory() as folder:
        demo = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else _run_demo(Path(folder))
        corpus = Corpus.open(demo / "corpus")
        scan = next(row for row in corpus.split("test") if FINDING in row.caption)
        shutil.copy(corpus.image_path(scan), Path(folder) / "scan.png")
        shown = "".join(f"\x1b[1m$ {command}\x1b[0m\n{_run(command, Path(folder))}" for command in COMMANDS)
    PICTURE.write_text(as_svg(shown), encoding="utf-8")


def _run_demo(folder: Path) -> Path:
    demo = [sys.executable, "-m", "medclip_cli", "demo", "--out", "demo"]
    subprocess.run(demo, cwd=folder, check=True)
    return folder / "demo"


def _run(command: str, folder: Path) -> str:
    """Run a command as a terminal does and return what it shows."""
    program = Path(sys.executable).parent
    env = {
        **os.environ,
        "PATH": f"{program}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": str(COLUMNS),
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "MEDCLIP_COLLECTION": "demo",
    }
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", command], cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b"".join(_read_all(ours))
    os.close(ours)
    if process.wait():
        raise SystemExit(f"{command} failed:\n{shown.decode()}")
    return QUESTIONS.sub("", shown.decode()).replace("\r\n", "\n")


def _read_all(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            return
        if not piece:
            return
        yield piece


def as_svg(shown: str) -> str:
    """Return terminal output as a drawing; half-block cells become two rectangles, which no font can tear."""
    console = Console(width=COLUMNS, color_system="truecolor", force_terminal=True, file=StringIO())
    lines = console.render_lines(Text.from_ansi(shown), pad=False)
    drawn = "\n".join(
        piece for row, line in enumerate(lines) for piece in _draw_line(line, BAR + row * CELL_HEIGHT)
    )
    width, height = COLUMNS * CELL_WIDTH + 2 * MARGIN, BAR + len(lines) * CELL_HEIGHT + MARGIN
    lights = "".join(
        f'<circle cx="{20 + 18 * n}" cy="18" r="6" fill="{colour}"/>'
        for n, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14">\n'
        "<title>medclip in a terminal, asked about drawn phantoms</title>\n"
        f'<rect width="100%" height="100%" rx="8" fill="{THEME.background_color.hex}"/>\n'
        f"{lights}\n{drawn}\n</svg>\n"
    )


def _draw_line(line: list[Segment], top: float) -> Iterator[str]:
    column = 0
    for segment in line:
        left, style = MARGIN + column * CELL_WIDTH, segment.style or Style.null()
        if set(segment.text) == {HALF_BLOCK}:
            yield from _draw_halves(style, left, top, len(segment.text))
        elif segment.text.strip():
            yield _draw_text(segment.text, style, left, top)
        column += segment.cell_length


def _draw_halves(style: Style, left: float, top: float, cells: int) -> Iterator[str]:
    width, height = cells * CELL_WIDTH, CELL_HEIGHT / 2
    for half, colour in enumerate((style.color, style.bgcolor)):
        # A little too large, so that no line shows between neighbours.
        yield (
            f'<rect x="{left:.1f}" y="{top + half * height:g}" width="{width + 0.3:.1f}" '
            f'height="{height + 0.3:g}" fill="{_hex(colour)}"/>'
        )


def _draw_text(text: str, style: Style, left: float, top: float) -> str:
    weight = ' font-weight="bold"' if style.bold else ""
    opacity = ' opacity="0.6"' if style.dim else ""
    length = len(text) * CELL_WIDTH
    return (
        f'<text x="{left:.1f}" y="{top + 13:g}" fill="{_hex(style.color)}" textLength="{length:.1f}" '
        f'xml:space="preserve"{weight}{opacity}>{escape(text)}</text>'
    )


def _hex(colour: Color | None) -> str:
    return THEME.foreground_color.hex if colour is None else colour.get_truecolor(THEME).hex


if __name__ == "__main__":
    main()
