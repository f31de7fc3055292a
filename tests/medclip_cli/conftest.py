"""One walk over the whole road, on drawn phantoms, that the tests of the command line share."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from medclip_cli.phantoms import draw_dataset


@dataclass(frozen=True)
class Finished:
    """A process that ended: its exit code and both of its streams."""

    code: int
    out: str
    err: str

    @property
    def records(self):
        """The JSON Lines of stdout; raises where a line is no JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def answer(self):
        """The one JSON document of stdout."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Road:
    """Folders of every station, and `medclip` itself."""

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
        """Run medclip as a process of its own, as a person does."""
        # Two threads, or as many as the person who runs the tests says: on a busy machine one is faster.
        environment = {
            "OMP_NUM_THREADS": "2",
            **os.environ,
            "MEDCLIP_HOME": str(home or self.folder / "home"),
        }
        command = [sys.executable, "-m", "medclip_cli", *map(str, arguments)]
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # what is piped in need not be UTF-8
            timeout=300,
            env=environment | (env or {}),
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def road(tmp_path_factory):
    """Clean, train and index 180 small phantoms once; the collection is `phantoms`."""
    road = Road(tmp_path_factory.mktemp("road"))
    draw_dataset(road.raw, images=180, side_pixels=48)
    train = ("train", "encoders", road.corpus, "--out", road.model, "--preset", "tiny", "--from-scratch")
    for command in (
        ("clean", "folder", road.raw, "--out", road.corpus),
        (*train, "--epochs", 2, "--batch-size", 32, "--image-size", 48, "--no-confidence", "--json"),
        ("index", road.corpus, "--model", road.model, "--collection", "phantoms"),
    ):
        done = road.medclip(*command)
        assert done.code == 0, done.err
        if command[0] == "train":
            (road.folder / "trained.json").write_text(done.out, encoding="utf-8")
    return road


@pytest.fixture(scope="session")
def trained_decoder(road, tmp_path_factory):
    """Train a small decoder into a copy of the road's model once: the copy, and how the training ended."""
    model = tmp_path_factory.mktemp("decoder") / "model"
    shutil.copytree(road.model, model)
    options = ("--retrieve", 2, "--epochs", 3, "--width", 32, "--layers", 1, "--json")
    done = road.medclip("train", "decoder", road.corpus, "--model", model, *options)
    assert done.code == 0, done.err
    return model, done
