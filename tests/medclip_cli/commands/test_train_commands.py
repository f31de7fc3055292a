"""What `medclip train` and the functions under it hand to the trainers, return, print and exit with."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from encoders.retrieval import DirectionRecall, RetrievalRecall
from medclip_cli import training
from medclip_cli.app import app
from medclip_cli.captioning.calibration import Calibration, MethodRecord
from medclip_cli.corpora.corpus_folder import Corpus, write_corpus
from medclip_cli.errors import CorpusError, ModelError, UsageError
from medclip_cli.records import CaptionedImage
from tests.medclip_cli.schemas import check
from trainers.captioning import JOURNAL, CaptioningResult
from trainers.contrastive import TrainingResult

runner = CliRunner()
WAY = DirectionRecall(r1=0.25, r5=0.5, r10=0.75, median_rank=4.0)
SCORES = {"bleu1": 0.5, "bleu4": 0.3, "rouge_l": 0.6, "cider": 0.7}


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


def write(folder, records):
    for row in records:
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(folder / row.image)
    facts = {"name": "drawn", "image_root": folder, "caption_style": "report", "rejected": (), "report": {}}
    write_corpus(folder / "corpus", records=records, **facts)
    return folder / "corpus"


@pytest.fixture
def corpus(tmp_path):
    return write(tmp_path, [record(number, "train" if number < 6 else "val") for number in range(8)])


class Fit:
    """In place of the trainers: remembers what it got, and ends as told."""

    def __init__(self):
        self.calls, self.outcome, self.measured, self.added = [], {}, [], []

    def encoders(self, train, validation, out, options, listener, *, provenance, draw_curves):
        self.calls.append((train, validation, options, provenance))
        ended = {"best_epoch": 3, "interrupted": False, "epochs": 5, "skipped": 0} | self.outcome
        recall = RetrievalRecall(8, WAY, WAY)
        return TrainingResult(out, "0123456789abcdef", validation=recall, seconds=1.5, **ended)

    def decoder(self, train, validation, bundle, options, score, listener, *, provenance):
        self.calls.append((train, validation, options, provenance))
        assert score(["a b"], [["a b"]])["cider"] >= 0
        ended = {"best_epoch": 3, "interrupted": False, "epochs": 5, "skipped": 0} | self.outcome
        files = {"decoder.json": b"{}", JOURNAL: b""} if ended["best_epoch"] else {}
        return CaptioningResult(files, scores=SCORES, seconds=1.5, **ended)

    def measure(self, corpus, model, *, on_progress):
        self.measured.append((corpus.name, model))
        if not corpus.split("val"):
            raise CorpusError("confidence is measured on val images")
        return Calibration(20, 0.5, {"consensus": MethodRecord(SCORES)})


@pytest.fixture
def fit(monkeypatch):
    fake = Fit()
    monkeypatch.setattr("trainers.contrastive.train_encoders", fake.encoders)
    monkeypatch.setattr("trainers.captioning.train_decoder", fake.decoder)
    monkeypatch.setattr("trainers.captioning.forget_run", lambda bundle: None)
    monkeypatch.setattr("encoders.bundle.ModelBundle.open", lambda path: path)
    monkeypatch.setattr("encoders.bundle.add_files", lambda *what, remove: fake.added.append(remove))
    monkeypatch.setattr(training, "train_confidence", fake.measure)
    return fake


def invoke(what, corpus, *arguments):
    model = ("--out", "model") if what == "encoders" else ("--model", "model")
    return runner.invoke(app, ["train", what, str(corpus), *model, *arguments])


def test_options_reach_the_trainers_of_encoders_and_the_rest_is_the_presets(corpus, fit):
    said = (
        "--epochs",
        "7",
        "--freeze",
        "text",
        "--cache-chunk",
        "16",
        "--image-size",
        "64",
        "--minutes",
        "2",
    )
    sizes = ("--image-widths", "8, 16", "--image-blocks", "1,2")
    result = invoke("encoders", corpus, *said, *sizes)
    assert result.exit_code == 0, result.stderr
    ((train, validation, options, provenance),) = fit.calls
    assert (len(train), len(validation)) == (6, 2)
    assert (options.preset.name, options.preset.image_size) == ("tiny", 64)
    assert (options.preset.image_widths, options.preset.image_blocks) == ((8, 16), (1, 2))
    assert (options.epochs, options.freeze, options.cache_chunk) == (7, "text", 16)
    assert options.time_limit_minutes == 2
    assert (options.batch_size, options.label_agreement) == (128, 1.0)  # of the preset
    assert provenance == {"corpus": "drawn", "caption_style": "report"}


@pytest.mark.parametrize(
    ("said", "degrees"),
    [
        ((), 10.0),
        (("--augmentation",), 10.0),
        (("--no-augmentation",), 0.0),
        (("--augment-strength", "1.5"), 15.0),
        (("--augmentation", "--augment-strength", "2"), 20.0),
    ],
)
def test_augmentation_is_a_strength(corpus, fit, said, degrees):
    assert invoke("encoders", corpus, *said).exit_code == 0
    assert fit.calls[0][2].augmentation.rotation_degrees == degrees


@pytest.mark.parametrize(
    ("said", "named"),
    [
        (("--image-widths", "8;16"), "--image-widths is '8;16'"),
        (("--no-augmentation", "--augment-strength", "2"), "--augment-strength"),
        (("--epochs", "0"), "epochs is 0"),
        (("--preset", "huge"), "'huge'"),
    ],
)
def test_what_cannot_be_meant_is_one_line(corpus, fit, said, named):
    result = invoke("encoders", corpus, *said)
    assert (result.exit_code, result.stdout, fit.calls) == (2, "", [])
    assert named in " ".join(result.stderr.split())


def test_the_table_is_data_and_the_rest_is_said_on_stderr(corpus, fit):
    result = invoke("encoders", corpus)
    header, first, second = result.stdout.splitlines()
    assert header.split() == ["query", "pool", "R@1", "R@5", "R@10", "median", "rank"]
    assert first.split() == ["image", "to", "text", "8", "0.250", "0.500", "0.750", "4"]
    assert second.startswith("text to image")
    said = " ".join(result.stderr.split())
    assert "6 training pairs" in said
    assert f"Next: medclip index {corpus} --model model" in said
    assert fit.measured == [("drawn", Path("model"))]
    assert "consensus had the best CIDEr on the val images, 0.700" in said
    assert training.NO_CONFIDENCE in said  # no answer of this model was ever judged


@pytest.mark.parametrize("what", ["encoders", "decoder"])
@pytest.mark.parametrize(
    ("outcome", "code"), [({}, 0), ({"skipped": 2}, 3), ({"interrupted": True, "skipped": 2}, 130)]
)
def test_json_is_one_object_and_the_exit_code_tells_how_it_ended(corpus, fit, what, outcome, code):
    fit.outcome = outcome
    result = invoke(what, corpus, "--json")
    assert result.exit_code == code
    answer = json.loads(result.stdout)
    check(f"train-{what}", answer)
    assert (answer["best_epoch"], answer["skipped"]) == (3, outcome.get("skipped", 0))
    assert ("--resume continues" in result.stderr) == (code == 130)
    if what == "encoders":
        assert (answer["path"], answer["validation"]["image_to_text"]["r5"]) == ("model", 0.5)
        assert bool(fit.measured) == (code != 130)
    else:
        assert answer["captioning"]["best_method"] == "consensus"
        assert fit.added == [("captioning.json",)]  # it speaks of the decoder before


@pytest.mark.parametrize("what", ["encoders", "decoder"])
def test_only_the_first_process_prints(corpus, fit, monkeypatch, what):
    monkeypatch.setenv("RANK", "1")
    fit.outcome = {"best_epoch": 0}  # other processes get no files
    result = invoke(what, corpus, "--json")
    assert (result.exit_code, result.stdout, result.stderr, fit.measured) == (0, "", "", [])


def test_a_new_model_without_val_images_stays_as_it_is(tmp_path, fit):
    result = invoke("encoders", write(tmp_path, [record(0, "train"), record(1, "train")]))
    assert result.exit_code == 0
    assert "Nothing is known of the model's confidence" in result.stderr
    assert invoke("encoders", tmp_path / "corpus", "--no-confidence").exit_code == 0
    assert len(fit.measured) == 1


def test_options_reach_the_trainers_of_decoders(corpus, fit):
    result = invoke(
        "decoder", corpus, "--decoder", "lstm", "--resume", "--precision", "fp32", "--schedule", "plateau",
        "--patience", "4", "--checkpoint-steps", "50", "--dropout", "0.1",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    ((train, validation, options, provenance),) = fit.calls
    assert (len(train), len(validation), provenance["corpus"]) == (6, 2, "drawn")
    assert (options.decoder, options.resume, options.precision, options.schedule) == (
        "lstm",
        True,
        "fp32",
        "plateau",
    )
    assert (options.patience, options.checkpoint_steps, options.dropout) == (4, 50, 0.1)
    assert (options.width, options.epochs) == (128, 20)  # the defaults


def test_a_run_without_a_finished_epoch_leaves_the_model_unmeasured(corpus, fit):
    fit.outcome = {"best_epoch": 0, "epochs": 0, "interrupted": True}
    result = invoke("decoder", corpus, "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout)["captioning"] is None
    assert (fit.measured, fit.added) == ([], [])


def test_a_corpus_without_val_images_is_wrong_usage(tmp_path, fit):
    result = invoke("decoder", write(tmp_path, [record(0, "train")]))
    assert result.exit_code == 2
    assert "train and val splits" in " ".join(result.stderr.split())


def test_the_library_takes_a_corpus_and_reports_to_its_caller(corpus, fit, caplog):
    heard = []

    def train(*what, **more):
        listener = what[4]
        for number in range(12):
            listener.on_skip(f"pair {number}", Path(f"{number}.png"), "gone")
        listener.on_features(4, 8)
        listener.on_note("a note")
        return Fit.encoders(fit, *what, **more)

    with pytest.MonkeyPatch.context() as patch, caplog.at_level("INFO", logger="medclip"):
        patch.setattr("trainers.contrastive.train_encoders", train)
        trained = training.train_encoders(Corpus.open(corpus), "model", epochs=2, on_progress=heard.append)
    assert (trained.path, trained.calibration.best_method) == (Path("model"), "consensus")
    assert [(report.stage, report.done, report.total) for report in heard] == [("Embedding", 4, 8)]
    assert sum("is left out" in message for message in caplog.messages) == training.SHOWN_SKIPS
    assert "a note" in caplog.messages


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"epochs": 0}, UsageError, "epochs is 0"),
        ({"preset": "huge"}, UsageError, "'huge'"),
        ({"from_scratch": True}, ModelError, "1 training pairs"),
    ],
)
def test_errors_of_the_trainers_are_the_librarys(tmp_path, given, error, message):
    corpus = write(tmp_path, [record(0, "train"), record(1, "val"), record(2, "val")])
    with pytest.raises(error, match=message):
        training.train_encoders(corpus, tmp_path / "model", **given)


def test_a_record_becomes_a_pair_with_its_labels():
    pair = training.training_pair(record(3, "train"), Path("3.png"))
    assert (pair.id, pair.text, pair.group) == ("drawn/3", "scan 3", "case 3")
    assert pair.other_texts == ("another view",)
    assert pair.labels == ("modality=CT", "view=Axial", "finding=edema")


def test_several_processes_do_not_clean_one_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "scan.png")
    with pytest.raises(CorpusError, match="several processes need one made by medclip clean"):
        training.train_encoders(tmp_path, tmp_path / "model")
