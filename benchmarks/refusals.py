"""How many pictures that are no scans get no caption, and how many held-out scans get none either.

    python -m benchmarks.refusals CORPUS --collection NAME [--model MODEL]

100 pictures are drawn: stripes, noise and pages of text. They, and the scans of the val split, are asked as
`medclip caption` asks. Since a model's limits are set with these scans, the scans are judged once more, by
limits that were set without the half of the cases they belong to.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.timing import Row, record
from medclip_cli.captioning.calibrate import Examples, find_neighbours
from medclip_cli.captioning.consensus import NEIGHBOURS
from medclip_cli.captioning.predictor import Predictor, calibrated
from medclip_cli.collection import open_collection
from medclip_cli.corpora.corpus_folder import Corpus

if TYPE_CHECKING:
    from medclip_cli.models import Source

STRANGERS = 100
SIDE = 256
WORDS = "the patient was seen on monday and is to come again in two weeks without further tests".split()


def main() -> None:
    """Print both counts."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("corpus", type=Path)
    arguments.add_argument("--collection", required=True)
    arguments.add_argument("--model", type=Path, help="the collection's model, where it lies elsewhere")
    given = arguments.parse_args()
    corpus = Corpus.open(given.corpus)
    with open_collection(given.collection, model=given.model) as collection:
        model = collection.model
        method, calibration = calibrated(model, "nearest", None)
        if calibration is None:
            raise SystemExit(
                f"{model.path} has no calibration: medclip train confidence CORPUS --model MODEL"
            )
        predictor = Predictor(collection.index, model, method, calibration)
        with tempfile.TemporaryDirectory() as folder:
            kinds = draw_strangers(Path(folder), np.random.default_rng(0))
            found = {kind: count_refused(predictor, paths) for kind, paths in kinds.items()}
            unseen = replace(predictor, calibration=replace(calibration, appearance=None))
            far = sum(count_refused(unseen, paths) for paths in kinds.values())
        shown = ", ".join(f"{refused} of {len(kinds[kind])} {kind}" for kind, refused in found.items())
        total = sum(len(paths) for paths in kinds.values())
        record(
            Row(
                "drawn pictures that are no scans, refused",
                sum(found.values()),
                0.95 * total,
                ours=shown,
                at_least=True,
                unit=f"of {total}",
            )
        )
        print(f"by the distance to their neighbours alone: {far} of {total}")
        scans = corpus.split("val")
        groups: dict[Source, frozenset[str]] = {
            corpus.image_path(row): frozenset({row.group}) for row in scans
        }
        refused = count_refused(replace(predictor, own_groups=groups.__getitem__), list(groups))
        what = "val scans refused by the model's limits, which were set with them"
        record(Row(what, 100 * refused / len(scans), 5, ours=f"{refused} of {len(scans)}", unit="%"))
    halves = count_refused_by_halves(find_neighbours(corpus, model, NEIGHBOURS, lambda: None))
    what = "val scans refused by limits set with the other half of their cases"
    record(Row(what, 100 * halves / len(scans), 5, ours=f"{halves} of {len(scans)}", unit="%"))


def count_refused(predictor: Predictor, paths: Sequence[Source]) -> int:
    """How many images get no caption, asked as `medclip caption` asks."""
    return sum(one.error is None and one.caption is None for one in predictor.predict(paths))


def count_refused_by_halves(examples: Examples) -> int:
    """How many validation scans lie beyond the limits that the cases of the other half set."""
    groups = sorted({row.group for row in examples.rows})
    half = [groups.index(row.group) % 2 for row in examples.rows]
    refused = 0
    for side in (0, 1):
        limits = examples.limits([place for place, part in enumerate(half) if part != side])
        refused += sum(
            examples.neighbours[place][:NEIGHBOURS][-1].score < limits.domain_floor
            or limits.appearance.is_foreign(examples.appearances[place])
            for place, part in enumerate(half)
            if part == side
        )
    return refused


def draw_strangers(folder: Path, rng: np.random.Generator) -> dict[str, list[Path]]:
    """Draw a hundred pictures that are no scans; each kind in colour and grey, fine and coarse."""
    kinds: dict[str, Callable[[np.random.Generator], Image.Image]] = {
        "stripes": _stripes,
        "noise": _noise,
        "pages of text": _page,
    }
    drawn: dict[str, list[Path]] = {kind: [] for kind in kinds}
    for number in range(STRANGERS):
        kind = list(kinds)[number % len(kinds)]
        path = folder / f"{number:03d}.png"
        kinds[kind](rng).save(path)
        drawn[kind].append(path)
    return drawn


def _stripes(rng: np.random.Generator) -> Image.Image:
    down, across = np.mgrid[:SIDE, :SIDE]
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 60)
    wave = np.sin(2 * np.pi * (across * np.cos(angle) + down * np.sin(angle)) / period)
    wave = np.sign(wave) if rng.random() < 0.5 else wave
    ends = (
        rng.integers(0, 256, (2, 3))
        if rng.random() < 0.5
        else np.repeat(rng.integers(0, 256, (2, 1)), 3, axis=1)
    )
    share = (wave[..., None] + 1) / 2
    return Image.fromarray((ends[0] + share * (ends[1] - ends[0])).astype(np.uint8))


def _noise(rng: np.random.Generator) -> Image.Image:
    cells = int(rng.choice([32, 64, 128, SIDE]))
    channels = 3 if rng.random() < 0.5 else 1
    if rng.random() < 0.5:
        values = rng.integers(0, 256, (cells, cells, channels))
    else:
        values = np.clip(rng.normal(128, rng.uniform(20, 80), (cells, cells, channels)), 0, 255)
    picture = Image.fromarray(np.repeat(values.astype(np.uint8), 3 // channels, axis=2))
    return picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _page(rng: np.random.Generator) -> Image.Image:
    paper, ink = (250, 20) if rng.random() < 0.8 else (20, 235)
    picture = Image.new("RGB", (SIDE, int(SIDE * rng.uniform(1, 1.4))), (paper,) * 3)
    pen, size = ImageDraw.Draw(picture), int(rng.integers(9, 18))
    font = ImageFont.load_default(size)
    for top in range(10, picture.height - size, int(1.4 * size)):
        words = " ".join(rng.choice(WORDS, 3 + 200 // size))
        pen.text((10, top), words[: int(rng.integers(10, 60))], (ink,) * 3, font)
    return picture


if __name__ == "__main__":
    main()
