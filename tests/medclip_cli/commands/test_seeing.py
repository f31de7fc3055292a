"""Answers as pictures: `--pictures` and `--html` of the commands that ask."""

import os
import shutil

import pytest

from medclip_cli.terminal import pictures

BLOCK = "▀"


@pytest.fixture
def ask(demo):
    def ask(command, *arguments, **more):
        return demo.medclip(command, *arguments, "--collection", "phantoms", **more)

    return ask


def test_search_writes_a_gallery(ask, tmp_path):
    page = tmp_path / "page.html"
    done = ask("search", "axial CT", "-k", 4, "--html", page, "--json")
    assert done.code == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 4
    assert all(hit["id"] in text and f"{hit['score']:.3f}" in text for hit in done.answer)
    assert '<h2 dir="auto">axial CT</h2>' in text
    assert page.stat().st_mode & 0o777 == 0o600


def test_search_by_example_shows_the_examples_too(ask, demo, tmp_path):
    page = tmp_path / "page.html"
    assert ask("search", "--image", demo.scan, "-k", 2, "--html", page).code == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 3
    assert str(demo.scan) in text


def test_caption_writes_a_gallery_of_what_could_be_read(ask, demo, tmp_path):
    page = tmp_path / "page.html"
    odd = tmp_path / os.fsdecode(b"scan\xff<b>.png")
    odd.write_bytes(demo.scan.read_bytes())
    done = ask("caption", demo.scan, tmp_path / "gone.png", odd, "-k", 3, "--html", page, "--json")
    assert done.code == 3
    text = page.read_text(encoding="utf-8")
    assert text.count("<article>") == 2
    assert text.count("data:image/jpeg;base64,") == 2 * (1 + 3)
    assert "scan\\udcff&lt;b&gt;.png" in text
    assert done.records[0]["caption"] in text


def test_a_page_that_cannot_be_written_is_told_before_the_answers(ask, demo, tmp_path):
    done = ask("caption", demo.scan, "--html", tmp_path / "no" / "page.html")
    assert (done.code, done.out) == (1, "")
    assert "cannot write" in done.err


def test_pictures_are_drawn_when_asked_for_and_never_into_json(ask, demo):
    assert BLOCK not in ask("caption", demo.scan).out
    assert BLOCK not in ask("caption", demo.scan, "--pictures", "never").out
    drawn = ask("caption", demo.scan, "-k", 2, "--pictures", "always").out
    assert BLOCK in drawn
    assert "the scan" in drawn
    (record,) = ask("caption", demo.scan, "-k", 2, "--pictures", "always", "--json").records
    assert f"2  {record['neighbours'][1]['score']:.3f}" in drawn
    assert BLOCK in ask("search", "axial CT", "-k", 1, "--pictures", "always").out
    assert ask("search", "axial CT", "--pictures", "always", "--json").answer
    assert ask("search", "axial CT", "--pictures", "sometimes").code == 2


def test_duplicates_are_drawn_group_by_group(demo):
    find = ("duplicates", demo.corpus, "--collection", "phantoms", "--min-score", 0.999)
    groups = demo.medclip(*find, "--json").records
    drawn = demo.medclip(*find, "--pictures", "always")
    lines = drawn.out.splitlines()
    headings = [n for n, line in enumerate(lines) if "images, alike by" in line]
    assert len(headings) == len(groups) >= 1
    for at, group in zip(headings, groups, strict=True):
        assert lines[at].startswith(f"{len(group['ids'])} images, alike by {', '.join(group['by'])}, in ")
        assert BLOCK in lines[at + 1]
        assert "…" + group["ids"][0][-17:] in lines[at + 10]
    assert "--pictures always" not in drawn.err, "all are drawn already"
    assert BLOCK not in demo.medclip(*find).out, "no terminal"
    assert BLOCK not in demo.medclip(*find, "--pictures", "always", "--json").out


def test_unasked_only_the_first_groups_of_duplicates_are_drawn(demo, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(pictures, "wanted", lambda mode: True)
    monkeypatch.setattr(pictures, "show", lambda drawn: shown.append([name for name, _ in drawn]))
    monkeypatch.setenv("COLUMNS", "80")
    groups = [(f"group {n}", [(f"{n}-{m}", demo.scan) for m in range(6)]) for n in range(3)]
    assert pictures.show_groups(groups, "auto") == 2
    assert shown == [[f"{n}-{m}" for m in range(4)] for n in range(2)]
    assert pictures.show_groups(groups, "always") == 3
    assert [len(row) for row in shown[2:]] == [6, 6, 6]
    assert capsys.readouterr().out.count("group 2\n") == 1


def test_a_neighbour_whose_image_is_gone_is_said_to_be(demo, tmp_path):
    moved = demo.raw / "images.moved"
    shutil.move(demo.raw / "images", moved)
    try:
        done = demo.medclip("search", "axial CT", "-c", "phantoms", "-k", 1, "--pictures", "always")
        assert (done.code, "(cannot be read)" in done.out) == (0, True)
    finally:
        shutil.move(moved, demo.raw / "images")
