"""Answers and hits as pages and fragments, and how a page gets onto disk."""

import base64
import io
import os
import re
import threading
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from medclip_cli import pages
from medclip_cli.errors import MedclipError
from medclip_cli.pages import AnswerCard, Card
from medclip_cli.pages.answers import attention_of, heat_uri, marked
from medclip_cli.pages.html import open_page, write_page

from .browser import Browser


def gallery(folder, *answers):
    path = folder / "page.html"
    with pages.open_gallery(path, "Captions", "model m, collection c", "medclip caption") as add:
        for answer in answers:
            add(answer)
    return path.read_text(encoding="utf-8")


def test_a_page_stands_alone_says_its_source_and_lets_nothing_run(tmp_path):
    page = gallery(tmp_path, AnswerCard("scan.png", [b"scan"], "Axial CT", neighbours=[Card(b"jpeg", "CT")]))
    browser = Browser(page)
    assert len(browser.addresses) == 2
    assert all(address.startswith("data:image/jpeg;base64,") for address in browser.addresses)
    assert all(browser.alts), "each picture has its words"
    assert "script" not in browser.tags
    assert not re.search(r"https?://", page)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme:dark" in page
    assert "width=device-width" in page
    for said in ("model m, collection c", "medclip caption", "not a medical device"):
        assert said in browser.text


def test_an_answer_comes_with_its_certainty_its_votes_and_its_neighbours(tmp_path):
    neighbours = [
        Card(
            b"jpeg",
            "CT of the chest, T2-weighted",
            "set/1",
            1,
            "0.712",
            ["CT", "61 years"],
            lent_caption=True,
        ),
        Card(None, "MR", "set/2", 2, "0.700"),
    ]
    answer = AnswerCard(
        "scan.png", [b"scan"], "Axial CT of the chest", method="consensus", confidence=0.19,
        votes=[("modality", "CT", 0.9), ("view", "PA", 0.3)], neighbours=neighbours,
    )  # fmt: skip
    page = gallery(tmp_path, answer)
    browser = Browser(page)
    for said in ("Axial CT of the chest", "low confidence 0.19", "1 time in 5", "90%", "consensus", "0.712"):
        assert said in browser.text
    assert "CT · 61 years" in browser.text
    assert browser.marked == ["CT", "chest"], "what the answer and a neighbour share, without stop words"
    assert (page.count('class="weak"'), page.count('class="card lent"')) == (1, 1)


@pytest.mark.parametrize(
    ("confidence", "said"),
    [
        (0.01, "hardly ever right"),
        (0.499, "right about 1 time in 2"),
        (0.72, "moderate confidence 0.72"),
        (0.83, "right about 8 times in 10"),
        (0.99, "nearly always right"),
        (None, "confidence was not measured"),
    ],
)
def test_a_confidence_is_said_in_words(confidence, said):
    assert said in Browser(pages.answers([AnswerCard("x", caption="CT", confidence=confidence)])).text


def test_no_caption_comes_with_its_reason():
    browser = Browser(pages.answers([AnswerCard("x", reason="no reliable match: too far")]))
    assert "No caption: no reliable match: too far" in browser.text
    assert browser.marked == []


def test_nothing_found_and_a_picture_that_is_gone_are_said(tmp_path):
    assert "Nothing matches" in pages.answers([AnswerCard("x")])
    fragment = pages.cards([Card(tmp_path / "gone.png", "CT"), Card(None, "MR")], "Found")
    browser = Browser(fragment)
    assert browser.text.count("cannot be shown") == 1
    assert str(tmp_path / "gone.png") in browser.text
    assert "img" not in browser.tags


def test_a_picture_is_the_file_as_medclip_reads_it(tmp_path):
    Image.fromarray(np.tile(np.arange(1000, dtype=np.uint16) * 60, (500, 1))).save(tmp_path / "scan.png")
    (address,) = Browser(pages.answers([AnswerCard("x", [tmp_path / "scan.png"])])).addresses
    with Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))) as shown:
        assert shown.size == (768, 384)
        dark, light = shown.convert("L").getextrema()
    assert (dark < 5, light > 250) == (True, True)


