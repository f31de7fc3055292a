import base64
import io
import re
import sys

import pytest
from PIL import Image
from rich.console import Console

from medclip_cli.terminal import console, pictures


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


def test_unasked_two_rows_of_pictures_leave_room_for_the_answer(terminal, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "show", lambda shown: drawn.append(len(shown)))
    terminal(80)
    files = [(str(n), tmp_path / "gone.png") for n in range(20)]
    for mode in ("auto", "always", "never"):
        pictures.show_files(files, mode, [("the scan", picture())])
    assert drawn == [8, 21]


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


@pytest.fixture
def pixels(terminal, monkeypatch):
    """Make stdout a terminal of 8 x 16 pixels a cell that draws by a protocol."""
    from textual_image import _terminal, renderable

    def replace(protocol, **variables):
        out = terminal(80, **variables)
        monkeypatch.setattr(_terminal.get_cell_size, "_result", _terminal.CellSize(8, 16), raising=False)
        monkeypatch.setattr(sys, "__stdout__", out)  # where the library sends what is no text
        monkeypatch.setattr(pictures, "_graphics", lambda: getattr(renderable, protocol))
        return out

    return replace


POINTS = [(x, y) for x in (0, 18, 30, 143) for y in (0, 66, 78, 143)]  # beside the edges, which are smooth


def seen(image):
    """What stands at some points of a picture."""
    return [image.getpixel(point) for point in POINTS]


def striped():
    """Red above blue, with a green column at the left."""
    image = picture((255, 0, 0), (144, 144))
    image.paste((0, 0, 255), (0, 72, 144, 144))
    image.paste((0, 255, 0), (0, 0, 24, 144))
    return image


def test_sixels_say_what_the_picture_is(pixels):
    out = pixels("SixelImage")
    pictures.show([("1", striped()), ("2", picture((255, 255, 255)))])
    first, second = (
        decoded_sixel(data) for data in re.findall(r"\x1bP.*?q(.*?)\x1b\\", out.getvalue(), re.S)
    )
    assert first.size == second.size == (18 * 8, 9 * 16)
    assert seen(first) == seen(striped())
    assert second.getcolors() == [(18 * 8 * 9 * 16, (255, 255, 255))]


def decoded_sixel(data):
    """The picture that sixel data draw, as the manual of the VT340 tells it: bands of six rows."""
    colours, drawn, colour, x, band = {}, {}, 0, 0, 0
    for token in re.finditer(r'"[\d;]*|#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)(.)|([?-~])|([$-])', data):
        named, *mixed, times, repeated, single, move = token.groups()
        if named is not None:
            colour = int(named)
            if mixed[0] is not None:
                colours[colour] = tuple(round(int(percent) * 2.55) for percent in mixed)
        elif move is not None:
            x, band = 0, band + (move == "-")
        elif repeated or single:
            for _ in range(int(times or 1)):
                bits = ord(repeated or single) - 63
                drawn |= {(x, 6 * band + row): colour for row in range(6) if bits >> row & 1}
                x += 1
    image = Image.new("RGB", (max(x for x, _ in drawn) + 1, max(y for _, y in drawn) + 1))
    for place, colour in drawn.items():
        image.putpixel(place, colours[colour])
    return image


@pytest.mark.parametrize("variables", [{}, {"TERM": "xterm-kitty", "COLORTERM": ""}])
def test_kitty_gets_the_pictures_and_their_places(pixels, variables):
    out = pixels("TGPImage", **variables)
    shown = [striped(), picture((9, 8, 7), (144, 144))]
    pictures.show([(str(number), image) for number, image in enumerate(shown)])
    parts, places = {}, {}
    for keys, payload in re.findall(r"\x1b_G([^;\x1b]*);?(.*?)\x1b\\", out.getvalue()):
        said = dict(key.split("=") for key in keys.split(","))
        if said.get("a") == "p":
            places[said["i"]] = (said["c"], said["r"])
        else:
            parts[said["i"]] = parts.get(said["i"], "") + payload
    sent = [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB") for data in parts.values()]
    assert list(map(seen, sent)) == list(map(seen, shown))
    assert places == dict.fromkeys(parts, ("18", "9"))
    # A cell names its picture by its colour: the lower 24 bits of the number.
    named = set(re.findall(rf"38;2;(\d+);(\d+);(\d+)m{chr(0x10EEEE)}", out.getvalue()))
    assert {int(r) << 16 | int(g) << 8 | int(b) for r, g, b in named} == {int(i) & 0xFFFFFF for i in parts}


@pytest.mark.parametrize("protocol", ["SixelImage", "TGPImage", "HalfcellImage"])
def test_a_terminal_is_asked_once_and_half_blocks_are_our_own(terminal, monkeypatch, protocol):
    from textual_image import renderable

    out = terminal()
    for name in ("__stdin__", "__stdout__"):
        monkeypatch.setattr(sys, name, out)
    monkeypatch.setattr(renderable, "Image", getattr(renderable, protocol))
    expected = None if protocol == "HalfcellImage" else getattr(renderable, protocol)
    assert pictures._graphics() is expected
