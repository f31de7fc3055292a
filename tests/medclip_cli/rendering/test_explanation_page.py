import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from medclip_cli.pages.explanation_page import (
    Explanation,
    ShownNeighbour,
    attention_maps_of,
    explanation_page,
    heat_picture,
)


class Checker(HTMLParser):
    """Fails where a tag is closed that is not open; collects what the page shows and asks for."""

    def __init__(self):
        super().__init__()
        self.open, self.marked, self.sources, self.text = [], [], [], ""

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] == "mark":
            self.marked.append(data)


def drawn(**given):
    defaults = {
        "image": "<scan>.png",
        "picture": b"jpeg",
        "caption": "Axial CT of the chest",
        "reason": None,
        "method": "consensus",
        "confidence": 0.83,
        "votes": [("modality", "CT", 0.9)],
        "neighbours": [ShownNeighbour("set/1", 0.712, "CT of the <b>chest</b>, T2-weighted", b"jpeg")],
    }
    return Explanation(**(defaults | given))


def page_of(*explanations):
    checker = Checker()
    page = explanation_page(explanations, "model m, collection c", "no medical device")
    checker.feed(page)
    assert checker.open == []
    return page, checker


def test_the_page_shows_the_answer_and_why():
    _, checker = page_of(drawn())
    for said in ("Axial CT of the chest", "confidence 0.83", "modality", "90%", "0.712", "set/1", "model m"):
        assert said in checker.text
    assert checker.marked == ["CT", "of", "the", "chest"]


def test_what_comes_from_outside_is_escaped():
    page, checker = page_of(drawn())
    assert "<b>" not in page
    assert "<scan>.png" in checker.text


def test_the_page_stands_alone_in_light_and_dark():
    page, checker = page_of(drawn())
    assert all(source.startswith("data:") for source in checker.sources)
    assert "<script" not in page
    assert not re.search(r"https?://", page)
    assert "prefers-color-scheme:dark" in page
    assert "width=device-width" in page


def test_no_caption_comes_with_its_reason():
    _, checker = page_of(drawn(caption=None, reason="no reliable match: too far", confidence=None))
    assert "No caption: no reliable match: too far" in checker.text
    assert checker.marked == []


def test_words_are_put_together_from_their_tokens():
    attention = np.arange(16, dtype=np.float32).reshape(4, 2, 2)
    attention_maps = attention_maps_of(["", " Axial", " T2", "-weighted"], attention)
    assert [glance.word for glance in attention_maps] == ["Axial", "T2-weighted"]
    np.testing.assert_allclose(attention_maps[1].heat, attention[2:].mean(axis=0))


def test_the_scan_stands_in_the_page_once_however_many_words_there_are():
    attention_maps = attention_maps_of(
        [f" word{n}" for n in range(30)], np.ones((30, 7, 7), dtype=np.float32)
    )
    picture = b"a scan of some length"
    page, checker = page_of(drawn(picture=picture, attention_maps=attention_maps))
    assert page.count(base64.b64encode(picture).decode()) == 2  # the answer, and the background of all words
    assert "word29" in checker.text


@pytest.mark.parametrize("strongest", [1.0, 0.0])
def test_heat_is_what_a_cell_got_beyond_an_even_share(strongest):
    uri = heat_picture(np.array([[0.0, 0.5], [1.0, 0.25]]) * strongest, strongest)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    assert pixels.shape == (2, 2, 4)
    # The mean is 7/16, so 1/2 lies 1/16 above it, and the strongest 9/16.
    assert pixels[..., 3].tolist() == ([[0, round(190 / 9)], [190, 0]] if strongest else [[0, 0], [0, 0]])
