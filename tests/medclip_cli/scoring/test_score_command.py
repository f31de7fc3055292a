"""`medclip score`, as a person runs it."""

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from medclip_cli.commands.score import score
from medclip_cli.errors import MedclipError
from medclip_cli.scoring import meteor, score_run
from tests.medclip_cli.scoring.test_golden import NAMES


@pytest.fixture(autouse=True)
def no_meteor(monkeypatch):
    """METEOR takes seconds to start, and has tests of its own."""
    monkeypatch.setattr(meteor, "find_meteor", lambda: None)


APP = typer.Typer()
APP.command()(score)

RECORDS = [
    {"id": "a", "prediction": "a mass in the left lung", "references": ["a mass in the left lung"]},
    {"id": "b", "prediction": "", "references": ["no finding", "normal"]},
    {"id": "c", "prediction": "a fracture", "references": ["a fracture of the hip"]},
]


@pytest.fixture
def predictions(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), encoding="utf-8")
    return path


def run(*arguments, **options):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], **options)


def test_json_has_the_documented_shape(predictions):
    done = run(predictions, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert list(report) == ["n", "scores", "intervals", "variants", "unmatched", "empty_predictions"]
    assert report["n"] == 3
    assert list(report["scores"]) == [
        *("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "rouge_l_p", "rouge_l_r", "rouge_l_f1", "cider"),
    ]
    assert report["intervals"].keys() == report["scores"].keys()
    assert report["variants"]["rouge_l"] == "coco beta=1.2"
    assert (report["unmatched"], report["empty_predictions"]) == ([], 1)
    assert "1 predictions are empty" in done.stderr
    assert "METEOR is left out: it needs pip install" in done.stderr


def test_table_names_the_variants(predictions):
    done = run(predictions, "--resamples", "0")
    assert done.exit_code == 0
    assert "CIDEr-D" in done.stdout
    assert "coco beta=1.2" in done.stdout


def test_standard_input(predictions):
    done = run("-", "--json", "--quiet", input=predictions.read_bytes())
    assert json.loads(done.stdout)["n"] == 3
    assert done.stderr == ""


def test_per_item_scores(predictions, tmp_path):
    out = tmp_path / "items.jsonl"
    assert run(predictions, "--json", "--per-item", out).exit_code == 0
    items = [json.loads(line) for line in out.read_text().splitlines()]
    assert [item["id"] for item in items] == ["a", "b", "c"]
    assert items[0]["bleu4"] == pytest.approx(1.0)
    assert items[1]["rouge_l"] == 0.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.jsonl", "predictions.jsonl"]


def test_per_item_scores_that_cannot_be_written(predictions, tmp_path):
    done = run(predictions, "--per-item", tmp_path / "absent" / "items.jsonl")
    assert isinstance(done.exception, MedclipError)
    assert "cannot write" in str(done.exception)


def test_unmatched_items_are_named_and_exit_3(predictions):
    more = "".join(json.dumps({"id": f"x{i}", "prediction": "y"}) + "\n" for i in range(7))
    done = run("-", "--json", input=predictions.read_text() + more)
    assert done.exit_code == 3
    assert json.loads(done.stdout)["unmatched"] == [f"x{i}" for i in range(7)]
    assert "7 items have no reference and were not scored: x0, x1, x2, x3, x4 and 2 more" in done.stderr


def test_no_such_file(tmp_path):
    done = run(tmp_path / "absent.jsonl")
    assert isinstance(done.exception, MedclipError)
    assert done.exception.exit_code == 2
    assert "no such file" in str(done.exception)


def test_tokenizer_is_chosen(predictions):
    report = json.loads(run(predictions, "--json", "--tokenize", "13a").stdout)
    assert report["variants"]["tokenizer"] == "13a"
    assert "tok:13a" in report["variants"]["bleu"]


def test_scoring_stays_light(predictions):
    code = (
        "import sys; from medclip_cli.commands.score import score\n"
        f"score({str(predictions)!r}, as_json=True)\n"
        "heavy = {'torch', 'torchvision', 'transformers', 'qdrant_client', 'pandas', 'scipy', 'matplotlib'}\n"
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_references_of_another_file_name_missing_and_extra(tmp_path):
    truth = write(tmp_path / "truth.jsonl", [{"id": i, "references": ["a mass"]} for i in "abz"])
    guess = write(tmp_path / "guess.jsonl", [{"id": i, "prediction": "a mass"} for i in "abx"])
    done = run(guess, "--references", truth, "--json")
    assert done.exit_code == 3
    report = json.loads(done.stdout)
    assert (report["n"], report["unmatched"]) == (2, ["x", "z"])
    assert "1 items have no reference and were not scored: x" in done.stderr
    assert "1 items have no prediction and were not scored: z" in done.stderr


def test_two_systems_are_compared_in_pairs(predictions, tmp_path):
    worse = write(tmp_path / "worse.jsonl", [{"id": i, "prediction": "x"} for i in "cba"])
    report = json.loads(run(predictions, "--against", worse, "--json").stdout)
    assert report["against"]["name"] == "worse.jsonl"
    assert report["against"]["scores"]["rouge_l"] == 0.0
    found = report["against"]["differences"]["rouge_l"]
    assert found["difference"] == pytest.approx(report["scores"]["rouge_l"], abs=1e-6)
    assert 0 < found["p"] <= 1
    assert "Compared with" not in run(predictions, "--against", worse, "--resamples", "9").stdout
    assert "difference" in run(predictions, "--against", worse, "--resamples", "9").stdout


def test_a_system_that_did_not_answer_all_cannot_be_compared(predictions, tmp_path):
    fewer = write(tmp_path / "fewer.jsonl", [{"id": "a", "prediction": "x"}])
    done = run(predictions, "--against", fewer)
    assert isinstance(done.exception, MedclipError)
    assert "fewer.jsonl has no prediction for 2 of the items (the first is 'b')" in str(done.exception)


def test_clinical_scores(predictions, tmp_path):
    report = json.loads(run(predictions, "--clinical", "--json").stdout)
    assert report["clinical"]["form"] == "sentences"
    assert report["clinical"]["findings"]["labels"]["fracture"]["f1"] == 1.0
    words = tmp_path / "findings.txt"
    words.write_text("mass\n")
    done = run(predictions, "--findings", words)
    assert "exact match: 1.000" in done.stdout
    assert "region" in done.stdout


def test_meteor_that_is_asked_for_must_be_there(predictions):
    done = run(predictions, "--meteor")
    assert isinstance(done.exception, MedclipError)
    assert "METEOR is not installed: pip install" in str(done.exception)
    assert "METEOR" not in run(predictions, "--no-meteor").stderr


def test_scorers_of_other_packages(predictions, monkeypatch):
    monkeypatch.setattr(score_run.plugins, "load_scorers", lambda names: {"length": lambda p, r: [1, 2, 3]})
    report = json.loads(run(predictions, "--scorer", "length", "--json").stdout)
    assert report["scores"]["length"] == 2.0
    assert report["variants"]["length"] == "length"
    assert report["intervals"]["length"][0] < 2 < report["intervals"]["length"][1]


@pytest.mark.parametrize("name", ["set_a", "set_c"])
def test_the_command_reproduces_the_golden_files(shared_dir, tmp_path, name):
    folder, out = shared_dir / "golden", tmp_path / "items.jsonl"
    done = run(folder / f"{name}.jsonl", "--json", "--resamples", "0", "--per-item", out)
    report = json.loads(done.stdout)
    expected = json.loads((folder / f"{name}.golden.json").read_text(encoding="utf-8"))
    items = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [item["id"] for item in items] == [item["id"] for item in expected["items"]]
    for theirs, ours in NAMES.items():
        assert report["scores"][ours] == pytest.approx(expected["corpus"][theirs], abs=1e-6), theirs
        for item, truth in zip(items, expected["items"], strict=True):
            assert item[ours] == pytest.approx(truth[theirs], abs=1e-6), (truth["id"], theirs)
