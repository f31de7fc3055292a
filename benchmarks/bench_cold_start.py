"""How soon a question is answered, from process start to exit, with a base-size model and 20,000 points.

The model has the shape of ResNet-50 and BERT-base and random weights; model and points are drawn, see
`drawn_base`. The other side of `caption` and `search` is only *importing* what an asking path built on torch
imports.

    python -m benchmarks.bench_cold_start [--runs 7] [--home FOLDER --collection medpix --image scan.jpg]
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.drawn_base import COLLECTION, IMAGE_SIDE, base_collection, base_model, draw_scans
from benchmarks.timing import RUNS, Comparison, compare, process, record

MEDCLIP = str(Path(sys.executable).with_name("medclip"))
FOLDER = Path("work/bench")
WORDS = "sagittal MR of the spine"
IMPORTS = process([sys.executable, "-c", "import torch, torchvision, transformers, qdrant_client"])
IMPORTED = "importing torch, torchvision, transformers, qdrant_client"
MORE_IMAGES = 24


def main() -> None:
    """Record the claims."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=RUNS)
    arguments.add_argument("--home", type=Path, help="a home of your own; default: drawn")
    arguments.add_argument("--collection", default=COLLECTION)
    arguments.add_argument("--image", type=Path)
    given = arguments.parse_args()
    home = given.home or base_collection(FOLDER)
    scans = draw_scans(FOLDER / "base-scans", MORE_IMAGES)
    env = {**os.environ, "MEDCLIP_HOME": str(home)}
    ask = ["--collection", given.collection, "--json"]
    typer = process([sys.executable, "-c", "import typer, rich"])
    record(compare("medclip --help / importing typer, rich", process([MEDCLIP, "--help"]), typer, 2.0))
    for command, aim in ((["caption", str(given.image or scans[0])], 0.25), (["search", WORDS], 0.35)):
        claim = f"medclip {command[0]} --json, start to exit / {IMPORTED}"
        record(compare(claim, process([MEDCLIP, *command, *ask], env), IMPORTS, aim, given.runs))
    if given.home is None:
        record(one_more_image(home, scans, given.runs))


def one_more_image(home: Path, scans: list[Path], runs: int) -> Comparison:
    """Compare answering for a further image with one bare forward pass of it.

    Ours decodes, squares, embeds and asks for the neighbours; the other side has its pixels ready.
    """
    from encoders.bundle import ModelBundle
    from encoders.preprocessing import load_image, normalize_image
    from encoders.runtime import OnnxEncoder
    from medclip_cli.captioning.predictor import Predictor
    from medclip_cli.models import load_model
    from medclip_cli.vector_index.edge import open_collection

    model, encoder = load_model(base_model(FOLDER)), OnnxEncoder(ModelBundle.open(base_model(FOLDER)))
    pixels = [
        normalize_image(load_image(scan, encoder.image_spec), encoder.image_spec)[None] for scan in scans
    ]
    with open_collection(home, COLLECTION) as index:
        return compare(
            f"{len(scans)} more images in the same caption call, JPEGs of {IMAGE_SIDE} px / "
            "one ONNX Runtime forward pass of each, pixels ready",
            lambda: list(Predictor(index, model).predict(scans)),
            lambda: [encoder.embed_pixels(one) for one in pixels],
            aim=1.3,
            runs=runs,
        )


if __name__ == "__main__":
    main()
