"""`medclip.score`, and `medclip score` as a person runs it."""

import io
import json
import subprocess
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from medclip_cli.app import app
from medclip_cli.errors import ScoringError, UsageError
from medclip_cli.scoring import meteor, plugins
from medclip_cli.scoring.score import score
from tests.medclip_cli.scoring.test_golden import NAMES


@pytest.fixture(autouse=True)
def no_meteor(monkeypatch):
    """METEOR takes seconds to start, and has tests of its own."""
    monkeypatch.setattr(meteor, "find_meteor", lambda: None)


RECORDS = [
    {"id": "a", "prediction": "a mass in the left lung", "references": ["a mass in the left lung"]},
    {"id": "b", "prediction": "", "references": ["no finding", "normal"]},
    {"id": "c", "prediction": "a fracture", "references": ["a fracture of the hip"]},
]


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def predictions(tmp_path):
    return write(tmp_path / "predictions.jsonl", RECORDS)


def run(*arguments, **options):
    return CliRunner().invoke(app, ["score", *map(str, arguments)], **options)


def test_equal_captions_score_equally_however_they_are_given(predictions):
    captions, references = [r["prediction"] for r in RECORDS], [r["references"] for r in RECORDS]
    ids = [record["id"] for record in RECORDS]
    by_id = dict(zip(ids, captions, strict=True)), dict(zip(ids, references, strict=True))
    table = pd.DataFrame(RECORDS)
    reports = [
        score(predictions),
        score(str(predictions), predictions),
        score(io.BytesIO(predictions.read_bytes())),
        score(RECORDS),
        score(table),
        score(table[["id", "prediction"]], by_id[1]),
        score(captions, references),
        score(*by_id),
    ]
    assert len({json.dumps(report.to_dict()) for report in reports}) == 1
    assert reports[6].items_to_pandas().index.tolist() == ["0", "1", "2"]
    assert score(["left"], ["left"], resamples=0).scores["bleu1"] == pytest.approx(1.0)


def test_the_report_as_tables():
    report = score(RECORDS, resamples=50)
    summary = report.to_pandas()
    assert summary.loc["rouge_l", "value"] == report.scores["rouge_l"]
    assert (summary["low"] <= summary["value"]).all()
    items = report.items_to_pandas()
    assert items.loc["b"].max() == pytest.approx(0.0, abs=1e-6)
    assert items["rouge_l"].mean() == pytest.approx(report.scores["rouge_l"])
    assert "CIDEr-D" in report._repr_html_()


def test_lists_must_pair_up_and_resamples_be_a_number():
    with pytest.raises(ScoringError, match="2 predictions but 1"):
        score(["a", "b"], ["a"])
    with pytest.raises(UsageError, match="resamples -1"):
        score(["a"], ["a"], resamples=-1)


def test_findings_of_ones_own():
    report = score(["a glioma"], ["an astrocytoma"], findings={"glioma": ["astrocytoma"]})
    assert report.clinical.findings.exact_match == 1.0


