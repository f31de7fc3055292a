import io
import re
import sys

import pytest
from PIL import Image
from rich.console import Console

from medclip_cli.rendering import console, pictures


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Make stdout a terminal of so many columns; called within the test, since pytest swaps it before."""

    def replace(columns=80, **variables):
        out = Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        chosen = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": str(columns)} | variables
        for name, value in chosen.items():
            monkeypatch.setenv(name, value)
        console.forget_streams()
        return out

    monkeypatch.delenv("NO_COLOR", raising=False)
    forget = pictures._graphics.cache_clear
    forget()
    yield replace
    forget()


def picture(colour=(200, 10, 10), size=(40, 40)):
    return Image.new("RGB", size, colour)


def test_a_character_shows_two_pixels():
    image = Image.new("RGB", (2, 2))
    image.putdata([(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)])
    out = io.StringIO()
    drawing = Console(file=out, force_terminal=True, color_system="truecolor", width=10)
    drawing.print(pictures.HalfBlocks(image), end="")
    red_over_blue, green_over_grey = "\x1b[38;2;255;0;0;48;2;0;0;255m▀", "\x1b[38;2;0;255;0;48;2;9;9;9m▀"
    assert out.getvalue() == f"{red_over_blue}\x1b[0m{green_over_grey}\x1b[0m\n"


@pytest.mark.parametrize(
    ("variables", "drawn"),
    [
        ({}, True),
        ({"COLORTERM": ""}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb", "COLORTERM": ""}, False),
        ({"TERM": "vt100", "COLORTERM": ""}, False),
    ],
)
def test_auto_draws_where_the_terminal_has_colours_and_may_use_them(terminal, variables, drawn):
    terminal(**variables)
    assert pictures.wanted("auto") is drawn
    assert pictures.wanted("always")
    assert not pictures.wanted("never")


def test_auto_draws_nothing_into_a_pipe(capsys):
    assert not pictures.wanted("auto")


@pytest.mark.parametrize(("columns", "rows"), [(140, 1), (80, 2), (40, 3), (18, 5), (7, 5)])
def test_pictures_stand_side_by_side_and_never_wider_than_the_terminal(terminal, columns, rows):
    out = terminal(columns)
    pictures.show([(f"{n}  0.9", picture()) for n in range(1, 6)])
    lines = [without_colours(line) for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= columns
    height = min(pictures.WIDTH, columns) // 2
    assert len(lines) == rows * (height + 1)
    assert lines[height].startswith("1")


def without_colours(line):
    return re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip()


def test_auto_leaves_room_for_the_answer(terminal):
    terminal(80)
    assert pictures.how_many("auto") == 8
    assert pictures.how_many("always") is None


def test_a_picture_that_cannot_be_read_keeps_its_place(terminal):
    out = terminal()
    pictures.show([("1", None), ("a\x1b[2J", picture())])
    assert "(cannot be read)" in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()
    assert "▀" in out.getvalue()


def test_pictures_that_are_asked_for_have_colours_even_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    console.forget_streams()
    pictures.show([("1", picture((1, 2, 3)))])
    assert "38;2;1;2;3" in capsys.readouterr().out
    pictures.show([])
    assert capsys.readouterr().out == ""


def test_no_terminal_is_asked_what_it_can_while_paths_come_through_stdin(terminal, monkeypatch):
    monkeypatch.setattr(sys, "__stdout__", terminal())
    monkeypatch.setattr(sys, "__stdin__", io.StringIO("a.png\n"))
    monkeypatch.delitem(sys.modules, "textual_image.renderable", raising=False)
    assert pictures._graphics() is None
    assert "textual_image.renderable" not in sys.modules


@pytest.mark.parametrize(
    ("protocol", "start", "placed"),
    [("SixelImage", "\x1bP", "\x1b\\"), ("TGPImage", "\x1b_G", chr(0x10EEEE))],
)
def test_pixels_where_the_terminal_draws_them(terminal, monkeypatch, protocol, start, placed):
    from textual_image import _terminal, renderable

    out = terminal()
    monkeypatch.setattr(_terminal.get_cell_size, "_result", _terminal.CellSize(8, 16), raising=False)
    monkeypatch.setattr(sys, "__stdout__", out)  # where the library sends what is no text
    monkeypatch.setattr(pictures, "_graphics", lambda: getattr(renderable, protocol))
    pictures.show([("1", picture()), ("2", picture())])
    assert out.getvalue().count(start) >= 2
    assert placed in out.getvalue()
    assert "▀" not in out.getvalue()


@pytest.mark.parametrize("protocol", ["SixelImage", "TGPImage", "HalfcellImage"])
def test_a_terminal_is_asked_once_and_half_blocks_are_our_own(terminal, monkeypatch, protocol):
    from textual_image import renderable

    out = terminal()
    for name in ("__stdin__", "__stdout__"):
        monkeypatch.setattr(sys, name, out)
    monkeypatch.setattr(renderable, "Image", getattr(renderable, protocol))
    expected = None if protocol == "HalfcellImage" else getattr(renderable, protocol)
    assert pictures._graphics() is expected
