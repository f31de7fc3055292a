"""`medclip evaluate` as a person runs it: every form of its answer."""

import csv
import io
import json

import pytest
from typer.testing import CliRunner

import medclip_cli
from medclip_cli.app import app
from medclip_cli.evaluation.run import evaluate


@pytest.fixture
def run(demo, monkeypatch):
    """Run `medclip evaluate` on the corpus and the collection of the tests."""
    monkeypatch.setenv("MEDCLIP_HOME", str(demo.folder / "home"))

    def run(*options):
        command = ["evaluate", demo.corpus, "--collection", "phantoms", "--split", "val", *options]
        return CliRunner().invoke(app, [str(argument) for argument in command])

    return run


def test_every_form_of_the_answer(run, tmp_path):
    first = run("--no-meteor", "--json", "--method", "nearest", "--by", "modality", "--resamples", "50")
    assert first.exit_code == 0, first.stderr
    report = json.loads(first.stdout)
    (tmp_path / "run.json").write_text(first.stdout, encoding="utf-8")
    assert list(report["by"]) == ["modality"]
    assert report["published"] == [], "what was published of MedPix is not about phantoms"

    files = ("--html", tmp_path / "page.html", "--plots", tmp_path / "plots")
    second = run("--no-meteor", "--against", tmp_path / "run.json", *files)
    assert second.exit_code == 0, second.stderr
    assert max(map(len, second.stdout.splitlines())) <= 80, "the tables fit a narrow terminal"
    for shown in ("upper bound", "97.5 %", "chance"):
        assert shown in second.stdout
    assert "not a medical device" in second.stderr
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(list((tmp_path / "plots").iterdir())) == 10

    third = run("--no-meteor", "--csv")
    rows = list(csv.DictReader(io.StringIO(third.stdout)))
    nearest = {row["score"]: float(row["value"]) for row in rows if row["what"] == "nearest"}
    assert abs(nearest["cider"] - report["captions"]["nearest"]["cider"]) < 1e-5


def test_a_program_gets_the_same_report_by_name_or_by_opened_collection(demo, monkeypatch):
    monkeypatch.setenv("MEDCLIP_HOME", str(demo.folder / "home"))
    options = {"methods": ["nearest"], "meteor": False, "resamples": 0}
    by_name = evaluate(demo.corpus, "phantoms", **options).to_dict()
    with medclip_cli.open_collection("phantoms") as collection:
        assert evaluate(str(demo.corpus), collection, **options).to_dict() == by_name
    assert json.loads(json.dumps(by_name))["collection"] == "phantoms"


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (("--method", "oracle"), 2, "'oracle'"),
        (("--by", "age"), 2, "'age'"),
        (("--html", "absent/page.html"), 1, "absent/page.html"),
    ],
)
def test_wrong_usage(run, options, code, named):
    done = run(*options)
    assert done.exit_code == code
    assert named in done.stderr
