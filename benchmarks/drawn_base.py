"""A base-size model and a collection of its size, drawn: speed does not ask what the weights have learned.

Both are kept under work/bench, since making them takes longer than measuring them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.drawn_points import DrawnVectors, draw_points
from encoders.bundle import ModelBundle

CLINICAL_BERT_WORDS = 28_996
POINTS = 20_000
IMAGE_SIDE = 512  # pixels; about what a published scan has
COLLECTION = "base"


def base_model(folder: Path) -> Path:
    """Return a model folder of the shape of ResNet-50 and BERT-base, with random weights."""
    return save_random_model(folder / "base-model", "base")


def base_collection(folder: Path) -> Path:
    """Return a medclip home with a collection of `POINTS` drawn points that belong to that model."""
    from medclip_cli.vector_index.base import CollectionSpec
    from medclip_cli.vector_index.edge_writer import create_writer

    home, bundle = folder / "base-home", ModelBundle.open(base_model(folder))
    if not (home / "ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        model = str(bundle.path.resolve())
        spec = CollectionSpec(bundle.config.embedding_dim, bundle.fingerprint, "base", model, 14.0)
        with create_writer(home, COLLECTION, spec) as writer:
            for batch in draw_points(POINTS, DrawnVectors()):
                writer.upsert(batch)
            writer.commit()
        (home / "ready").touch()
    return home


def draw_scans(folder: Path, count: int) -> list[Path]:
    """Draw smooth grey JPEGs, each different."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = [folder / f"scan{number:03d}.jpg" for number in range(count)]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8))
        coarse.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def save_random_model(path: Path, preset: str, **shape: object) -> Path:
    """Save a model of a preset with random weights, unless there is one already."""
    import torch

    from encoders.dual import build_dual_encoder, build_tokenizer
    from encoders.export import describe_model, save_bundle
    from encoders.presets import preset_named

    if path.exists():
        return path
    torch.manual_seed(0)
    chosen = preset_named(preset, **shape)
    tokenizer = build_tokenizer(chosen, ["sagittal MR of the spine"], from_scratch=True, offline=True)
    model = build_dual_encoder(chosen, vocab_size=CLINICAL_BERT_WORDS, from_scratch=True, offline=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_bundle(path, model, tokenizer, describe_model(model, tokenizer, chosen))
    return path
