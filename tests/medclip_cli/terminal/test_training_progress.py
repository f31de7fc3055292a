"""The bar of a training run: one at a time, whatever is reported."""

import io
from types import SimpleNamespace

from rich.console import Console
from rich.progress import Progress, TextColumn

from medclip_cli.progress import Progress as Report
from medclip_cli.terminal.training_progress import TrainingProgress


def test_features_steps_and_what_follows_are_one_bar_after_the_other():
    columns = (TextColumn("{task.description}"), TextColumn("{task.fields[loss]}"))
    bars = Progress(*columns, console=Console(file=io.StringIO()))
    shown = TrainingProgress(bars)
    shown.on_features(3, 8)
    shown.on_features(5, 8)
    assert [(task.description, task.completed, task.total) for task in bars.tasks] == [("Embedding", 8, 8)]
    report = {"step": 4, "total_steps": 9, "epoch": 2, "loss": 0.5, "images_per_second": 7.0}
    shown.on_step(SimpleNamespace(**report, seconds_left=61.0))
    (task,) = bars.tasks
    assert (task.completed, task.total, task.fields["left"]) == (4, 9, "0:01:01 left")
    assert (task.fields["loss"], task.fields["rate"]) == ("loss 0.500", "7 images/s")
    shown.on_progress(Report("Embedding", 1, 2))
    assert [(task.description, task.completed) for task in bars.tasks] == [("Embedding", 1)]
