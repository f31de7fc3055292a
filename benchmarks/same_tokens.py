"""Whether ONNX Runtime writes what torch writes: a trained decoder on real images, greedily and with beams.

    python -m benchmarks.same_tokens CORPUS --model MODEL [--split train] [--images 200]

Both sides go the whole way by themselves: pixels, image tower, decoder. Only the neighbours whose captions a
retrieving decoder reads are found once.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import Row, record
from encoders.bundle import ModelBundle
from encoders.captioner import (
    DECODER_TOKENIZER_FILE,
    DECODER_WEIGHTS_FILE,
    CaptionCodec,
    OnnxCaptioner,
    retrieved_ids,
)
from encoders.decoder import encode_grid
from encoders.decoder_export import load_decoder
from encoders.dual import load_dual_encoder
from encoders.generation import GenerationOptions
from encoders.preprocessing import load_image, normalize_image
from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.records import CaptionedImage
from trainers.caption_data import nearest_rows
from trainers.caption_evaluation import generate_with_torch

AT_ONCE = 25
SEARCHES = {"greedy": GenerationOptions(beam=1), "3 beams": GenerationOptions(beam=3)}


def main() -> None:
    """Print how many captions agree, token for token."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("corpus", type=Path)
    arguments.add_argument("--model", type=Path, required=True)
    arguments.add_argument("--split", default="train")
    arguments.add_argument("--images", type=int, default=200)
    given = arguments.parse_args()
    corpus, bundle = Corpus.open(given.corpus), ModelBundle.open(given.model)
    rows = corpus.split(given.split)[: given.images]
    captioner = OnnxCaptioner(bundle)
    looked = [captioner.encode(pixels) for pixels in _pixels(bundle, corpus, rows)]
    vectors, grids = (np.concatenate(part) for part in zip(*looked, strict=True))
    groups = [row.group for row in rows]
    captions = [row.caption for row in rows]
    near = nearest_rows(vectors, groups, vectors, groups, captioner.retrieve, known_texts=captions)
    texts = [[captions[place] for place in places if place >= 0] for places in near]
    for name, options in SEARCHES.items():
        ours = [one[0].pieces for one in captioner.write(grids, texts, options)]
        theirs = _torch_pieces(bundle, corpus, rows, texts, options)
        same = sum(one == other for one, other in zip(ours, theirs, strict=True))
        what = f"{name}: captions of ONNX Runtime that are torch's, token for token"
        record(Row(what, same, len(rows), unit=f"of {len(rows)}", at_least=True))


def _pixels(bundle: ModelBundle, corpus: Corpus, rows: tuple[CaptionedImage, ...]) -> Iterator[np.ndarray]:
    for first in range(0, len(rows), AT_ONCE):
        paths = [corpus.image_path(row) for row in rows[first : first + AT_ONCE]]
        yield np.stack(
            [normalize_image(load_image(path, bundle.config.image), bundle.config.image) for path in paths]
        )


def _torch_pieces(
    bundle: ModelBundle,
    corpus: Corpus,
    rows: tuple[CaptionedImage, ...],
    texts: list[list[str]],
    options: GenerationOptions,
) -> list[tuple[str, ...]]:
    """The tokens that the torch modules write, loaded from the weights in the model folder."""
    captioner = OnnxCaptioner(bundle)
    encoder = load_dual_encoder(bundle).eval()
    decoder = load_decoder(captioner.config, bundle.read_verified(DECODER_WEIGHTS_FILE))
    codec = CaptionCodec.from_bytes(bundle.read_verified(DECODER_TOKENIZER_FILE))
    config, written = captioner.config, []
    for number, pixels in enumerate(_pixels(bundle, corpus, rows)):
        with torch.inference_mode():
            _, grid = encode_grid(encoder, torch.from_numpy(pixels))
        part = texts[number * AT_ONCE : (number + 1) * AT_ONCE]
        ids = retrieved_ids(codec, part, config.retrieve, config.retrieved_tokens)
        read = torch.from_numpy(ids) if config.retrieve else None
        found = generate_with_torch(decoder, grid, read, options)
        written += [tuple(codec.pieces(one[0].tokens)) for one in found]
    return written


if __name__ == "__main__":
    main()
