import os
import threading
from html.parser import HTMLParser

import pytest

from medclip_cli.errors import MedclipError
from medclip_cli.pages.gallery_page import Hit, Question, gallery_article, gallery_foot, gallery_head
from medclip_cli.pages.web_page import open_page, write_page

NASTY = "<script>alert('x')</script>\"&"


class Elements(HTMLParser):
    """The tags and the texts of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts, self.links = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data)


def gallery(*questions):
    return gallery_head(NASTY, NASTY) + "".join(map(gallery_article, questions)) + gallery_foot(NASTY)


def test_everything_is_escaped_and_nothing_is_fetched():
    hit = Hit(1, 0.5, NASTY, NASTY, {"modality": NASTY, "findings": [NASTY, "b"], "age": None}, b"jpeg")
    page = gallery(Question(NASTY, [hit], [b"scan"], said=NASTY, note=NASTY))
    read = Elements(page)
    assert "script" not in read.tags
    assert sum(text.count(NASTY) for text in read.texts) == 11
    assert len(read.links) == 2
    assert all(link.startswith("data:image/jpeg;base64,") for link in read.links)
    assert "http" not in page
    assert "prefers-color-scheme:dark" in page
    assert "width=device-width" in page


def test_a_question_without_hits_or_pictures_says_so():
    assert "Nothing matches" in gallery_article(Question("x", []))
    assert "<img" not in gallery_article(Question("x", [Hit(1, 0.1, "a", "b", {})]))


def test_a_hit_tells_what_the_picture_shows_and_its_terms():
    fields = {
        "split": "train",
        "age": 61.0,
        "findings": ["edema", "mass"],
        "modality": "CT",
        "licence": "CC BY",
    }
    text = gallery_article(Question("x", [Hit(1, 0.1, "a", "b", {**fields, "view": "", "sex": None})]))
    assert "CT · edema, mass · 61 years · CC BY</small>" in text


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
    reader.join(timeout=30)
    assert heard == ["page"]
    assert pipe.is_fifo()


@pytest.mark.parametrize("place", [".", "no/page.html"])
def test_a_page_that_cannot_be_written_is_told_before_the_work(tmp_path, place):
    with (
        pytest.raises(MedclipError, match="cannot write .*: name a file in a folder that exists"),
        open_page(tmp_path / place),
    ):
        pass


def test_a_folder_that_takes_no_files_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(MedclipError, match="cannot write .*No space left on device.*choose another file"):
        write_page(tmp_path / "page.html", "page")
