"""What `medclip train decoder` hands to the trainers, prints and exits with."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medclip_cli import models
from medclip_cli.app import app
from medclip_cli.captioning.calibration import Calibration, MethodRecord
from medclip_cli.commands import train_confidence
from medclip_cli.corpora.corpus_folder import write_corpus
from medclip_cli.records import CaptionedImage

runner = CliRunner()
SCORES = {"bleu1": 0.5, "bleu4": 0.3, "rouge_l": 0.6, "cider": 0.7}


def record(number, split):
    return CaptionedImage(
        id=f"drawn/{number}",
        image=f"{number}.png",
        caption=f"scan {number}",
        captions=(f"scan {number}",),
        modality="CT",
        group=f"case {number}",
        split=split,
        source="drawn",
        licence="CC0",
    )


@pytest.fixture
def corpus(tmp_path):
    records = [record(number, "train" if number < 6 else "val") for number in range(8)]
    write_corpus(
        tmp_path / "corpus",
        name="drawn",
        image_root=tmp_path,
        caption_style="report",
        records=records,
        rejected=(),
        report={},
    )
    return tmp_path / "corpus"


@pytest.fixture
def training(monkeypatch):
    """What was asked of the trainers, how it shall end, and which corpora were measured."""
    asked, outcome, measured = [], {}, []

    def train(train, validation, image_path, model, request, listener, *, provenance):
        asked.append((len(train), len(validation), request, provenance))
        ended = {"best_epoch": 3, "epochs": 5, "interrupted": False, "skipped": 0} | outcome
        return models.TrainedDecoder(**ended, seconds=1.5, scores=SCORES)

    def measure(corpus, model):
        measured.append(corpus.name)
        return Calibration(20, 0.5, {"generate": MethodRecord(SCORES)})

    monkeypatch.setattr(models, "train_decoder", train)
    monkeypatch.setattr(train_confidence, "measure", measure)
    return asked, outcome, measured


def invoke(corpus, *arguments):
    return runner.invoke(app, ["train", "decoder", str(corpus), "--model", "model", *arguments])


def test_options_reach_the_trainers(corpus, training):
    result = invoke(
        corpus, "--decoder", "lstm", "--resume", "--precision", "fp32", "--schedule", "plateau",
        "--patience", "4", "--checkpoint-steps", "50", "--dropout", "0.1",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    ((train, validation, request, provenance),) = training[0]
    assert (train, validation) == (6, 2)
    given = {name: value for name, value in request.recipe.items() if value is not None}
    assert given == {
        "decoder": "lstm",
        "retrieve": 0,
        "resume": True,
        "force": False,
        "precision": "fp32",
        "schedule": "plateau",
        "patience": 4,
        "checkpoint_steps": 50,
        "dropout": 0.1,
        "seed": 0,
        "device": "auto",
    }
    # A calibration that speaks of the decoder before must not outlive it.
    assert request.outdated == ("captioning.json",)
    assert request.score(["a b"], [["a b"]])["cider"] >= 0
    assert provenance == {"corpus": "drawn", "caption_style": "report"}


@pytest.mark.parametrize(
    ("outcome", "code"), [({}, 0), ({"skipped": 2}, 3), ({"interrupted": True, "skipped": 2}, 130)]
)
def test_the_exit_code_tells_how_it_ended(corpus, training, outcome, code):
    training[1].update(outcome)
    result = invoke(corpus, "--json")
    assert result.exit_code == code
    answer = json.loads(result.stdout)
    assert (answer["best_epoch"], answer["captioning"]["best_method"]) == (3, "generate")
    assert ("--resume goes on" in result.stderr) == (code == 130)


def test_a_run_without_a_finished_epoch_leaves_the_model_unmeasured(corpus, training):
    training[1].update({"best_epoch": 0, "epochs": 0, "interrupted": True})
    result = invoke(corpus, "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout)["captioning"] is None
    assert training[2] == []


def test_only_the_first_process_measures_and_prints(corpus, training, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    result = invoke(corpus, "--json")
    assert (result.exit_code, result.stdout, result.stderr, training[2]) == (0, "", "", [])


def test_a_corpus_without_val_images_is_wrong_usage(tmp_path, training):
    write_corpus(
        tmp_path / "corpus",
        name="drawn",
        image_root=tmp_path,
        caption_style="report",
        records=[record(0, "train")],
        rejected=(),
        report={},
    )
    result = invoke(tmp_path / "corpus")
    assert result.exit_code == 2
    assert "needs images in its train and val splits" in " ".join(result.stderr.split())


def test_a_folder_of_images_will_do(tmp_path, training):
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 255, (48, 48), dtype=np.uint8)
        Image.fromarray(pixels).save(scans / f"{number}.png")
        (scans / f"{number}.txt").write_text(f"scan {number}")
    result = invoke(scans)
    assert result.exit_code == 0, result.stderr
    ((train, validation, _, provenance),) = training[0]
    assert train + validation < 12 and validation
    assert provenance["corpus"].startswith("scans-")
