"""What cleaning costs beyond decoding, what a large table costs, and whether memory follows the rows.

Everything is drawn here: chest-film-sized PNGs, small JPEGs, and a table of CheXpert's shape. Both sides run
the same number of threads. The claim is about wall-clock time; processor time stands beside it, since that is
what is left of the claim on a machine that others use.

    python -m benchmarks.bench_clean
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.timing import RUNS, Comparison, Row, record
from medclip_cli.cleaning.images import open_journal
from medclip_cli.cleaning.pipeline import Cleaning, check_images
from medclip_cli.corpora.table_layouts import CHEXPERT_LABELS as LABELS
from medclip_cli.parallel import usable_cores
from medclip_cli.records import CaptionedImage

ROWS = 220_000
MIB = 1024
KINDS = (("PNG, 1024 x 1024", ".png", 1024, 120), ("JPEG, 320 x 320", ".jpg", 320, 1500))


def main() -> None:
    """Record the claims."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, suffix, side, count in KINDS:
            _decoding(_draw(folder / suffix[1:], count, side, suffix), kind)
        _large_table(folder / "chexpert")
        _memory(folder)


def _decoding(paths: list[Path], kind: str) -> None:
    cores, root = usable_cores(), paths[0].parent

    def bare() -> None:
        with ThreadPoolExecutor(cores) as pool:
            for _ in pool.map(lambda path: Image.open(path).load(), paths):
                pass

    def ours() -> None:
        drafts = Cleaning(records=[_draft(path.name) for path in paths])
        with open_journal(root / ".journal", root) as journal:
            check_images(drafts, root, journal=journal, threads=cores)
        (root / ".journal").unlink()

    ours_seconds, bare_seconds = _in_turn(ours, bare)
    for clock, mine, theirs in zip(("", ", processor time"), ours_seconds, bare_seconds, strict=True):
        claim = f"cleaning {len(paths)} images ({kind}, {cores} threads{clock}) / decoding them with Pillow"
        record(Comparison(claim, mine, theirs, aim=1 / 0.8))


def _in_turn(*sides: Callable[[], None]) -> list[tuple[list[float], list[float]]]:
    """Run sides in turn, after one run that is not counted; return wall and processor seconds of each."""
    seconds: list[tuple[list[float], list[float]]] = [([], []) for _ in sides]
    for run in range(RUNS + 1):
        for side, (wall, processor) in zip(sides, seconds, strict=True):
            start, start_of_work = time.perf_counter(), time.process_time()
            side()
            if run:
                wall.append(time.perf_counter() - start)
                processor.append(time.process_time() - start_of_work)
    return seconds


def _draft(image: str) -> CaptionedImage:
    return CaptionedImage(
        f"drawn/{image}", image, image, (image,), "XR", f"drawn/{image}", "", "drawn", "none"
    )


def _large_table(root: Path) -> None:
    root.mkdir()
    header = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(LABELS)
    cells = np.random.default_rng(0).choice(["", "", "", "1.0", "0.0", "-1.0"], (ROWS, len(LABELS)))
    with (root / "train.csv").open("w") as file:
        file.write(header + "\n")
        for number, labels in enumerate(cells):
            path = f"CheXpert-v1.0-small/train/patient{number // 3:05d}/study1/view{number % 3}_frontal.jpg"
            file.write(f"{path},Female,68,Frontal,AP,{','.join(labels)}\n")
    seconds, peak = _clean("chexpert", root, "--skip-image-check")
    record(Row(f"cleaning a table of {ROWS:,} rows", seconds, aim=20, unit="s"))
    record(Row("its peak memory", peak / MIB, aim=1024, unit="MiB"))


def _memory(folder: Path) -> None:
    peaks = []
    for count in (2_000, 20_000):
        root = folder / f"images-{count}"
        _draw(root, count, 256, ".png")
        lines = "".join(f"{n}.png,a drawn scan number {n}\n" for n in range(count))
        (root / "captions.csv").write_text("image,caption\n" + lines)
        peaks.append(_clean("folder", root)[1])
    ours, theirs = (f"{peak / MIB:.0f} MiB" for peak in reversed(peaks))
    record(
        Row("peak memory of cleaning 20,000 images", peaks[1] / peaks[0], 1.2, "2,000 images", ours, theirs)
    )


def _clean(*arguments: object) -> tuple[float, int]:
    """Run `medclip clean` and return its seconds and its peak memory in KiB."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable,
            "-m",
            "medclip_cli",
            "clean",
            *map(str, arguments),
            "--out",
            f"{out}/corpus",
        ]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(process.stderr.read().decode() if process.stderr else "clean failed")
        return time.perf_counter() - start, usage.ru_maxrss


def _draw(folder: Path, count: int, side: int, suffix: str) -> list[Path]:
    """Draw smooth pictures with some grain, as a film has: neither flat nor noise. Each is a shifted one."""
    folder.mkdir()
    random = np.random.default_rng(0)
    coarse = random.integers(20, 220, (12, 12), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC), np.int16)
    film = (smooth + random.integers(-6, 6, (side, side))).clip(0, 255).astype(np.uint8)
    paths = [folder / f"{number}{suffix}" for number in range(count)]
    for number, path in enumerate(paths):
        # Rolled by another amount each time, so that no two files are the same.
        rolled = Image.fromarray(np.roll(film, (number // side + 1, number), (0, 1)))
        # A published JPEG keeps its grain: decoding takes the time that MedPix's and CheXpert's take.
        rolled.save(path, **({"quality": 92} if suffix == ".jpg" else {"compress_level": 1}))
    return paths


if __name__ == "__main__":
    main()
