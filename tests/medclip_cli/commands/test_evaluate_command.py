"""`medclip evaluate` as a person runs it: every form of its answer."""

import csv
import io
import json


def test_every_form_of_the_answer(road, tmp_path):
    evaluate = ("evaluate", road.corpus, "--collection", "phantoms", "--split", "val", "--no-meteor")
    first = road.medclip(*evaluate, "--json", "--method", "nearest", "--by", "modality", "--resamples", "50")
    assert first.code == 0, first.err
    run = tmp_path / "run.json"
    run.write_text(first.out, encoding="utf-8")
    assert list(first.answer["by"]) == ["modality"]
    assert first.answer["published"] == [], "what was published of MedPix says nothing of phantoms"

    files = ("--html", tmp_path / "page.html", "--plots", tmp_path / "plots")
    second = road.medclip(*evaluate, "--against", run, *files)
    assert second.code == 0, second.err
    assert max(map(len, second.out.splitlines())) <= 80, "the tables fit a narrow terminal"
    assert "upper bound" in second.out
    assert "not a medical device" in second.err
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(list((tmp_path / "plots").iterdir())) == 10

    third = road.medclip(*evaluate, "--csv")
    rows = list(csv.DictReader(io.StringIO(third.out)))
    nearest = {row["score"]: float(row["value"]) for row in rows if row["what"] == "nearest"}
    stored = json.loads(run.read_text(encoding="utf-8"))["captions"]["nearest"]
    assert abs(nearest["cider"] - stored["cider"]) < 1e-5


def test_wrong_usage_is_exit_2(road):
    for option, message in ((("--method", "oracle"), "unknown method"), (("--by", "age"), "unknown field")):
        done = road.medclip("evaluate", road.corpus, "--collection", "phantoms", *option)
        assert done.code == 2
        assert message in done.err
