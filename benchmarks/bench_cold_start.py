"""How soon a question is answered: `medclip --help` and `medclip caption` from process start to exit.

The other side of `caption` is only *importing* what an asking path built on torch imports.

    python -m benchmarks.bench_cold_start [--collection medpix --image scan.jpg]

Without --collection it draws 1,653 phantoms and indexes them with the model of `medclip demo`, untrained.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import compare, process

MEDCLIP = str(Path(sys.executable).with_name("medclip"))
POINTS = 1653


def main() -> None:
    """Print both claims."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--collection")
    arguments.add_argument("--image")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        env, collection, image = dict(os.environ), given.collection, given.image
        if collection is None:
            env["MEDCLIP_HOME"] = str(Path(folder) / "home")
            collection, image = _draw_collection(Path(folder), env)
        print(
            compare(
                "medclip --help / import typer, rich",
                process([MEDCLIP, "--help"]),
                process([sys.executable, "-c", "import typer, rich"]),
                aim=2.0,
            ).report()
        )
        print(
            compare(
                "medclip caption, cold / import torch, torchvision, transformers, qdrant_client",
                process([MEDCLIP, "caption", image, "--collection", collection, "--json"], env),
                process([sys.executable, "-c", "import torch, torchvision, transformers, qdrant_client"]),
                aim=0.3,
            ).report()
        )


def _draw_collection(folder: Path, env: dict[str, str]) -> tuple[str, str]:
    from medclip_cli.phantoms.dataset import draw_dataset

    raw, corpus, model = folder / "raw", folder / "corpus", folder / "model"
    draw_dataset(raw, images=POINTS)
    train = [MEDCLIP, "train", "encoders", str(corpus), "--out", str(model), "--preset", "tiny"]
    for command in (
        [MEDCLIP, "clean", "folder", str(raw), "--out", str(corpus)],
        [*train, "--from-scratch", "--epochs", "1"],
        [MEDCLIP, "index", str(corpus), "--model", str(model), "--split", "all", "--collection", "bench"],
    ):
        process([*command, "--quiet"], env)()
    return "bench", str(raw / "images" / "phantom0000.png")


if __name__ == "__main__":
    main()
