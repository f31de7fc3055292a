"""`medclip evaluate` as a person runs it: every form of its answer."""

import csv
import io
import json

import medclip_cli
from medclip_cli.evaluation.run import evaluate


def test_every_form_of_the_answer(road, tmp_path):
    command = ("evaluate", road.corpus, "--collection", "phantoms", "--split", "val", "--no-meteor")
    first = road.medclip(*command, "--json", "--method", "nearest", "--by", "modality", "--resamples", "50")
    assert first.code == 0, first.err
    run = tmp_path / "run.json"
    run.write_text(first.out, encoding="utf-8")
    assert list(first.answer["by"]) == ["modality"]
    assert first.answer["published"] == [], "what was published of MedPix says nothing of phantoms"

    files = ("--html", tmp_path / "page.html", "--plots", tmp_path / "plots")
    second = road.medclip(*command, "--against", run, *files)
    assert second.code == 0, second.err
    assert max(map(len, second.out.splitlines())) <= 80, "the tables fit a narrow terminal"
    for shown in ("upper bound", "97.5 %", "chance"):
        assert shown in second.out
    assert "not a medical device" in second.err
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(list((tmp_path / "plots").iterdir())) == 10

    third = road.medclip(*command, "--csv")
    rows = list(csv.DictReader(io.StringIO(third.out)))
    nearest = {row["score"]: float(row["value"]) for row in rows if row["what"] == "nearest"}
    assert abs(nearest["cider"] - first.answer["captions"]["nearest"]["cider"]) < 1e-5


def test_a_program_gets_the_same_report_by_name_or_by_opened_collection(road, monkeypatch):
    monkeypatch.setenv("MEDCLIP_HOME", str(road.folder / "home"))
    options = {"methods": ["nearest"], "meteor": False, "resamples": 0}
    by_name = evaluate(road.corpus, "phantoms", **options).to_dict()
    with medclip_cli.open_collection("phantoms") as collection:
        assert evaluate(str(road.corpus), collection, **options).to_dict() == by_name
    assert json.loads(json.dumps(by_name))["collection"] == "phantoms"


def test_wrong_usage_is_exit_2(road):
    for option, named in ((("--method", "oracle"), "'oracle'"), (("--by", "age"), "'age'")):
        done = road.medclip("evaluate", road.corpus, "--collection", "phantoms", *option)
        assert done.code == 2
        assert named in done.err
