"""TensorBoard; the card and the journal are read where runs are tested."""

import sys
from types import ModuleType

import pytest

from encoders.errors import OptionsError
from tests.trainers.drawn import Recorder, draw_pairs
from tests.trainers.test_contrastive_run import make_run
from trainers.listeners import TensorBoardListener


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
