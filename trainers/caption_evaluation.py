"""The torch decoder of a run: built from its options, evaluated on the captions it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from encoders.captioner import CaptionCodec
from encoders.decoder import Decoder, LstmDecoder, TransformerDecoder
from encoders.generation import GenerationOptions, Hypothesis, Step, Tensors, generate
from trainers.caption_data import RetrievalBank, captions_of
from trainers.caption_features import GridCache
from trainers.data import TrainingPair
from trainers.options import CaptioningOptions

DECIDING_SCORE = "cider"
# Captions and their references to scores by name, `DECIDING_SCORE` among them.
ScoreCaptions = Callable[[Sequence[str], Sequence[Sequence[str]]], Mapping[str, float]]


def build_decoder(options: CaptioningOptions, vocab_size: int, grid: tuple[int, int]) -> Decoder:
    """The decoder that the options describe, with random weights, for a grid of (cells, channels)."""
    cells, channels = grid
    if options.decoder == "lstm":
        return LstmDecoder(
            vocab_size=vocab_size,
            grid_cells=cells,
            grid_dim=channels,
            width=options.width,
            dropout=options.dropout,
        )
    return TransformerDecoder(
        vocab_size=vocab_size,
        grid_cells=cells,
        grid_dim=channels,
        max_tokens=options.max_tokens,
        retrieve=options.retrieve,
        retrieved_tokens=options.retrieved_tokens,
        width=options.width,
        layers=options.layers,
        heads=options.heads,
        dropout=options.dropout,
    )


@torch.inference_mode()
def generate_with_torch(
    decoder: Decoder, grids: Tensor, retrieved: Tensor | None, options: GenerationOptions
) -> list[list[Hypothesis]]:
    """Write captions with the torch decoder, on any device, which is left in evaluation mode.

    ``grids`` are ``[b, g, c]``, ``retrieved`` token ids ``[b, k, r]`` or None.
    """
    decoder.eval()
    device = next(decoder.parameters()).device

    def step(tokens: np.ndarray, memory: Tensors, state: Tensors) -> Step:
        output = decoder.step(_tensor(tokens, device), _tensors(memory, device), _tensors(state, device))
        return _as_step(output.logits, output.attention, output.state)

    read = None if retrieved is None else retrieved.to(device)
    output, memory = decoder.begin(grids.to(device), read)
    first = _as_step(output.logits, output.attention, output.state)
    return generate(first, tuple(part.cpu().numpy() for part in memory), step, options)


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _tensors(arrays: Tensors, device: torch.device) -> tuple[Tensor, ...]:
    return tuple(_tensor(array, device) for array in arrays)


def _as_step(logits: Tensor, attention: Tensor, state: tuple[Tensor, ...]) -> Step:
    return Step(
        logits.float().cpu().numpy(), attention.float().cpu().numpy(), tuple(s.cpu().numpy() for s in state)
    )


class CaptionEvaluator:
    """Writes a greedy caption of each validation image and has them scored."""

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        features: GridCache,
        codec: CaptionCodec,
        bank: RetrievalBank,
        options: CaptioningOptions,
        score: ScoreCaptions,
    ) -> None:
        """Evaluate on the readable images, each beside the training images nearest to it."""
        self._features, self._codec, self._bank = features, codec, bank
        self._options, self._score = options, score
        self._neighbours = bank.nearest(pairs, features)
        self._references = [captions_of(pairs[row]) for row in features.rows]

    @property
    def pool(self) -> int:
        """Images that can be read."""
        return len(self._references)

    def scores(self, decoder: Decoder) -> dict[str, float]:
        """Scores of a decoder's greedy captions; it is left in evaluation mode."""
        options = GenerationOptions(beam=1, max_tokens=self._options.max_tokens - 1)
        captions, rows = [], self._features.rows
        for first in range(0, len(rows), self._options.batch_size):
            part = slice(first, first + self._options.batch_size)
            retrieved = self._bank.captions(self._neighbours[part])
            found = generate_with_torch(decoder, self._features.grids(rows[part]), retrieved, options)
            captions += [self._codec.decode(best[0].tokens) for best in found]
        return dict(self._score(captions, self._references))