def test_memory_stays_flat_however_many_answers_a_page_has(tmp_path):
    picture = os.urandom(200_000)

    def peak(count):
        tracemalloc.start()
        with pages.open_gallery(tmp_path / "page.html", "Captions", "model m") as add:
            for n in range(count):
                add(AnswerCard(str(n), [picture], "CT"))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(1)  # the templates are compiled
    few, many = peak(2), peak(100)
    assert (tmp_path / "page.html").stat().st_size > 100 * 200_000
    assert many < few + 500_000


def test_a_long_caption_can_be_unfolded():
    assert "details" in Browser(pages.cards([Card(caption="word " * 60)])).tags
    assert "details" not in Browser(pages.cards([Card(caption="word")])).tags


def test_words_are_marked_whole_and_nothing_is_lost():
    pieces = marked("CTs: CT, ct-guided CT", frozenset({"ct"}))
    assert "".join(text for text, _ in pieces) == "CTs: CT, ct-guided CT"
    assert [text for text, is_marked in pieces if is_marked] == ["CT", "CT"]


def test_words_are_put_together_from_their_tokens():
    attention = np.arange(16, dtype=np.float32).reshape(4, 2, 2)
    found = attention_of(["", " Axial", " T2", "-weighted"], attention)
    assert [one.word for one in found] == ["Axial", "T2-weighted"]
    np.testing.assert_allclose(found[1].heat, attention[2:].mean(axis=0))


def test_what_the_decoder_looked_at_stands_in_the_page_once_however_many_words_there_are():
    attention = attention_of([f" word{n}" for n in range(30)], np.ones((30, 7, 7), dtype=np.float32))
    page = pages.answers([AnswerCard("x", [b"the scan"], "CT", attention=attention, attended=b"its square")])
    assert page.count(base64.b64encode(b"its square").decode()) == 1
    assert page.count(base64.b64encode(b"the scan").decode()) == 1
    assert "word29" in Browser(page).text


@pytest.mark.parametrize("strongest", [1.0, 0.0])
def test_heat_is_what_a_cell_got_beyond_an_even_share(strongest):
    uri = heat_uri(np.array([[0.0, 0.5], [1.0, 0.25]]) * strongest, strongest)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    assert pixels.shape == (2, 2, 4)
    # The mean is 7/16, so 1/2 lies 1/16 above it, and the strongest 9/16.
    assert pixels[..., 3].tolist() == ([[0, round(190 / 9)], [190, 0]] if strongest else [[0, 0], [0, 0]])


def test_a_table_is_a_fragment():
    browser = Browser(pages.table_html("Splits", ("split", "images"), [("train", 5), ("val", None)]))
    assert browser.tags.count("tr") == 3
    assert {"th", "td", "style"} <= set(browser.tags)


def test_a_page_appears_whole_and_for_its_owner_alone(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), open_page(page) as file:
        file.write("half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert page.read_text(encoding="utf-8") == "old"
    write_page(page, "new \udcff")
    assert page.read_text(encoding="utf-8") == "new \\udcff"
    assert page.stat().st_mode & 0o777 == 0o600


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path):
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text(encoding="utf-8")), daemon=True)
    reader.start()
    write_page(pipe, "page")
    reader.join()
    assert heard == ["page"]
    assert pipe.is_fifo()


@pytest.mark.parametrize("place", [".", "no/page.html"])
def test_a_page_that_cannot_be_written_is_told_before_the_work(tmp_path, place):
    with pytest.raises(MedclipError, match="cannot write"), open_page(tmp_path / place):
        pytest.fail("the work was begun")


def test_a_folder_that_takes_no_files_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(MedclipError, match="No space left on device"):
        write_page(tmp_path / "page.html", "page")
