"""What a caption costs beyond finding its neighbours: written by a decoder, or chosen by consensus.

The encoder is a ResNet-50 and the decoder that of a base-size model, both with random weights: speed does not
ask what they learned. Captions are written with three beams up to 40 tokens; random weights hardly ever end
one early.

    python -m benchmarks.bench_captions
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import Row, compare, record
from encoders.bundle import ModelBundle, add_files
from encoders.captioner import OnnxCaptioner, train_codec
from encoders.decoder import TransformerDecoder
from encoders.decoder_export import decoder_files, describe_decoder
from encoders.dual import build_dual_encoder, build_tokenizer
from encoders.export import describe_model, save_bundle
from encoders.generation import GenerationOptions
from encoders.presets import SMALL_TRANSFORMER, preset_named
from encoders.runtime import OnnxEncoder
from medclip_cli.captioning.predictor import choose
from medclip_cli.records import Neighbour

WRITING = GenerationOptions(beam=3, max_tokens=40)
BATCH = 64
CELLS, CHANNELS = 49, 2048
VOCABULARY = 4096
NEIGHBOURS = 20
RUNS = 50


def main() -> None:
    """Print the three claims."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = _model(Path(folder) / "model")
        captioner, encoder = OnnxCaptioner(bundle), OnnxEncoder(bundle)
        pixels = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
        grids = np.random.default_rng(1).normal(size=(BATCH, CELLS, CHANNELS)).astype(np.float32)

        def caption_one() -> None:
            _, grid = captioner.encode(pixels)
            captioner.write(grid, None, WRITING)

        record(
            compare(
                "one caption, 3 beams, 40 tokens, base, its image seen included / one image embedded",
                caption_one,
                lambda: encoder.embed_pixels(pixels),
                aim=3.0,
            )
        )
        batched = compare(
            f"{BATCH} captions one at a time / all at once",
            lambda: [captioner.write(grid[None], None, WRITING) for grid in grids],
            lambda: captioner.write(grids, None, WRITING),
            aim=3.0,
            runs=3,
        )
        record(replace(batched.row, at_least=True))
    _report_consensus()


def _report_consensus() -> None:
    """What choosing among the neighbours' captions adds; finding them costs both methods the same."""
    neighbours = _neighbours()
    nearest, agreed = (_ms(work) for work in (lambda: neighbours[0], lambda: choose("consensus", neighbours)))
    added = statistics.median(agreed) - statistics.median(nearest)
    sides = f"{statistics.median(agreed):.2f} ms", f"{statistics.median(nearest):.2f} ms"
    what = f"consensus of {NEIGHBOURS} captions, added to nearest"
    record(Row(what, added, 5, "", *sides, unit="ms"))


def _ms(work: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    return times


def _neighbours() -> list[Neighbour]:
    """Captions of some 30 words that share most of them, as those of one template do."""
    rng = np.random.default_rng(2)
    words = [f"word{n}" for n in range(400)]
    frame = rng.choice(words, 20)
    captions = [" ".join([*frame, *rng.choice(words, 10)]) for _ in range(NEIGHBOURS)]
    return [
        Neighbour(rank, 1 - rank / 100, f"r{rank}", caption, "", "", "", {"modality": "CT"})
        for rank, caption in enumerate(captions, start=1)
    ]


def _model(path: Path) -> ModelBundle:
    """A model folder with a decoder; random weights."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = ["".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(VOCABULARY)]
    captions = [" ".join(rng.choice(words, 20)) for _ in range(4 * VOCABULARY)]
    preset = preset_named("base", text_encoder=SMALL_TRANSFORMER)
    tokenizer = build_tokenizer(preset, captions[:200], from_scratch=True)
    model = build_dual_encoder(preset, vocab_size=tokenizer.vocab_size, from_scratch=True)
    bundle = save_bundle(path, model, tokenizer, describe_model(model, tokenizer, preset))
    codec = train_codec(captions, VOCABULARY)
    decoder = TransformerDecoder(
        vocab_size=codec.vocab_size,
        grid_cells=CELLS,
        grid_dim=CHANNELS,
        max_tokens=128,
        width=256,
        layers=3,
        heads=8,
    )
    return add_files(
        bundle, decoder_files(decoder, model, codec, describe_decoder(decoder, (7, 7), 128), 224)
    )


if __name__ == "__main__":
    main()
