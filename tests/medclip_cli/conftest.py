"""One walk through the whole pipeline, on drawn phantoms, that the tests of the command line share."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from medclip_cli.phantoms import draw_dataset
from tests.medclip_cli.in_process import Finished, run_here


@dataclass(frozen=True)
class Demo:
    """Folders of every step, and `medclip` itself."""

    folder: Path

    @property
    def raw(self):
        return self.folder / "raw"

    @property
    def corpus(self):
        return self.folder / "corpus"

    @property
    def model(self):
        return self.folder / "model"

    @property
    def trained(self):
        """What training printed."""
        return json.loads((self.folder / "trained.json").read_text(encoding="utf-8"))

    @property
    def scan(self):
        return self.raw / "images" / "phantom0000.png"

    def medclip(self, *arguments, stdin="", home=None, env=None):
        """Run medclip in this process."""
        environment = {"MEDCLIP_HOME": str(home or self.folder / "home"), **(env or {})}
        done = run_here(arguments, stdin.encode("utf-8", "surrogateescape"), environment)
        assert "Traceback" not in done.err and "internal error" not in done.err, done.err
        return done

    def medclip_process(self, *arguments, stdin="", home=None, env=None):
        """Run medclip as a process of its own, as a person does."""
        environment = {**os.environ, "MEDCLIP_HOME": str(home or self.folder / "home"), **(env or {})}
        done = subprocess.run(
            [sys.executable, "-m", "medclip_cli", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # what is piped in need not be UTF-8
            env=environment,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)


@contextmanager
def made_once(tmp_path_factory, name):
    """Yield a folder, and whether it is still empty: one test process fills it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, complete = base / name, base / f"{name}.complete"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        yield folder, not complete.exists()
        complete.touch()


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """Clean, train and index 180 small phantoms once; the collection is `phantoms`."""
    demo = Demo(tmp_path_factory.mktemp("demo"))
    draw_dataset(demo.raw, images=180, side_pixels=48)
    run(demo, "clean", "folder", demo.raw, "--out", demo.corpus)
    with made_once(tmp_path_factory, "trained-encoders") as (shared, empty):
        if empty:
            out = ("--out", shared / "model", "--preset", "tiny", "--from-scratch", "--no-confidence")
            size = ("--image-size", 48, "--image-widths", "8,16,32", "--image-blocks", "1,1,1")
            text = ("--text-width", 64, "--text-layers", 1, "--precision", "fp32")
            recipe = ("--epochs", 2, "--batch-size", 32, "--json")
            trained = run(demo, "train", "encoders", demo.corpus, *out, *size, *text, *recipe).out
            (shared / "trained.json").write_text(trained, encoding="utf-8")
    shutil.copytree(shared, demo.folder, dirs_exist_ok=True)
    run(demo, "index", demo.corpus, "--model", demo.model, "--collection", "phantoms")
    return demo


@pytest.fixture(scope="session")
def trained_decoder(demo, tmp_path_factory):
    """Train a small decoder into a copy of the model once: the copy, and how the training ended."""
    with made_once(tmp_path_factory, "trained-decoder") as (shared, empty):
        if empty:
            shutil.copytree(demo.model, shared / "model")
            options = ("--retrieve", 2, "--epochs", 3, "--width", 32, "--layers", 1, "--json")
            done = run(demo, "train", "decoder", demo.corpus, "--model", shared / "model", *options)
            (shared / "done.json").write_text(json.dumps(asdict(done)), encoding="utf-8")
    model = tmp_path_factory.mktemp("decoder") / "model"
    shutil.copytree(shared / "model", model)
    return model, Finished(**json.loads((shared / "done.json").read_text(encoding="utf-8")))


def run(demo, *arguments):
    """Run a command that must succeed, whatever the settings of the person who runs the tests."""
    done = demo.medclip(*arguments, env={"XDG_CONFIG_HOME": str(demo.folder / "config")})
    assert done.code == 0, done.err
    return done
