"""What `medclip train encoders` hands to the trainers, prints and exits with."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medclip_cli import training
from medclip_cli.app import app
from medclip_cli.captioning.calibration import Calibration, MethodRecord
from medclip_cli.commands import train_confidence
from medclip_cli.corpora.corpus_folder import Corpus, write_corpus
from medclip_cli.errors import CorpusError, ModelError, UsageError
from medclip_cli.records import CaptionedImage

runner = CliRunner()
WAY = {"r1": 0.25, "r5": 0.5, "r10": 0.75, "median_rank": 4.0}
SCORES = {"pool": 8, "image_to_text": WAY, "text_to_image": WAY, "mean_recall": 0.5}


def record(number, split):
    return CaptionedImage(
        id=f"drawn/{number}",
        image=f"{number}.png",
        caption=f"scan {number}",
        captions=(f"scan {number}", "another view"),
        modality="CT",
        view="Axial",
        group=f"case {number}",
        split=split,
        source="drawn",
        licence="CC0",
        findings=("edema",),
    )


@pytest.fixture
def corpus(tmp_path):
    records = [record(number, "train" if number < 6 else "val") for number in range(8)]
    for row in records:
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / row.image)
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
def trained(monkeypatch):
    calls, measured = [], []

    def measure(corpus, model):
        measured.append((corpus.name, model))
        if not corpus.split("val"):
            raise CorpusError("confidence is measured on val images")
        return Calibration(20, 0.5, {"consensus": MethodRecord({"cider": 0.5})})

    def train(train, validation, image_path, out, request, listener, *, provenance):
        calls.append((train, validation, request, provenance))
        outcome = {"interrupted": False, "skipped": 0} | train_outcome
        return training.TrainedModel(out, "0123456789abcdef", 3, 5, seconds=1.5, validation=SCORES, **outcome)

    train_outcome: dict[str, object] = {}
    monkeypatch.setattr(training, "train_encoders", train)
    monkeypatch.setattr(train_confidence, "measure", measure)
    return calls, train_outcome, measured


def invoke(corpus, *arguments):
    return runner.invoke(app, ["train", "encoders", str(corpus), "--out", "model", *arguments])


def test_options_reach_the_trainers_and_the_rest_is_left_to_the_preset(corpus, trained):
    result = invoke(corpus, "--epochs", "7", "--freeze", "text", "--cache-chunk", "16", "--image-size", "64")
    assert result.exit_code == 0, result.stderr
    ((train, validation, request, provenance),) = trained[0]
    assert (len(train), len(validation)) == (6, 2)
    assert request.preset == "tiny"
    assert request.shape["image_size"] == 64
    asked = {name: value for name, value in request.recipe.items() if value is not None}
    assert asked["epochs"] == 7
    assert (asked["freeze"], asked["cache_chunk"]) == ("text", 16)
    assert not {"batch_size", "learning_rate", "loss", "patience", "label_agreement"} & asked.keys()
    assert provenance == {"corpus": "drawn", "caption_style": "report"}


@pytest.mark.parametrize(
    ("said", "strength"),
    [
        ((), None),
        (("--augmentation",), 1.0),
        (("--no-augmentation",), 0.0),
        (("--augment-strength", "1.5"), 1.5),
        (("--augmentation", "--augment-strength", "2"), 2.0),
    ],
)
def test_augmentation_is_a_strength(corpus, trained, said, strength):
    assert invoke(corpus, *said).exit_code == 0
    assert trained[0][0][2].augmentation == strength


def test_the_sizes_of_the_stages_are_lists(corpus, trained):
    assert invoke(corpus, "--image-widths", "8, 16", "--image-blocks", "1,2").exit_code == 0
    shape = trained[0][0][2].shape
    assert (shape["image_widths"], shape["image_blocks"]) == ((8, 16), (1, 2))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (("--image-widths", "8;16"), "--image-widths is '8;16': give whole numbers with commas"),
        (("--no-augmentation", "--augment-strength", "2"), "contradict each other: leave one out"),
    ],
)
def test_what_cannot_be_meant_is_one_line(corpus, trained, said, message):
    result = invoke(corpus, *said)
    assert (result.exit_code, result.stdout, trained[0]) == (2, "", [])
    assert message in " ".join(result.stderr.split())


def test_the_table_is_data_and_the_rest_is_said_on_stderr(corpus, trained):
    result = invoke(corpus)
    header, first, second = result.stdout.splitlines()
    assert header.split() == ["query", "pool", "R@1", "R@5", "R@10", "median", "rank"]
    assert first.split() == ["image", "to", "text", "8", "0.250", "0.500", "0.750", "4"]
    assert second.startswith("text to image")
    assert "6 training pairs" in result.stderr
    assert f"Next: medclip index {corpus} --model model" in " ".join(result.stderr.split())
    assert "Answers come without confidence" in result.stderr  # the corpus of this model was never judged


@pytest.mark.parametrize(
    ("outcome", "code"), [({}, 0), ({"skipped": 2}, 3), ({"interrupted": True, "skipped": 2}, 130)]
)
def test_json_is_one_object_and_the_exit_code_tells_how_it_ended(corpus, trained, outcome, code):
    trained[1].update(outcome)
    result = invoke(corpus, "--json")
    assert result.exit_code == code
    answer = json.loads(result.stdout)
    assert answer["validation"]["image_to_text"]["r5"] == 0.5
    assert (answer["path"], answer["best_epoch"]) == ("model", 3)
    assert answer["skipped"] == outcome.get("skipped", 0)


def test_only_the_first_process_prints(corpus, trained, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    result = invoke(corpus, "--json")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert trained[2] == []


def test_a_new_model_is_measured(corpus, trained):
    result = invoke(corpus)
    assert trained[2] == [("drawn", Path("model"))]
    assert "consensus had the best CIDEr on the val images, 0.500" in " ".join(result.stderr.split())


def test_a_new_model_without_val_images_is_left_as_it_is(corpus, trained):
    opened = Corpus.open(corpus)
    write_corpus(
        corpus,
        name="drawn",
        image_root=opened.image_root,
        caption_style="report",
        records=opened.split("train"),
        rejected=(),
        report={},
        force=True,
    )
    result = invoke(corpus)
    assert result.exit_code == 0
    assert "Nothing is known of the model's confidence" in result.stderr


@pytest.mark.parametrize("said", ["--no-confidence", "interrupted"])
def test_a_model_is_not_measured_when_nobody_waits_for_it(corpus, trained, said):
    trained[1].update({"interrupted": said == "interrupted"})
    invoke(corpus, *([said] if said.startswith("--") else []))
    assert trained[2] == []


@pytest.mark.parametrize(
    ("recipe", "preset", "error", "message"),
    [
        ({"epochs": 0}, "tiny", UsageError, "--epochs is 0: give at least 1"),
        ({}, "huge", UsageError, "unknown preset 'huge'"),
        ({"from_scratch": True}, "tiny", ModelError, "1 training pairs"),
    ],
)
def test_errors_of_the_trainers_become_one_line(tmp_path, recipe, preset, error, message):
    request = training.TrainingRequest(preset, {}, recipe)
    with pytest.raises(error, match=message):
        training.train_encoders(
            [record(0, "train")], [record(1, "val")] * 2, lambda row: tmp_path / row.image,
            tmp_path / "model", request, listener=None, provenance={},
        )  # fmt: skip


def test_a_record_becomes_a_pair_with_its_labels():
    pair = training.training_pair(record(3, "train"), Path("3.png"))
    assert (pair.id, pair.text, pair.group, pair.other_texts) == (
        "drawn/3",
        "scan 3",
        "case 3",
        ("another view",),
    )
    assert pair.labels == ("modality=CT", "view=Axial", "finding=edema")


def test_several_processes_do_not_clean_one_folder(road, tmp_path):
    done = road.medclip("train", "encoders", road.raw, "--out", tmp_path / "m", env={"WORLD_SIZE": "2"})
    assert done.code == 1
    assert "is no corpus: several processes need one made by medclip clean first" in done.err
