"""The torch decoder of a run: built from its options, and asked for captions while it trains."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from encoders.decoder import Decoder
from encoders.decoder_lstm import LstmDecoder
from encoders.decoder_transformer import TransformerDecoder
from encoders.generation import GenerationOptions, Hypothesis, Step, Tensors, generate
from trainers.captioning_options import CaptioningOptions


def build_for(options: CaptioningOptions, vocab_size: int, grid: tuple[int, int]) -> Decoder:
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
    """Write captions with the torch decoder, which is left in evaluation mode.

    Args:
        decoder: on any device.
        grids: ``[b, g, c]``.
        retrieved: token ids ``[b, k, r]``, or None.
        options: of the search.
    """
    decoder.eval()
    device = next(decoder.parameters()).device

    def step(tokens: np.ndarray, memory: Tensors, state: Tensors) -> Step:
        told = decoder.step(_tensor(tokens, device), _tensors(memory, device), _tensors(state, device))
        return _as_step(told.logits, told.attention, told.state)

    read = None if retrieved is None else retrieved.to(device)
    told, memory = decoder.begin(grids.to(device), read)
    first = _as_step(told.logits, told.attention, told.state)
    return generate(first, tuple(part.cpu().numpy() for part in memory), step, options)


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def _tensors(arrays: Tensors, device: torch.device) -> tuple[Tensor, ...]:
    return tuple(_tensor(array, device) for array in arrays)


def _as_step(logits: Tensor, attention: Tensor, state: tuple[Tensor, ...]) -> Step:
    return Step(
        logits.float().cpu().numpy(), attention.float().cpu().numpy(), tuple(s.cpu().numpy() for s in state)
    )
