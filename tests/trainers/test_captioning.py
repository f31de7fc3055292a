import json
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from encoders.bundle import ModelBundle, add_files
from encoders.captioner import DECODER_WEIGHTS_FILE, OnnxCaptioner, retrieved_ids
from encoders.decoder_export import load_decoder
from encoders.errors import DataError, DeviceMemoryError, DivergedError, OptionsError
from encoders.generation import GenerationOptions
from tests.trainers.drawn_captions import Watcher, share_right, small_options
from trainers.caption_data import batches_by_length, nearest_rows
from trainers.caption_evaluation import generate_with_torch
from trainers.caption_features import GridCache, Views
from trainers.captioning import JOURNAL, forget_run, train_decoder
from trainers.device import choose_placement
from trainers.options import CaptioningOptions
from trainers.run_state import Throughput

EPOCHS = 30


@pytest.fixture
def drawn(drawn_splits):
    return drawn_splits.train, drawn_splits.validation


def weights_alone(decoder, encoder, codec, config, image_size):
    return {"decoder.json": config.to_json().encode(), DECODER_WEIGHTS_FILE: save(decoder.state_dict())}


@pytest.fixture
def no_export(monkeypatch):
    """Leave the graphs out: exporting takes longer than training here, and other tests check it."""
    monkeypatch.setattr("trainers.captioning.decoder_files", weights_alone)


@pytest.fixture(scope="module", params=["lstm", "transformer"])
def trained(request, drawn_splits, drawn_model):
    forget_run(drawn_model)
    name = request.param
    retrieve = 0 if name == "lstm" else 2
    options = small_options(
        decoder=name,
        retrieve=retrieve,
        retrieved_tokens=10,
        epochs=EPOCHS,
        learning_rate=5e-3,
        label_smoothing=0.0,
    )
    watcher = Watcher()
    splits = drawn_splits.train, drawn_splits.validation
    with pytest.MonkeyPatch.context() as patch:
        if name == "lstm":
            patch.setattr("trainers.captioning.decoder_files", weights_alone)
        return train_decoder(*splits, drawn_model, options, share_right, watcher), watcher


def test_a_decoder_learns_what_the_captions_tell_apart(trained):
    result, watcher = trained
    losses = [report.loss for report in watcher.epochs]
    assert losses[-1] < 0.7 * losses[0]
    assert result.scores["sense"] > 0.5  # of captions that are any of the eight, word for word
    assert result.scores["cider"] == max(report.scores["cider"] for report in watcher.epochs)
    assert [report.epoch for report in watcher.epochs if report.is_best][-1] == result.best_epoch
    assert sum(images for images, _ in watcher.seen) == watcher.seen[0][1] == 44
    (start,) = watcher.starts
    assert (start.train_pairs, start.validation_pairs, start.device) == (32, 12, "cpu")
    assert [report.step for report in watcher.steps] == list(range(1, start.total_steps + 1))


def test_the_run_is_told_beside_its_decoder(trained):
    result, watcher = trained
    lines = [json.loads(line) for line in result.files[JOURNAL].splitlines()]
    assert [line["event"] for line in lines] == ["start", *["epoch"] * EPOCHS, "end"]
    assert [line["scores"] for line in lines[1:-1]] == [report.scores for report in watcher.epochs]


@pytest.mark.parametrize("trained", ["transformer"], indirect=True)
def test_onnx_writes_the_same_tokens_as_torch(trained, drawn, bundle, tmp_path):
    result, _ = trained
    import shutil

    shutil.copytree(bundle.path, tmp_path / "model")
    whole = add_files(ModelBundle.open(tmp_path / "model"), result.files)
    captioner = OnnxCaptioner(whole)
    decoder = load_decoder(captioner.config, whole.read_verified(DECODER_WEIGHTS_FILE))
    cells, channels = decoder.architecture["grid_cells"], decoder.architecture["grid_dim"]
    grids = np.random.default_rng(0).normal(size=(40, cells, channels)).astype(np.float32)
    texts = [[pair.text for pair in drawn[0][place % 8 : place % 8 + 2]] for place in range(40)]
    codec = captioner._codec
    assert str(Path(__file__).parents[2]) not in result.files["decoder-step.onnx"].decode("latin1")
    read = retrieved_ids(codec, texts, 2, 10) if captioner.retrieve else None
    for options in (GenerationOptions(beam=1, max_tokens=12), GenerationOptions(beam=3, max_tokens=12)):
        ours = captioner.write(grids, texts if captioner.retrieve else None, options)
        torchs = generate_with_torch(
            decoder, torch.from_numpy(grids), None if read is None else torch.from_numpy(read), options
        )
        assert [one[0].caption for one in ours] == [codec.decode(one[0].tokens) for one in torchs]


