"""The picture of the README: terminal output as a drawing."""

import xml.etree.ElementTree as ET

import pytest

from docs.tools import readme_picture

SVG = "{http://www.w3.org/2000/svg}"


def drawn(shown):
    return ET.fromstring(readme_picture.as_svg(shown))


def test_words_keep_their_place_and_weight():
    (text,) = drawn("  \x1b[1m<scan> & more\x1b[0m").iter(f"{SVG}text")
    assert text.text.strip() == "<scan> & more"
    assert text.get("font-weight") == "bold"


def test_a_half_block_is_two_rectangles_of_its_colours():
    background, *halves = drawn("\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[0m").iter(f"{SVG}rect")
    assert [half.get("fill") for half in halves] == ["#ff0000", "#0000ff"]
    assert float(halves[0].get("y")) < float(halves[1].get("y"))
    assert background.get("width") == "100%"


def test_what_the_program_asks_its_terminal_is_not_drawn(tmp_path):
    shown = readme_picture._run(r"printf 'a\033[cb\033_Gi=1;AAAA\033\\c\n'", tmp_path)
    assert shown == "abc\n"


def test_a_command_that_fails_draws_nothing(tmp_path):
    with pytest.raises(SystemExit, match="false failed"):
        readme_picture._run("false", tmp_path)


def test_the_committed_picture_is_a_drawing_that_loads_nothing():
    tree = ET.parse(readme_picture.PICTURE)
    assert len(list(tree.iter(f"{SVG}rect"))) > 500, "pictures of scans"
    assert {element.tag for element in tree.iter()} <= {
        SVG + tag for tag in "svg title rect circle text".split()
    }
