"""A torch dual encoder to a model folder: weights, ONNX graphs checked against torch, tokenizer, config."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoders.bundle import (
    IMAGE_GRAPH_FILE,
    TEXT_GRAPH_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    ModelBundle,
    ModelConfig,
    check_replaceable,
    write_bundle,
)
from encoders.dual import DualEncoder
from encoders.errors import ExportError
from encoders.graphs import slim
from encoders.onnx_exporter import batch_dimension, export_module, run_graph
from encoders.preprocessing import CaptionTokenizer
from encoders.presets import EncoderPreset
from encoders.runtime import open_session

MIN_COSINE = 0.9999
_IMAGE_BATCHES = (1, 2, 5)
_TEXT_BATCHES = ((1, 4), (3, 9), (5, 17))


@dataclass(frozen=True, slots=True)
class ExportSamples:
    """Real inputs to compare an exported graph with torch on, beside the random ones.

    Attributes:
        pixels: float32 ``[n, 3, size, size]``, e.g. of validation images.
        texts: captions.
    """

    pixels: np.ndarray | None = None
    texts: Sequence[str] = ()


class ImageGraph(nn.Module):
    """The image half of a dual encoder as one function."""

    def __init__(self, model: DualEncoder) -> None:
        """Wrap the model."""
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """``[b, 3, H, W] -> [b, d]``."""
        return self.model.embed_images(pixels)


class TextGraph(nn.Module):
    """The text half of a dual encoder as one function."""

    def __init__(self, model: DualEncoder) -> None:
        """Wrap the model."""
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``[b, s], [b, s] -> [b, d]``."""
        return self.model.embed_texts(ids, mask)


def describe_model(
    model: DualEncoder,
    tokenizer: CaptionTokenizer,
    preset: EncoderPreset,
    *,
    trained_on: Mapping[str, Any] | None = None,
    validation: Mapping[str, Any] | None = None,
) -> ModelConfig:
    """The configuration of a model, all but its files, which ``save_bundle`` adds."""
    return ModelConfig(
        preset=preset.name,
        image_encoder=preset.image_encoder,
        text_encoder=public_name(preset.text_encoder),
        embedding_dim=model.embedding_dim,
        projection=preset.projection,
        image=preset.image_preprocessing,
        max_tokens=tokenizer.max_tokens,
        vocab_size=tokenizer.vocab_size,
        architecture=model.architecture,
        trained_on=dict(trained_on or {}),
        validation=dict(validation or {}),
    )


def public_name(name: str) -> str:
    """A hub name as it is; of a folder only its own name, since a model folder travels."""
    return Path(name).resolve().name if Path(name).is_dir() else name


def save_bundle(
    path: Path | str,
    model: DualEncoder,
    tokenizer: CaptionTokenizer,
    config: ModelConfig,
    *,
    samples: ExportSamples | None = None,
    extra: Mapping[str, bytes] | None = None,
    force: bool = False,
) -> ModelBundle:
    """Write a model folder: exported, verified, and only then put in place.

    Args:
        path: the folder to make.
        model: any device, any mode; it is copied, not changed.
        tokenizer: that the text tower was trained with.
        config: of ``describe_model``.
        samples: real inputs to check the graphs on, beside random ones.
        extra: further files by name (``training.jsonl``, ``MODEL_CARD.md``), listed like the rest.
        force: replace a model folder that stands there.

    Raises:
        BundleError: the folder exists and may not be replaced, or cannot be written.
        ExportError: a graph disagrees with torch.
    """
    target = Path(path)
    check_replaceable(target, force=force)
    samples = samples or ExportSamples()
    model = copy.deepcopy(model).to("cpu", torch.float32).eval()
    files: dict[str, bytes] = {
        WEIGHTS_FILE: _weights_bytes(model),
        IMAGE_GRAPH_FILE: export_image_graph(model, config.image.size, pixels=samples.pixels),
        TEXT_GRAPH_FILE: export_text_graph(model, tokenizer, texts=samples.texts),
        TOKENIZER_FILE: tokenizer.to_bytes(),
        **(extra or {}),
    }
    return write_bundle(target, config, files, force=force)


