"""Makes docs/answer-page.png: a real answer page, asked about generated scans, as a browser shows it.

Run as ``python -m docs.tools.readme_picture [WORK]``. It draws phantoms of 512 px, cleans, trains, indexes,
captions one that the model has never seen and answers right, and lets Debian's chromium take the picture.
WORK keeps what was made: with the same folder again only the page and the picture are made anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from medclip_cli import Corpus, open_collection
from medclip_cli.phantoms import draw_dataset

PICTURE = Path(__file__).resolve().parents[1] / "answer-page.png"
IMAGES, SIDE = 270, 512
WIDTH, HEIGHT, MARGIN = 1120, 2400, 12
COLOURS = 48  # of the picture, which is mostly grey: with more of them noise makes it large
MEDCLIP = (sys.executable, "-m", "medclip_cli")
STEPS = (
    "clean folder raw --out phantoms",
    "train encoders phantoms --out phantom-clip --preset tiny --from-scratch --image-size 64 "
    "--label-agreement 0 --epochs 30",
    "index phantoms --model phantom-clip --collection phantoms",
)


def main() -> None:
    """Make the picture."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(sys.argv[1] if len(sys.argv) > 1 else temporary).resolve()
        work.mkdir(parents=True, exist_ok=True)
        if not (work / "ready").is_file():
            draw_scans(work / "raw")
            for step in STEPS:
                run(step.split(), work)
            (work / "ready").touch()
        shutil.copy(held_out_scan(work), work / "scan.png")
        run("caption scan.png --collection phantoms -k 4 --html page.html".split(), work)
        take_picture(work / "page.html", PICTURE)
    print(f"wrote {PICTURE}: {PICTURE.stat().st_size:,} bytes")


def held_out_scan(work: Path) -> Path:
    """Return the first axial scan of the test split that has a lesion and is answered right."""
    corpus = Corpus.open(work / "phantoms")
    rows = [row for row in corpus.split("test") if row.view == "Axial" and "lesion on" in row.caption]
    os.environ["MEDCLIP_HOME"] = str(work / "home")
    with open_collection("phantoms") as collection:
        answers = collection.caption([corpus.image_path(row) for row in rows])
    right = (row for row, answer in zip(rows, answers, strict=True) if answer.caption == row.caption)
    return corpus.image_path(next(right))


def draw_scans(folder: Path) -> None:
    """Draw phantoms, and give them the soft edges and the texture of tissue that scans have."""
    draw_dataset(folder, images=IMAGES, side_pixels=SIDE)
    rng = np.random.default_rng(0)
    for path in sorted((folder / "images").glob("*.png")):
        with Image.open(path) as drawn:
            soft = np.asarray(drawn.filter(ImageFilter.GaussianBlur(2.5)), dtype=np.float64)
        texture = sum(
            _blobs(rng, cells) * strength for cells, strength in ((8, 0.10), (24, 0.07), (96, 0.06))
        )
        speckle = Image.fromarray(np.clip(rng.normal(128, 20, (SIDE, SIDE)), 0, 255).astype(np.uint8))
        grain = np.asarray(speckle.filter(ImageFilter.GaussianBlur(0.9)), dtype=np.float64) - 128
        Image.fromarray(np.clip(soft * (1 + texture) + grain, 0, 255).astype(np.uint8)).save(path)


def _blobs(rng: np.random.Generator, cells: int) -> NDArray[np.float32]:
    """Smooth noise: so many bright and dark spots across a picture."""
    coarse = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def run(arguments: list[str], work: Path) -> None:
    """Run a medclip command in the folder, with a home of its own."""
    print("$ medclip", *arguments)
    home = {**os.environ, "MEDCLIP_HOME": str(work / "home"), "MEDCLIP_OFFLINE": "1"}
    subprocess.run([*MEDCLIP, *arguments], cwd=work, env=home, check=True)


def take_picture(page: Path, picture: Path) -> None:
    """Let a browser show the page, cut off what is empty below it, and save it small.

    Raises:
        SystemExit: there is no Chromium.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit("no chromium here: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        flags = "--headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-sync"
        shot = Path(profile) / "shot.png"
        subprocess.run(
            [
                *(browser, *flags.split(), f"--user-data-dir={profile}"),
                *(f"--screenshot={shot}", f"--window-size={WIDTH},{HEIGHT}", page.resolve().as_uri()),
            ],
            check=True,
            capture_output=True,
        )
        with Image.open(shot) as shown:
            image = shown.convert("RGB")
    empty = Image.new("RGB", image.size, image.getpixel((0, image.height - 1)))
    box = ImageChops.difference(image, empty).getbbox() or (0, 0, *image.size)
    cut = image.crop((0, 0, image.width, min(image.height, box[3] + MARGIN)))
    cut.quantize(COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)


if __name__ == "__main__":
    main()
