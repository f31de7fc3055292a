"""The folder in which the commands of the pages are run, with everything that the pages speak of.

    my-scans/                                     180 drawn images with captions.csv
    scan.jpg scan.png a.png b.png c.png scans/    images to ask about
    MedPix-2-0/                                   drawn images in the layout of MedPix 2.0
    work/mine work/medpix                         corpora of my-scans
    work/model                                    a small trained model with a decoder
    collections mine, medpix                      of these; medclip.toml says medpix where a page names none
    predictions.jsonl coco_results.json ...       what other systems said
    questions.txt                                 texts to search for

What a command is about to make with ``--out`` or ``--collection`` is taken away before it, if it was there:
the page makes its own. Long work is cut short, see `REDUCED`.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from medclip_cli.phantoms import draw_dataset
from tests.medclip_cli.corpora.layouts import medpix2
from tests.medclip_cli.in_process import run_here

# What is added to a command so that it takes seconds instead of minutes.
REDUCED = {
    "medclip train encoders": "--epochs 1 --batch-size 32 --image-size 48",
    "medclip demo": "--images 90 --epochs 1",
}
# Training still takes seconds, most of them for the export: only the README's own images are really trained
# on. Elsewhere the trained model of the stage, which has a decoder, is put where `--out` says.
TRAINED_BEFORE = re.compile(r"medclip train (?!encoders my-scans )")
IMAGES = 180
SIDE = 48
_OUT = re.compile(r"(?:--out|-o) (\S+)")
_COLLECTION = re.compile(r"--collection (\S+)")


@dataclass(frozen=True)
class Stage:
    """A folder, and its first state; collections know absolute paths, so it stays in its place."""

    folder: Path
    pristine: Path

    def reset(self) -> None:
        """Put everything back."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.pristine, self.folder, symlinks=True)

    def _make_room(self, command: str) -> None:
        """Take away what the command makes."""
        made = [self.folder / name for name in _OUT.findall(command)]
        if command.startswith("medclip index"):
            made += [self.folder / "home" / "collections" / name for name in _COLLECTION.findall(command)]
        for target in made:
            if target.is_dir():
                shutil.rmtree(target)

    def run(self, command: str) -> tuple[int, str]:
        """Run a line as a shell would; returns its exit code and what it said."""
        self._make_room(command)
        if TRAINED_BEFORE.match(command):
            for made in _OUT.findall(command):
                shutil.copytree(self.pristine / "work" / "model", self.folder / made)
            return 0, ""
        command = _reduced(command)
        words = shlex.split(command, comments=True)
        if words[0] == "medclip" and not set("|<>&;*$") & set("".join(words)):
            return self._run_here(words[1:])
        shell = [
            "bash",
            "-c",
            f"set -o pipefail; cd {shlex.quote(str(self.folder))}; {_with_programs(command)}",
        ]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(shell, capture_output=True, text=True, env={**os.environ, "PATH": path})
        return done.returncode, done.stdout + done.stderr

    @staticmethod
    def _run_here(arguments: list[str]) -> tuple[int, str]:
        done = run_here(arguments)
        return done.code, done.out + done.err


def _reduced(command: str) -> str:
    """Add what cuts a command short, before its comment."""
    for start, options in REDUCED.items():
        if command.startswith(start):
            text, hash_sign, comment = command.partition(" #")
            return f"{text} {options}{hash_sign}{comment}"
    return command


def _with_programs(command: str) -> str:
    """Take jq out of a pipe where it is not installed."""
    return command if shutil.which("jq") else re.sub(r"\| jq [^|]*", "| cat ", command)


def build(folder: Path, trained_model: Path) -> None:
    """Make everything that the pages speak of."""
    raw = folder / "my-scans"
    draw_dataset(raw, images=IMAGES, side_pixels=SIDE)
    first, *others = sorted((raw / "images").glob("*.png"))
    for name in ("scan.jpg", "scan.png"):
        Image.open(first).save(folder / name)
    (folder / "scans").mkdir()
    for name, source in zip(("a.png", "b.png", "c.png"), others, strict=False):
        shutil.copy(source, folder / name)
        Image.open(source).save(folder / "scans" / f"{source.stem}.jpg")
    _draw_medpix(folder / "MedPix-2-0", raw)
    _write_predictions(folder)
    (folder / "questions.txt").write_text("axial CT\nsagittal MR of the spine\n", encoding="utf-8")
    (folder / "medclip.toml").write_text('collection = "medpix"\n', encoding="utf-8")
    shutil.copytree(trained_model, folder / "work" / "model")
    for name in ("mine", "medpix"):
        _must("clean", "folder", "my-scans", "--out", f"work/{name}")
        _must("index", f"work/{name}", "--model", "work/model", "--collection", name)


def _must(*arguments: str) -> None:
    code, said = Stage._run_here(list(arguments))
    assert code == 0, said


def _draw_medpix(root: Path, raw: Path) -> None:
    """Lay drawn images out as MedPix 2.0 is: two a case, the last third of the cases for validation."""
    with (raw / "captions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:120]
    (root / "images").mkdir(parents=True)
    entries, cases = [], []
    for number, row in enumerate(rows):
        case, name = f"MPX{number // 2}", f"MPX{number // 2}_{number}"
        shutil.copy(raw / row["image"], root / "images" / f"{name}.png")
        about = {"Modality": row["modality"], "Plane": row["view"]}
        entries.append(medpix2.description(name, U_id=case, Description=about))
        cases.append({**medpix2.CASE, "U_id": case})
    known = [case["U_id"] for case in cases[::2]]
    splits = {"train": known[:40], "dev": known[40:], "test": []}
    medpix2.write_tables(root, *entries, cases=cases[::2], splits=splits)


def _write_predictions(folder: Path) -> None:
    """Write what other systems said, as they write it."""
    truth = [{"image_id": n, "id": n, "caption": f"a mass in the left lung, {n} cm"} for n in range(1, 5)]
    guesses = {name: [{**one, "caption": f"{one['caption']} {name}"} for one in truth] for name in "ab"}
    (folder / "captions_val.json").write_text(json.dumps({"annotations": truth}), encoding="utf-8")
    for name, file in (("a", "coco_results.json"), ("b", "other_results.json")):
        (folder / file).write_text(json.dumps(guesses[name]), encoding="utf-8")
    lines = [{"id": one["id"], "prediction": "a mass", "references": [one["caption"]]} for one in truth]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "predictions.jsonl").write_text(text, encoding="utf-8")