def export_image_graph(model: DualEncoder, image_size: int, *, pixels: np.ndarray | None = None) -> bytes:
    """Export ``pixels`` float32 ``[b, 3, size, size]`` to ``vectors`` float32 ``[b, d]``, any batch size.

    Args:
        model: on the CPU, in evaluation mode.
        image_size: side of its input.
        pixels: a real batch to check the graph on, beside random ones.

    Raises:
        ExportError: the graph cannot be made, or disagrees with torch.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (3, image_size, image_size)
    batches = [{"pixels": torch.randn(rows, *shape, generator=generator)} for rows in _IMAGE_BATCHES]
    if pixels is not None:
        batches.insert(0, {"pixels": torch.from_numpy(pixels)})
    return _export(ImageGraph(model), "image", batches, {"pixels": {0: batch_dimension()}})


def export_text_graph(model: DualEncoder, tokenizer: CaptionTokenizer, *, texts: Sequence[str] = ()) -> bytes:
    """Export ``ids`` and ``mask``, int64 ``[b, s]``, to ``vectors`` float32 ``[b, d]``, any b and s.

    Args:
        model: on the CPU, in evaluation mode.
        tokenizer: of its text tower.
        texts: real captions to check the graph on, beside random ids.

    Raises:
        ExportError: the graph cannot be made, or disagrees with torch.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, tokenizer.max_tokens), *_TEXT_BATCHES]
    batches = [_padded_batch(rows, tokens, tokenizer, generator) for rows, tokens in shapes]
    if texts:
        ids, mask = tokenizer(texts)
        batches.insert(0, {"ids": torch.from_numpy(ids), "mask": torch.from_numpy(mask)})
    dynamic = {0: batch_dimension(), 1: torch.export.Dim("tokens")}
    return _export(TextGraph(model), "text", batches, {"ids": dynamic, "mask": dynamic})


def _padded_batch(
    rows: int, tokens: int, tokenizer: CaptionTokenizer, generator: torch.Generator
) -> dict[str, Tensor]:
    """Random ids; every row but the first is padded, each to another length."""
    tokens = min(tokens, tokenizer.max_tokens)
    ids = torch.randint(0, tokenizer.vocab_size, (rows, tokens), generator=generator)
    lengths = torch.arange(tokens, tokens - rows, -1).clamp(min=1)
    mask = (torch.arange(tokens) < lengths[:, None]).to(torch.int64)
    return {"ids": ids, "mask": mask}


def _export(
    graph: nn.Module, name: str, batches: list[dict[str, Tensor]], dynamic: dict[str, dict[int, Any]]
) -> bytes:
    model = export_module(
        graph, f"{name} tower", batches[-1], inputs=list(dynamic), outputs=["vectors"], dynamic=dynamic
    )
    data = slim(model)
    _verify(data, graph, name, batches)
    return data


def _verify(data: bytes, graph: nn.Module, name: str, batches: list[dict[str, Tensor]]) -> None:
    sessions = [open_session(data, light=light) for light in (False, True)]
    for batch in batches:
        with torch.no_grad():
            expected = graph(**batch).numpy()
        for session in sessions:
            (exported,) = run_graph(session, batch, name)
            check_agreement(exported, expected, name)


def check_agreement(exported: np.ndarray, expected: np.ndarray, name: str) -> None:
    """Make sure that an exported graph says what torch says.

    Args:
        exported: ``[b, d]`` from ONNX Runtime.
        expected: ``[b, d]`` of unit length, from torch.
        name: of the graph, for the message.

    Raises:
        ExportError: some row's cosine is under ``MIN_COSINE``, a row is not of unit length, or not a number.
    """
    # Of unit vectors, |a - b|^2 = 2 - 2 cos; unlike the product, the distance also notices a wrong length.
    cosine = 1 - ((exported - expected) ** 2).sum(axis=1) / 2
    if not (cosine >= MIN_COSINE).all():  # so that not-a-number fails
        raise ExportError(
            f"the exported {name} graph disagrees with torch: cosine {cosine.min():.6f}, "
            f"at least {MIN_COSINE} wanted"
        )


def _weights_bytes(model: DualEncoder) -> bytes:
    from safetensors.torch import save

    data: bytes = save({name: value.contiguous() for name, value in model.state_dict().items()})
    return data
