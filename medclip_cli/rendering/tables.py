"""Tables: ruled and coloured on a terminal, plain aligned columns in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from medclip_cli.rendering import console

Cell = str | int | float | None


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table on stdout.

    Args:
        title: above the table on a terminal; left out in a pipe, where it would be in the way.
        columns: headings.
        rows: cells; floats are shown with three decimals, None as a dash.
    """
    texts = [[_text(cell) for cell in row] for row in rows]
    right = [all(isinstance(row[i], (int, float, type(None))) for row in rows) for i in range(len(columns))]
    if console.stdout().is_terminal:
        if not rows:
            return  # a person is told in words that there is nothing; a program still gets the headings
        _show_ruled(title, columns, texts, right)
    else:
        _show_plain(columns, texts, right)


def _show_ruled(
    title: str, columns: Sequence[str], texts: Sequence[Sequence[str]], right: Sequence[bool]
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # Names stand in titles, too: rich must not read them as its markup.
    table = Table(
        title=Text(_text(title)),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading, is_number in zip(columns, right, strict=True):
        # Numbers stay whole on a narrow terminal; words give way.
        justify: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(Text(_text(heading)), justify=justify, overflow="fold", no_wrap=is_number)
    for row in texts:
        table.add_row(*(Text(cell) for cell in row))
    console.stdout().print(table)


def _show_plain(columns: Sequence[str], texts: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    lines = [list(columns), *texts]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = (
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(line, widths, right, strict=True)
        )
        console.out("  ".join(cells).rstrip())


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.3f}"
    return console.printable(str(cell)).replace("\n", "\\n")
