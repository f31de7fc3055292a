"""Tables: ruled and coloured on a terminal, plain aligned columns in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from medclip_cli.terminal import console

if TYPE_CHECKING:
    from rich.table import Table

Cell = str | int | float | None
_LONG_WORD = 12  # a longer one, as a path, may be folded anywhere
_PADDING = 2


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
            return  # the command says in words that there is nothing; a program still gets the headings
        _show_ruled(title, columns, texts, right)
    else:
        _show_plain(columns, texts, right)


def _show_ruled(
    title: str, columns: Sequence[str], texts: Sequence[Sequence[str]], right: Sequence[bool]
) -> None:
    from rich.text import Text

    out = console.stdout()
    least = [
        _least_width([heading, *cells], is_number)
        for heading, cells, is_number in zip(columns, zip(*texts, strict=True), right, strict=True)
    ]
    # A title of the table's own would be folded to its width. Titles hold names: they are no markup.
    out.print(Text(_text(title), style="bold"))
    fits = sum(least) + _PADDING * len(least) + 1 <= out.width
    out.print(_side_by_side(columns, texts, right, least) if fits else _one_below_another(columns, texts))


def _least_width(cells: Sequence[str], is_number: bool) -> int:
    """How narrow a column may be: numbers stay whole, words wrap, and only long ones are cut."""
    if is_number:
        return max(map(len, cells))
    return min(_LONG_WORD, max((len(word) for cell in cells for word in cell.split()), default=1))


def _side_by_side(
    columns: Sequence[str], texts: Sequence[Sequence[str]], right: Sequence[bool], least: Sequence[int]
) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading, is_number, width in zip(columns, right, least, strict=True):
        justify: Literal["left", "right"] = "right" if is_number else "left"
        heading_text = Text(_text(heading))
        table.add_column(heading_text, justify=justify, overflow="fold", no_wrap=is_number, min_width=width)
    for row in texts:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _one_below_another(columns: Sequence[str], texts: Sequence[Sequence[str]]) -> Table:
    """Each row as a list of its cells, for a terminal that is too narrow for the columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.HORIZONTALS, padding=(0, 1, 0, 0), show_header=False)
    table.add_column(overflow="fold", style="bold")
    table.add_column(overflow="fold")
    for row in texts:
        for heading, cell in zip(columns, row, strict=True):
            table.add_row(Text(_text(heading)), Text(cell))
        table.add_section()
    return table


def gap() -> None:
    """Part a table from what follows by an empty line; on a terminal it ends with one already."""
    if not console.stdout().is_terminal:
        console.out("")


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
