"""Curves and TensorBoard; the card and the journal are read where runs are tested."""

import io
import json
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from encoders.errors import OptionsError
from tests.trainers.drawn import Recorder, draw_pairs
from tests.trainers.test_contrastive_run import make_run
from trainers.curves import COLOURS, HEIGHT, WIDTH, draw_curves
from trainers.listeners import TensorBoardListener


def journal(losses):
    way = {"r1": 0.1, "r5": 0.2, "r10": 0.5, "median_rank": 3.0}
    epochs = [
        {"event": "epoch", "loss": loss, "validation": {"image_to_text": way, "text_to_image": way}}
        for loss in losses
    ]
    return "\n".join(json.dumps(event) for event in ({"event": "start"}, *epochs)).encode()


def picture_of(losses):
    with Image.open(io.BytesIO(draw_curves(journal(losses)))) as image:
        assert image.size == (WIDTH, HEIGHT)
        return np.asarray(image).astype(int)


def test_the_loss_falls_from_the_upper_left_to_the_lower_right():
    pixels = picture_of([4.0, 3.0, 2.0, 1.0])
    upper = pixels[: HEIGHT // 2, : WIDTH - 200]
    rows, columns = np.nonzero((upper == COLOURS[0]).all(axis=2))
    assert rows[columns.argmin()] < rows[columns.argmax()] - 50
    lower = pixels[HEIGHT // 2 :, : WIDTH - 200]
    assert all(
        (lower == colour).all(axis=2).any() for colour in COLOURS[2:]
    )  # the lines coincide: the last is on top


@pytest.mark.parametrize("losses", [[], [2.0]])
def test_a_run_of_no_or_one_epoch_has_a_picture_too(losses):
    pixels = picture_of(losses)
    assert (pixels[: HEIGHT // 2, : WIDTH - 200] == COLOURS[0]).all(axis=2).any() == bool(losses)


class FakeWriter:
    def __init__(self, folder):
        self.folder, self.values, self.flushed = folder, [], 0

    def add_scalar(self, name, value, step):
        self.values.append((name, value, step))

    def flush(self):
        self.flushed += 1


def test_tensorboard_gets_every_step_and_epoch(tmp_path, monkeypatch):
    module = ModuleType("torch.utils.tensorboard.writer")
    module.SummaryWriter = FakeWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", ModuleType("torch.utils.tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", module)
    pairs, inner = (draw_pairs(tmp_path / "train", 16), draw_pairs(tmp_path / "val", 8, seed=1)), Recorder()
    pairs[0][0].image.unlink()
    listener = TensorBoardListener(tmp_path / "board", inner)
    with make_run(pairs, tmp_path, listener, cache_chunk=4) as run:
        run.fit()
    writer = listener._writer
    losses = [(value, step) for name, value, step in writer.values if name == "train/loss"]
    assert losses == [(report.loss, report.step) for report in inner.steps]
    validated = [(value, step) for name, value, step in writer.values if name == "validation/loss"]
    assert validated == [(report.validation_loss, report.steps) for report in inner.epochs]
    recalls = [(value, step) for name, value, step in writer.values if name == "image_to_text/r5"]
    assert recalls == [(report.validation.image_to_text.r5, report.steps) for report in inner.epochs]
    assert writer.flushed == 2
    assert len(inner.starts) == len(inner.skips) == len(inner.notes) == 1


def test_tensorboard_that_is_not_installed_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    with pytest.raises(OptionsError, match=r"pip install 'medclip-cli\[tensorboard\]'"):
        TensorBoardListener(tmp_path, Recorder())
