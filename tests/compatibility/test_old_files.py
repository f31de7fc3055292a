"""Models, corpora, collections, archives and runs that an older medclip made still open and answer alike."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.compatibility.make_data import SHAPE
from tests.medclip_cli.in_process import run_here

DATA = Path(__file__).parent / "data"
ANSWERS = json.loads((DATA / "answers.json").read_text(encoding="utf-8"))
IMAGE = "corpus/images/images/phantom0000.png"
ASKING = ("--collection", "rounded", "--model", "model")
COMMANDS = {
    "models show": ("models", "show", "model"),
    "corpus show": ("corpus", "show", "corpus"),
    "collections show": ("collections", "show", "rounded"),
    **{
        f"caption {method}": ("caption", IMAGE, "--method", method, *ASKING)
        for method in ("nearest", "consensus", "generate", "auto")
    },
    "search words": ("search", "coronal MR scan with a large lesion", *ASKING),
    "search image": ("search", "--image", IMAGE, "--where", "modality=CT", *ASKING),
    "evaluate": ("evaluate", "corpus", *ASKING, "--resamples", 50, "--no-meteor"),
    "score": ("score", "predictions.jsonl", "--resamples", 50, "--no-meteor"),
}
MADE_AT = "/tmp/olddata"  # collections know where corpus and model lie
# What says where and when, not what.
OF_A_MACHINE = {"path", "image_root", "model_path", "known_from", "created", "updated", "size_bytes", "files"}


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old") / "old"
    with tarfile.open(DATA / "old.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    for manifest in (folder / "home").glob("collections/*/collection.json"):
        manifest.write_text(manifest.read_text().replace(MADE_AT, str(folder)))
    return folder


@pytest.fixture
def old(unpacked, monkeypatch):
    """The old files, not to be written to, as the working folder."""
    monkeypatch.chdir(unpacked)
    monkeypatch.setenv("MEDCLIP_HOME", str(unpacked / "home"))
    return unpacked


@pytest.fixture
def copy(unpacked, tmp_path, monkeypatch):
    """Corpus, model, run and home in a folder of their own, to be written to."""
    for name in ("corpus", "model", "half.training", "home"):
        shutil.copytree(unpacked / name, tmp_path / name)
    for manifest in (tmp_path / "home").glob("collections/*/collection.json"):
        manifest.write_text(manifest.read_text().replace(str(unpacked), str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDCLIP_HOME", str(tmp_path / "home"))
    return tmp_path


def medclip(*arguments):
    """Run a command that must succeed; returns the JSON it prints."""
    done = run_here((*arguments, "--json"))
    assert done.code == 0, done.err
    return done.answer


def differences(now, then, at=""):
    """Yield where an answer lacks, or contradicts, what was said then; it may say more."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in then.keys() - OF_A_MACHINE:
            if key in now:
                yield from differences(now[key], then[key], f"{at}.{key}")
            else:
                yield f"{at}.{key} is gone"
    elif isinstance(then, list) and isinstance(now, list) and len(now) == len(then):
        for number, (one, other) in enumerate(zip(now, then, strict=True)):
            yield from differences(one, other, f"{at}[{number}]")
    elif isinstance(then, float) and isinstance(now, int | float):
        if now != pytest.approx(then, abs=2e-3):
            yield f"{at} is {now}, was {then}"
    elif now != then:
        yield f"{at} is {now!r}, was {then!r}"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_answers_are_those_of_then(old, name):
    assert list(differences(medclip(*COMMANDS[name]), ANSWERS[name])) == []


def test_a_collection_from_before_vectors_were_rounded_answers_alike(old):
    command = [word.replace("rounded", "whole") for word in COMMANDS["search image"]]
    assert list(differences(medclip(*command), ANSWERS["search image"])) == []


@pytest.mark.parametrize("name", ["rounded", "whole"])
def test_a_collection_is_sound(old, name):
    assert medclip("collections", "verify", name)["points"] == 40


def test_an_archive_is_imported_is_sound_and_answers_alike(old, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDCLIP_HOME", str(tmp_path))
    assert medclip("collections", "import", "rounded.medclip", "--name", "brought")["points"] == 40
    verified = run_here(("collections", "verify", "brought", "--json")).answer
    assert (verified["bad_vectors"], verified["damage"]) == ([], None)
    now = medclip("search", "coronal MR scan with a large lesion", "--model", "model")
    assert list(differences(now, ANSWERS["search words"])) == []


def test_indexing_again_adds_nothing(copy):
    done = medclip("index", "corpus", "--model", "model", "--collection", "rounded", "--split", "train")
    assert {name: done[name] for name in ("added", "changed", "unchanged")} == {
        "added": 0,
        "changed": 0,
        "unchanged": 40,
    }


def test_an_earlier_evaluation_is_compared_with(old):
    done = medclip(
        "evaluate", "corpus", *ASKING, "--resamples", 50, "--no-meteor", "--against", "evaluation.json"
    )
    assert done["against"]["differences"]


def test_confidence_is_measured_anew(copy):
    then = json.loads((copy / "model" / "captioning.json").read_text())
    now = medclip("train", "confidence", "corpus", "--model", "model")
    assert list(differences(now["methods"], then["methods"])) == []
    assert now["best_method"] == "nearest"


def test_a_decoder_is_trained_onto_an_old_model(copy):
    options = ("--width", 32, "--layers", 1, "--epochs", 1)
    assert medclip("train", "decoder", "corpus", "--model", "model", *options)["epochs"] == 1
    assert medclip("models", "show", "model")["fingerprint"] == ANSWERS["models show"]["fingerprint"]


def test_an_interrupted_run_goes_on(copy):
    options = ("--epochs", 4, "--checkpoint-steps", 1, "--no-confidence", "--resume")
    assert medclip("train", "encoders", "corpus", "--out", "half", *SHAPE, *options)["epochs"] == 4


def test_the_preset_seed_is_called_original_now(copy):
    config = copy / "model" / "config.json"
    content = json.loads(config.read_text()) | {"preset": "seed"}
    config.write_text(json.dumps(content))
    assert medclip("models", "show", "model")["preset"] == "original"
