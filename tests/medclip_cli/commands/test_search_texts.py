"""`medclip search -`: texts on stdin, one a line."""

import os

import pytest

TEXTS = "axial CT\n\n  sagittal MR of the spine \r\n"


@pytest.fixture
def search(demo):
    def search(*arguments, stdin=TEXTS):
        return demo.medclip("search", *arguments, "--collection", "phantoms", stdin=stdin)

    return search


def test_each_text_is_answered_as_it_would_be_alone(search):
    done = search("-", "-k", 3, "--json")
    assert (done.code, done.err) == (0, "")
    assert [record["query"] for record in done.records] == ["axial CT", "sagittal MR of the spine"]
    for record in done.records:
        assert record["found"] == search(record["query"], "-k", 3, "--json").answer


def test_people_are_told_which_text_is_answered(search):
    done = search("-", "-k", 1)
    assert done.code == 0
    first, columns, hit, second, *_ = done.out.splitlines()
    assert (first, second) == ("axial CT:", "sagittal MR of the spine:")
    assert columns.startswith("rank  score")
    assert hit.split()[0] == "1"
    assert done.err == "medclip is a research tool, not a medical device.\n"
    nothing = search("-", "--mode", "words", stdin="zebra\n")
    assert (nothing.code, nothing.out) == (0, "zebra: nothing matches\n")


def test_examples_ask_with_every_text(search, demo):
    (record,) = search("-", "--image", demo.scan, "-k", 2, "--json", stdin="axial CT").records
    assert record["found"] == search("axial CT", "--image", demo.scan, "-k", 2, "--json").answer


def test_a_page_holds_every_text(search, tmp_path):
    page = tmp_path / "page.html"
    assert search("-", "-k", 1, "--html", page).code == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("<article>") == 2
    assert text.count("sagittal MR of the spine</h2>") == 1


def test_a_text_that_cannot_be_asked_costs_only_itself(search):
    odd = os.fsdecode(b"\xff CT")
    done = search("-", "-k", 1, "--json", stdin=f"{odd}\naxial CT\n")
    assert done.code == 3
    failed, answered = done.records
    assert (failed["query"], "not UTF-8" in failed["error"]) == (odd, True)
    assert answered["query"] == "axial CT"
    assert done.err.count("\n") == 1
    assert search("-", "--json", stdin=odd).code == 1
    alone = search(odd)
    assert (alone.code, alone.out) == (2, "")


def test_no_text_is_nothing_to_do(search):
    done = search("-", "--json", stdin="\n")
    assert (done.code, done.out, done.err) == (0, "", "")
    done = search("-", stdin="\n")
    assert (done.code, done.out, done.err) == (0, "", "")
    done = search("  ")
    assert (done.code, done.out) == (2, "")
    assert "nothing to search for: give words, or --image FILE" in done.err
