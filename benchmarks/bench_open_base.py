"""How soon a base-size model (ResNet-50, BERT-base) embeds its first text and its first image.

Random weights of the right shape: nothing is downloaded. The other side is only *importing* what an asking
path built on torch imports.

    python -m benchmarks.bench_open_base [--runs 7]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import RUNS, compare, process

CLINICAL_BERT_WORDS = 28_996
IMPORTS = [sys.executable, "-c", "import torch, torchvision, transformers, qdrant_client"]
ASK = """
import sys
import numpy as np
from encoders.bundle import ModelBundle
from encoders.runtime import OnnxEncoder

encoder = OnnxEncoder.open(ModelBundle.open(sys.argv[1]))
if sys.argv[2] == "text":
    encoder.embed_texts(["sagittal MR of the spine"])
else:
    encoder.embed_pixels(np.zeros((1, 3, 224, 224), np.float32))
"""


def main() -> None:
    """Print both claims."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=RUNS)
    runs = arguments.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "base"
        _save_random_base(model)
        for kind, aim in (("text", 0.35), ("image", 0.25)):
            claim = f"first {kind} by a base-size model, cold / importing torch and its friends"
            ask = process([sys.executable, "-c", ASK, str(model), kind])
            print(compare(claim, ask, process(IMPORTS), aim=aim, runs=runs).report(), flush=True)


def _save_random_base(path: Path) -> None:
    import torch

    from encoders.dual import build_dual_encoder, build_tokenizer
    from encoders.export import describe_model, save_bundle
    from encoders.presets import preset_named

    torch.manual_seed(0)
    preset = preset_named("base")
    tokenizer = build_tokenizer(preset, ["sagittal MR of the spine"], from_scratch=True, offline=True)
    model = build_dual_encoder(preset, vocab_size=CLINICAL_BERT_WORDS, from_scratch=True, offline=True)
    save_bundle(path, model, tokenizer, describe_model(model, tokenizer, preset))


if __name__ == "__main__":
    main()
