"""From pairs to a model folder that can be requested, whatever happens on the way."""

import json
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from encoders.bundle import ModelBundle
from encoders.errors import BundleError, DataError, DeviceMemoryError, DivergedError, OptionsError
from encoders.runtime import OnnxEncoder
from tests.trainers.drawn import Recorder, draw_pairs, small_model, small_options
from trainers import contrastive
from trainers.contrastive import train_encoders
from trainers.processes import Processes


@pytest.fixture
def pairs(tmp_path):
    return draw_pairs(tmp_path / "train", 16), draw_pairs(tmp_path / "val", 8, seed=1)


@pytest.fixture(autouse=True)
def small_towers(monkeypatch):
    """The loop is under test here, not the size of the towers."""
    monkeypatch.setattr(
        contrastive, "build_dual_encoder", lambda preset, *, vocab_size, **_: small_model(vocab_size)
    )


def picture_of(journal):
    return b"PNG of %d lines" % len(journal.splitlines())


def test_two_epochs_end_with_a_model_that_can_be_asked(pairs, tmp_path):
    out, listener = tmp_path / "model", Recorder()
    result = train_encoders(
        *pairs, out, small_options(), listener, provenance={"corpus": "drawn"}, draw_curves=picture_of
    )
    bundle = ModelBundle.open(out)
    encoder = OnnxEncoder(bundle)
    vectors = encoder.embed_texts([pair.text for pair in pairs[1]])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (result.bundle_path, result.epochs, result.interrupted, result.skipped) == (out, 2, False, 0)
    assert bundle.config.validation == result.validation.to_dict()
    assert bundle.config.trained_on["corpus"] == "drawn"
    assert bundle.config.trained_on["groups"] == 16
    lines = [json.loads(line) for line in bundle.read_verified("training.jsonl").splitlines()]
    assert [line["event"] for line in lines] == ["start", "epoch", "epoch", "end"]
    assert not (tmp_path / "model.training").exists()
    assert result.fingerprint == bundle.fingerprint
    card = bundle.read_verified("MODEL_CARD.md").decode()
    assert "16 pairs of 16 patients, cases or articles, of which 0 images could not be read" in card
    assert f"| image to text | {result.validation.image_to_text.r1:.3f} |" in card
    assert "Not a medical device" in card
    assert bundle.read_verified("curves.png") == b"PNG of 4 lines"


@pytest.fixture
def saved(monkeypatch):
    """Remember what would be written: exporting takes seconds, and is tested with the encoders."""
    calls = []

    def save(path, model, tokenizer, config, **options):
        calls.append((model, config, options))
        return SimpleNamespace(fingerprint="0123456789abcdef")

    monkeypatch.setattr(contrastive, "save_bundle", save)
    return calls


def interrupting(method):
    def interrupt(self, report):
        raise KeyboardInterrupt

    return type("Interrupting", (Recorder,), {method: interrupt})()


def test_an_interruption_keeps_the_best_epoch(pairs, tmp_path, saved):
    listener = interrupting("on_epoch")
    result = train_encoders(*pairs, tmp_path / "model", small_options(epochs=5), listener)
    assert (result.interrupted, result.best_epoch) == (True, 1)
    ((_, config, _),) = saved
    assert config.trained_on["interrupted"] is True
    assert listener.notes == ["interrupted in epoch 2: the best epoch so far, 1, is kept"]


@pytest.mark.parametrize("stop_at", ["on_start", "on_step"])
def test_an_interruption_before_any_epoch_keeps_the_weights_as_they_are(pairs, tmp_path, saved, stop_at):
    listener = interrupting(stop_at)
    result = train_encoders(*pairs, tmp_path / "model", small_options(epochs=5), listener)
    assert (result.interrupted, result.best_epoch) == (True, 0)
    ((_, config, _),) = saved
    assert config.validation == result.validation.to_dict()
    assert config.validation["pool"] == 8
    assert listener.notes == [
        "interrupted before an epoch was finished: the weights as they are now are kept"
    ]


def test_divergence_keeps_the_last_good_model(pairs, tmp_path, monkeypatch, saved):
    models = []

    def build(preset, *, vocab_size, **_):
        models.append(small_model(vocab_size))
        return models[0]

    monkeypatch.setattr(contrastive, "build_dual_encoder", build)
    out = tmp_path / "model"

    class PoisonAfterOne(Recorder):
        def on_epoch(self, report):
            with torch.no_grad():
                models[0].image_head.weight.fill_(float("nan"))

    expected = r"no longer a number at step 3.*; the model of epoch 1 is in .*model"
    with pytest.raises(DivergedError, match=expected):
        train_encoders(*pairs, out, small_options(), PoisonAfterOne())
    ((model, config, _),) = saved
    assert config.trained_on["best_epoch"] == 1
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_divergence_in_the_first_epoch_leaves_nothing(pairs, tmp_path, monkeypatch):
    def build(preset, *, vocab_size, **_):
        model = small_model(vocab_size)
        with torch.no_grad():
            model.image_head.weight.fill_(float("nan"))
        return model

    monkeypatch.setattr(contrastive, "build_dual_encoder", build)
    with pytest.raises(DivergedError, match="try a lower learning rate$"):
        train_encoders(*pairs, tmp_path / "model", small_options())
    assert not (tmp_path / "model").exists()


def test_a_gpu_too_small_for_the_model_itself_is_one_line(pairs, tmp_path, monkeypatch):
    def build(preset, **_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(contrastive, "build_dual_encoder", build)
    with pytest.raises(DeviceMemoryError, match="too small for the model: use a smaller image size"):
        train_encoders(*pairs, tmp_path / "model", small_options())


def test_too_few_pairs(pairs, tmp_path):
    for train, validation, message in ((1, 8, "1 training pairs"), (16, 0, "0 validation pairs")):
        with pytest.raises(DataError, match=message):
            train_encoders(pairs[0][:train], pairs[1][:validation], tmp_path / "model", small_options())


def test_an_existing_folder_is_refused_before_any_work(pairs, tmp_path, saved):
    out, listener = tmp_path / "model", Recorder()
    out.mkdir()
    (out / "config.json").write_text("{}")
    with pytest.raises(BundleError, match="exists"):
        train_encoders(*pairs, out, small_options(), listener)
    assert listener.starts == []
    train_encoders(*pairs, out, small_options(epochs=1, force=True), listener)
    assert saved[0][2]["force"] is True


def test_an_interrupted_run_is_not_thrown_away_unasked(pairs, tmp_path, saved):
    out = tmp_path / "model"
    train_encoders(*pairs, out, small_options(epochs=3), interrupting("on_step"))
    with pytest.raises(OptionsError, match=r"model\.training holds an interrupted run: resume it"):
        train_encoders(*pairs, out, small_options(epochs=3))
    result = train_encoders(*pairs, out, small_options(epochs=3, resume=True))
    assert (result.interrupted, result.epochs) == (False, 3)
    assert saved[-1][2]["force"] is True  # the model of the interrupted run may be replaced
    assert not (tmp_path / "model.training").exists()


def test_every_process_needs_two_pairs(pairs, tmp_path, monkeypatch):
    @contextmanager
    def eight_processes(device):
        yield Processes(0, 8)

    monkeypatch.setattr(contrastive, "joined_processes", eight_processes)
    with pytest.raises(OptionsError, match="batch_size is 8: 8 processes need at least two pairs each"):
        train_encoders(*pairs, tmp_path / "model", small_options(batch_size=8))
