"""How soon a base-size model (ResNet-50, BERT-base) embeds its first text and its first image.

Random weights of the right shape: nothing is downloaded. The other side is only *importing* what an asking
path built on torch imports.

    python -m benchmarks.bench_open_base [--runs 7]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.drawn_base import base_model
from benchmarks.timing import RUNS, compare, process, record

IMPORTS = [sys.executable, "-c", "import torch, torchvision, transformers, qdrant_client"]
ASK = """
import sys
import numpy as np
from encoders.bundle import ModelBundle
from encoders.runtime import OnnxEncoder

encoder = OnnxEncoder(ModelBundle.open(sys.argv[1]))
if sys.argv[2] == "text":
    encoder.embed_texts(["sagittal MR of the spine"])
else:
    encoder.embed_pixels(np.zeros((1, 3, 224, 224), np.float32))
"""


def main() -> None:
    """Record both claims."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=RUNS)
    runs = arguments.parse_args().runs
    model = base_model(Path("work/bench"))
    for kind, aim in (("text", 0.35), ("image", 0.25)):
        claim = f"first {kind} embedded by a base-size model, start to exit / importing torch and its friends"
        ask = process([sys.executable, "-c", ASK, str(model), kind])
        record(compare(claim, ask, process(IMPORTS), aim=aim, runs=runs))


if __name__ == "__main__":
    main()
