"""A torch decoder to files of a model folder: weights, three ONNX graphs checked against torch, tokenizer.

``decoder-look`` turns pixels into vectors and the grid, ``decoder-begin`` a grid (and retrieved captions)
into the memory and the first step, ``decoder-step`` takes every hypothesis one token further with its
key-value cache.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoders.captioner import (
    BEGIN_GRAPH_FILE,
    DECODER_FILE,
    DECODER_TOKENIZER_FILE,
    DECODER_WEIGHTS_FILE,
    LOOK_GRAPH_FILE,
    SPECIAL,
    STEP_GRAPH_FILE,
    CaptionCodec,
    DecoderConfig,
)
from encoders.decoder import Decoder, build_decoder, encode_grid
from encoders.dual import DualEncoder
from encoders.errors import BundleError, ExportError, first_line
from encoders.export import batch_dimension, export_module, run_graph, strip_metadata
from encoders.runtime import open_session
from encoders.weights import current_names

TOLERANCE = 1e-3
_BATCHES = (1, 2, 5)
_STEPS = 4


class LookGraph(nn.Module):
    """Pixels to vectors and grid: ``[b, 3, H, W] -> [b, d], [b, g, c]``."""

    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return encode_grid(self.model, pixels)


class BeginGraph(nn.Module):
    """``[b, g, c]``, and retrieved ``[b, k, r]`` if any -> logits, attention, memory ..., state ..."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, grid: Tensor, retrieved: Tensor | None = None) -> tuple[Tensor, ...]:
        output, memory = self.decoder.begin(grid, retrieved)
        return output.logits, output.attention, *memory, *output.state