def test_json_has_the_documented_shape(predictions):
    done = run(predictions, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert list(report) == ["n", "scores", "intervals", "variants", "unmatched", "empty_predictions"]
    assert list(report["scores"]) == [
        *("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "rouge_l_p", "rouge_l_r", "rouge_l_f1", "cider"),
    ]
    assert report["intervals"].keys() == report["scores"].keys()
    assert report["variants"]["rouge_l"] == "coco beta=1.2"
    assert (report["n"], report["unmatched"], report["empty_predictions"]) == (3, [], 1)
    assert "1 prediction" in done.stderr
    assert "medclip-cli[meteor]" in done.stderr


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.jsonl", "predictions.jsonl"]
    done = run(predictions, "--per-item", tmp_path / "absent" / "items.jsonl")
    assert done.exit_code == 1
    assert "absent/items.jsonl" in done.stderr


def test_unmatched_items_are_named_and_exit_3(predictions, tmp_path):
    more = "".join(json.dumps({"id": f"x{i}", "prediction": "y"}) + "\n" for i in range(7))
    done = run("-", "--json", input=predictions.read_text() + more)
    assert done.exit_code == 3
    assert json.loads(done.stdout)["unmatched"] == [f"x{i}" for i in range(7)]
    assert "x0, x1, x2, x3, x4 and 2 more" in done.stderr

    truth = write(tmp_path / "truth.jsonl", [{"id": i, "references": ["a mass"]} for i in "abz"])
    guess = write(tmp_path / "guess.jsonl", [{"id": i, "prediction": "a mass"} for i in "abx"])
    done = run(guess, "--references", truth, "--json")
    assert done.exit_code == 3
    report = json.loads(done.stdout)
    assert (report["n"], report["unmatched"]) == (2, ["x", "z"])


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (("absent.jsonl",), 2, "absent.jsonl: no such file"),
        ((), 1, "fewer.jsonl has no prediction for 2"),
        (("--meteor",), 1, "pip install 'medclip-cli[meteor]'"),
        (("--scorer", "bleurt"), 2, "'bleurt'"),
    ],
)
def test_what_cannot_be_scored_is_one_line(predictions, tmp_path, options, code, named):
    fewer = write(tmp_path / "fewer.jsonl", [{"id": "a", "prediction": "x"}])
    arguments = options if options[:1] == ("absent.jsonl",) else (predictions, "--against", fewer, *options)
    done = run(*arguments)
    assert (done.exit_code, len(done.stderr.strip().splitlines())) == (code, 1)
    assert named in done.stderr


def test_the_tables(predictions, tmp_path):
    worse = write(tmp_path / "worse.jsonl", [{"id": i, "prediction": "x"} for i in "cba"])
    words = tmp_path / "findings.txt"
    words.write_text("mass\n")
    done = run(predictions, "--against", worse, "--resamples", "9", "--findings", words, "--tokenize", "13a")
    assert done.exit_code == 0
    for shown in ("13a", "CIDEr-D", "coco beta=1.2", "difference", "region", "exact match: 1.000"):
        assert shown in done.stdout
    assert "difference" not in run(predictions, "--resamples", "0", "--no-meteor").stdout


def test_two_systems_are_compared_in_pairs(predictions, tmp_path):
    worse = write(tmp_path / "worse.jsonl", [{"id": i, "prediction": "x"} for i in "cba"])
    report = json.loads(run(predictions, "--against", worse, "--json").stdout)
    assert report["against"]["name"] == "worse.jsonl"
    assert report["against"]["scores"]["rouge_l"] == 0.0
    found = report["against"]["differences"]["rouge_l"]
    assert found["difference"] == pytest.approx(report["scores"]["rouge_l"], abs=1e-6)
    assert 0 < found["p"] <= 1


def test_clinical_scores(predictions):
    report = json.loads(run(predictions, "--clinical", "--json").stdout)
    assert report["clinical"]["form"] == "sentences"
    assert report["clinical"]["findings"]["labels"]["fracture"]["f1"] == 1.0


def test_scorers_of_other_packages(predictions, monkeypatch):
    monkeypatch.setattr(plugins, "load_scorers", lambda names: {"length": lambda p, r: [1, 2, 3]})
    report = json.loads(run(predictions, "--scorer", "length", "--json").stdout)
    assert report["scores"]["length"] == 2.0
    assert report["variants"]["length"] == "length"
    assert report["intervals"]["length"][0] < 2 < report["intervals"]["length"][1]


def test_scoring_stays_light(predictions):
    code = (
        "import sys; from medclip_cli.commands.score import score\n"
        f"score({str(predictions)!r}, as_json=True)\n"
        "heavy = {'torch', 'torchvision', 'transformers', 'qdrant_client', 'pandas', 'scipy', 'matplotlib'}\n"
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