def test_the_same_seed_gives_the_same_decoder(no_export, drawn, bundle):
    weights = [
        train_decoder(*drawn, bundle, small_options(epochs=1, seed=seed), share_right, Watcher()).files[
            DECODER_WEIGHTS_FILE
        ]
        for seed in (3, 3, 4)
    ]
    assert weights[0] == weights[1] != weights[2]


def test_the_folder_says_what_it_was_trained_on(no_export, drawn, bundle):
    given = {"corpus": "drawn"}
    result = train_decoder(*drawn, bundle, small_options(epochs=1), share_right, Watcher(), provenance=given)
    said = json.loads(result.files["decoder.json"])
    assert said["trained_on"]["corpus"] == "drawn"
    assert (said["trained_on"]["pairs"], said["trained_on"]["groups"]) == (32, 32)
    assert said["validation"]["pool"] == 12


class Impatient(Watcher):
    """Presses Ctrl-C after an epoch, or a step."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def on_epoch(self, report):
        super().on_epoch(report)
        if self.after == "epoch":
            signal.raise_signal(signal.SIGINT)

    def on_step(self, report):
        super().on_step(report)
        if self.after == "step":
            raise KeyboardInterrupt


def test_an_interruption_keeps_the_best_epoch(no_export, drawn, bundle):
    watcher = Impatient("epoch")
    result = train_decoder(*drawn, bundle, small_options(epochs=9), share_right, watcher)
    assert (result.interrupted, result.epochs, result.best_epoch) == (True, 1, 1)
    assert "interrupted in epoch 2: the best epoch so far, 1, is kept" in watcher.notes[0]
    assert result.files


def test_an_interruption_in_the_first_epoch_leaves_the_model_alone(no_export, drawn, bundle):
    watcher = Impatient("step")
    result = train_decoder(*drawn, bundle, small_options(), share_right, watcher)
    assert (result.interrupted, result.epochs, result.best_epoch, result.files) == (True, 0, 0, {})
    assert "the model stays as it was" in watcher.notes[0]


def test_an_interrupted_run_is_not_overwritten_by_accident(no_export, drawn, bundle):
    train_decoder(*drawn, bundle, small_options(), share_right, Impatient("step"))
    with pytest.raises(OptionsError, match="holds an interrupted run: resume it, or force a new one"):
        train_decoder(*drawn, bundle, small_options(), share_right, Watcher())
    forced = train_decoder(*drawn, bundle, small_options(force=True), share_right, Watcher())
    assert (forced.interrupted, forced.epochs) == (False, 2)


def test_a_time_limit_ends_the_run_after_an_epoch_at_least(no_export, drawn, bundle, monkeypatch):
    clock = iter(range(10_000))
    slow = partial(Throughput, now=lambda: float(next(clock)))
    monkeypatch.setattr("trainers.training_run.Throughput", slow)
    watcher = Watcher()
    options = small_options(epochs=500, time_limit_minutes=0.01)
    result = train_decoder(*drawn, bundle, options, share_right, watcher)
    assert (result.epochs, result.interrupted) == (1, False)
    assert "the time is over after 1 of 500 epochs" in watcher.notes


def test_patience_ends_the_run(no_export, drawn, bundle):
    watcher = Watcher()
    scores = iter([0.3, 0.5, 0.5, 0.4])
    result = train_decoder(
        *drawn,
        bundle,
        small_options(epochs=9, patience=2),
        lambda captions, references: {"cider": next(scores)},
        watcher,
    )
    assert (result.epochs, result.best_epoch, result.scores) == (4, 2, {"cider": 0.5})
    assert "no better CIDEr in 2 epochs: stopped after epoch 4" in watcher.notes


def test_a_plateau_halves_the_rate(no_export, drawn, bundle):
    watcher = Watcher()
    scores = iter([0.5, 0.4, 0.4, 0.4, 0.4, 0.6, 0.5])
    options = small_options(epochs=7, schedule="plateau", warmup_fraction=0.0, learning_rate=1e-3)
    train_decoder(*drawn, bundle, options, lambda *_: {"cider": next(scores)}, watcher)
    rates = [report.learning_rate for report in watcher.epochs]
    # Two epochs after the best, and two epochs after that cut, the rate is halved for what follows.
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4])


def test_a_loss_that_is_no_number_is_told(no_export, drawn, bundle, monkeypatch):
    monkeypatch.setattr(
        "trainers.caption_task.F.cross_entropy", lambda *a, **k: torch.tensor(np.nan, requires_grad=True)
    )
    with pytest.raises(DivergedError, match="no longer a number at step 1"):
        train_decoder(*drawn, bundle, small_options(), share_right, Watcher())


def test_memory_that_is_short_before_the_first_step_is_told(drawn, bundle, monkeypatch):
    def look(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("trainers.caption_features.encode_grid", look)
    with pytest.raises(DeviceMemoryError, match="too small for the model: use a smaller width or batch size"):
        train_decoder(*drawn, bundle, small_options(), share_right, Watcher())


def test_images_that_cannot_be_read_are_left_out(no_export, drawn, bundle, tmp_path):
    import dataclasses

    broken = dataclasses.replace(drawn[0][0], id="broken", image=tmp_path / "gone.png")
    watcher = Watcher()
    result = train_decoder(
        [broken, *drawn[0][1:]], drawn[1], bundle, small_options(epochs=1), share_right, watcher
    )
    assert watcher.skips == ["broken"]
    assert result.skipped == 1
    with pytest.raises(DataError, match="none of 1 images can be read"):
        train_decoder(drawn[0], [broken], bundle, small_options(), share_right, Watcher())


def test_neighbours_are_never_of_the_same_group():
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    groups = ["a", "a", "b", ""]
    near = nearest_rows(vectors, groups, vectors, groups, 4, known_texts=["1", "2", "3", "4"])
    assert sorted(near[0].tolist()) == [-1, -1, 2, 3]
    assert near[2].tolist()[-1] == -1
    # Nobody's group is not one group: an image without one may answer others without one, and itself.
    assert 3 in near[3]


def test_neighbours_come_nearest_first():
    known = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=np.float32)
    requested = np.array([[0.9, np.sqrt(1 - 0.81)]], dtype=np.float32)
    assert nearest_rows(
        requested, ["q"], known, ["x", "y", "z"], 3, known_texts=["1", "2", "3"]
    ).tolist() == [[1, 0, 2]]


def test_neighbours_repeat_no_caption():
    known = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=np.float32)
    found = nearest_rows(known[:1], ["q"], known, ["x", "x", "y"], 3, known_texts=["slice", "slice", "other"])
    assert found.tolist() == [[0, 2, -1]]


def test_batches_hold_every_caption_once_and_like_lengths_together():
    lengths = np.random.default_rng(0).integers(1, 100, 331)
    batches = batches_by_length(lengths, 16, seed=0, epoch=2)
    assert sorted(np.concatenate(batches).tolist()) == list(range(331))
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
    assert spread < 30
    assert max(len(batch) for batch in batches) == 16
    again = batches_by_length(lengths, 16, seed=0, epoch=2)
    assert all((one == other).all() for one, other in zip(batches, again, strict=True))
    other = batches_by_length(lengths, 16, seed=0, epoch=3)
    assert not all(np.array_equal(one, two) for one, two in zip(batches, other, strict=False))


def test_views_differ_and_the_first_is_the_image_itself(drawn, bundle):
    from encoders.dual import load_dual_encoder
    from trainers.augmentation import Augmentation

    encoder, placement = load_dual_encoder(bundle), choose_placement("cpu", "fp32")
    spec = bundle.config.image

    def skip(*output):
        raise AssertionError(output)

    plain = GridCache(drawn[1], encoder, spec, placement, on_skip=skip)
    moved = GridCache(
        drawn[1], encoder, spec, placement, on_skip=skip, views=Views(2, Augmentation(), seed=0)
    )
    rows = np.arange(3)
    torch.testing.assert_close(moved.grids(rows, 0), plain.grids(rows))
    assert not torch.allclose(moved.grids(rows, 1), plain.grids(rows))
    np.testing.assert_allclose(np.linalg.norm(plain.vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"decoder": "poet"}, "decoder is 'poet'"),
        ({"decoder": "lstm", "retrieve": 2}, "retrieve needs the transformer"),
        ({"retrieve": -1}, "retrieve is -1"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"layers": 0}, "layers is 0"),
        ({"max_tokens": 3}, "max_tokens is 3"),
        ({"views": 0}, "views is 0"),
        ({"width": 33}, "width is 33"),
        ({"width": 0}, "width is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"time_limit_minutes": 0.0}, "time_limit_minutes is 0"),
        ({"dropout": 1.0}, "dropout is 1"),
        ({"schedule": "moon"}, "schedule is 'moon'"),
        ({"patience": 0}, "patience is 0"),
        ({"checkpoint_steps": 0}, "checkpoint_steps is 0"),
        ({"device": "moon"}, "device is 'moon': give one of auto, cpu, cuda"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"warmup_fraction": 1.0}, "warmup_fraction is 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
    ],
)
def test_impossible_options_name_their_flag(given, message):
    with pytest.raises(OptionsError, match=message):
        CaptioningOptions(**given)