class StepGraph(nn.Module):
    """One token further: ``[b]``, memory, state -> logits, attention, state ..."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, token: Tensor, memory: list[Tensor], state: list[Tensor]) -> tuple[Tensor, ...]:
        output = self.decoder.step(token, tuple(memory), tuple(state))
        return output.logits, output.attention, *output.state


def decoder_files(
    decoder: Decoder,
    encoder: DualEncoder,
    codec: CaptionCodec,
    config: DecoderConfig,
    image_size: int,
) -> dict[str, bytes]:
    """The verified files of a decoder in a model folder; decoder and encoder are copied, not changed.

    Raises:
        ExportError: a graph cannot be made, or disagrees with torch.
    """
    from safetensors.torch import save

    decoder = copy.deepcopy(decoder).to("cpu", torch.float32).eval()
    encoder = copy.deepcopy(encoder).to("cpu", torch.float32).eval()
    state = {name: value.contiguous() for name, value in decoder.state_dict().items()}
    return {
        DECODER_FILE: config.to_json().encode("utf-8"),
        DECODER_WEIGHTS_FILE: save(state),
        DECODER_TOKENIZER_FILE: codec.to_bytes(),
        LOOK_GRAPH_FILE: export_look(encoder, image_size),
        BEGIN_GRAPH_FILE: export_begin(decoder),
        STEP_GRAPH_FILE: export_step(decoder),
    }


def describe_decoder(
    decoder: Decoder,
    grid: tuple[int, int],
    max_tokens: int,
    *,
    trained_on: Mapping[str, Any] | None = None,
    validation: Mapping[str, Any] | None = None,
) -> DecoderConfig:
    """The configuration of a decoder."""
    return DecoderConfig(
        architecture=decoder.architecture,
        grid=grid,
        max_tokens=max_tokens,
        retrieve=decoder.retrieve,
        retrieved_tokens=decoder.retrieved_tokens if decoder.retrieve else 0,
        memory=decoder.MEMORY,
        state=decoder.STATE,
        trained_on=dict(trained_on or {}),
        validation=dict(validation or {}),
    )


def load_decoder(config: DecoderConfig, weights: bytes) -> Decoder:
    """Build the torch decoder of a model folder, in evaluation mode.

    Raises:
        BundleError: the weights do not fit the configuration.
    """
    from safetensors.torch import load

    decoder = build_decoder(config.architecture)
    try:
        decoder.load_state_dict(current_names(load(weights), decoder))
    except (KeyError, RuntimeError) as error:
        raise BundleError(
            f"the decoder's weights and {DECODER_FILE} do not fit ({first_line(error)})"
        ) from error
    return decoder.eval()


def export_look(encoder: DualEncoder, image_size: int) -> bytes:
    """Export ``pixels`` to ``vectors`` and ``grid``, any batch size."""
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(count, 3, image_size, image_size, generator=generator),) for count in _BATCHES]
    return _export(LookGraph(encoder), batches, ("pixels",), ("vectors", "grid"), ({0: batch_dimension()},))


def export_begin(decoder: Decoder) -> bytes:
    """Export ``grid`` (and ``retrieved``) to ``logits``, ``attention``, memory and state, any batch size."""
    batches = [_random_images(decoder, count) for count in _BATCHES]
    inputs = ("grid", "retrieved")[: len(batches[0])]
    outputs = ("logits", "attention", *decoder.MEMORY, *decoder.STATE)
    batch = batch_dimension()
    return _export(BeginGraph(decoder), batches, inputs, outputs, tuple({0: batch} for _ in inputs))


def export_step(decoder: Decoder) -> bytes:
    """Export ``token``, memory and state to ``logits``, ``attention`` and the next state."""
    batches = [_random_step(decoder, count) for count in _BATCHES]
    inputs = ("token", *decoder.MEMORY, *decoder.STATE)
    outputs = ("logits", "attention", *(f"next_{name}" for name in decoder.STATE))
    batch = batch_dimension()
    time = torch.export.Dim("time")  # a transformer's past grows with every token
    state = [{0: batch, 4: time} if name == "past" else {0: batch} for name in decoder.STATE]
    shapes = ({0: batch}, [{0: batch} for _ in decoder.MEMORY], state)
    return _export(StepGraph(decoder), batches, inputs, outputs, shapes)


def _random_images(decoder: Decoder, count: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(count)
    shape = decoder.architecture
    grid = torch.randn(count, shape["grid_cells"], shape["grid_dim"], generator=generator)
    if not decoder.retrieve:
        return (grid,)
    shape_of_ids = (count, decoder.retrieve, decoder.retrieved_tokens)
    retrieved = torch.randint(len(SPECIAL), shape["vocab_size"], shape_of_ids, generator=generator)
    retrieved[:, :, decoder.retrieved_tokens // 2 :] = 0  # padding
    retrieved[:, -1] = 0
    return grid, retrieved


def _random_step(decoder: Decoder, count: int) -> tuple[Any, ...]:
    """Inputs of a step after a few others."""
    generator = torch.Generator().manual_seed(count)
    vocabulary = decoder.architecture["vocab_size"]
    with torch.no_grad():
        output, memory = decoder.begin(*_random_images(decoder, count))
        for _ in range(_STEPS):
            token = torch.randint(len(SPECIAL), vocabulary, (count,), generator=generator)
            output = decoder.step(token, memory, output.state)
    return token, list(memory), list(output.state)


def _export(
    graph: nn.Module,
    batches: Sequence[tuple[Any, ...]],
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: tuple[Any, ...],
) -> bytes:
    name = type(graph).__name__
    model = export_module(graph, name, batches[-1], inputs=inputs, outputs=outputs, dynamic=dynamic)
    strip_metadata(model)
    data: bytes = model.SerializeToString()
    session = open_session(data)
    for batch in batches:
        with torch.no_grad():
            expected = graph(*batch)
        flat = [tensor for part in batch for tensor in (part if isinstance(part, list) else [part])]
        given = dict(zip(inputs, flat, strict=True))
        for ours, theirs in zip(run_graph(session, given, name), expected, strict=True):
            check_close(ours, theirs.numpy(), name)
    return data


def check_close(exported: np.ndarray, expected: np.ndarray, name: str) -> None:
    """Make sure that an exported graph agrees with torch.

    Raises:
        ExportError: the shapes differ, or a value does by more than ``TOLERANCE`` of the largest.
    """
    if exported.shape != expected.shape:
        raise ExportError(f"{name}: ONNX gives {exported.shape}, torch {expected.shape}")
    largest = max(1.0, float(np.abs(expected).max(initial=0)))
    # Not-a-number compares false, so it fails as well.
    difference = float(np.abs(exported - expected).max(initial=0)) / largest
    if not difference <= TOLERANCE:
        raise ExportError(f"{name}: ONNX disagrees with torch by {difference:.2g} of the largest value")
