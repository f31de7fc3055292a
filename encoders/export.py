"""A torch dual encoder to a model folder: weights, ONNX graphs checked against torch, tokenizer, config.

A cold start reads, checks and parses the whole graph, so its size is most of the cost of a first answer:
large weights are stored in float16 and cast back by the graph itself. Arithmetic stays float32, and a rounded
weight (relative error 2^-11) moves no embedding by more than the export check allows.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from encoders.errors import ExportError, first_line
from encoders.preprocessing import CaptionTokenizer
from encoders.presets import EncoderPreset
from encoders.runtime import open_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    # Inputs of a module, by name or by position.
    Sample = Mapping[str, Tensor] | tuple[Any, ...]

MIN_COSINE = 0.9999
OPSET = 18
_IMAGE_BATCHES = (1, 2, 5)
_TEXT_BATCHES = ((1, 4), (3, 9), (5, 17))
_UPGRADE = "pip install --upgrade torch onnxscript may help, and a run then goes on with --resume"
# onnx.TensorProto's numbers; onnx itself is not imported, the exporter hands its objects over.
_FLOAT, _FLOAT16 = 1, 10
# Biases and norms are few and touch every value: they stay as they are.
_MIN_ELEMENTS = 4096
_FLOAT16_MAX = float(np.finfo(np.float16).max)


class ImageGraph(nn.Module):
    """The image half of a dual encoder as one function: ``[b, 3, H, W] -> [b, d]``."""

    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.embed_images(pixels)


class TextGraph(nn.Module):
    """The text half of a dual encoder as one function: ``[b, s], [b, s] -> [b, d]``."""

    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
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
    extra: Mapping[str, bytes] | None = None,
    force: bool = False,
) -> ModelBundle:
    """Write a model folder: exported, verified, and only then put in place.

    Args:
        path: the folder to make.
        model: any device, any mode; it is copied, not changed.
        tokenizer: that the text tower was trained with.
        config: of ``describe_model``.
        extra: further files by name (``training.jsonl``, ``MODEL_CARD.md``), listed like the rest.
        force: replace an existing model folder.

    Raises:
        BundleError: the folder exists and may not be replaced, or cannot be written.
        ExportError: a graph disagrees with torch.
    """
    from safetensors.torch import save

    target = Path(path)
    check_replaceable(target, force=force)
    model = copy.deepcopy(model).to("cpu", torch.float32).eval()
    files: dict[str, bytes] = {
        WEIGHTS_FILE: save({name: value.contiguous() for name, value in model.state_dict().items()}),
        IMAGE_GRAPH_FILE: export_image_graph(model, config.image.size),
        TEXT_GRAPH_FILE: export_text_graph(model, tokenizer),
        TOKENIZER_FILE: tokenizer.to_bytes(),
        **(extra or {}),
    }
    return write_bundle(target, config, files, force=force)


def export_image_graph(model: DualEncoder, image_size: int) -> bytes:
    """Export ``pixels`` float32 ``[b, 3, size, size]`` to ``vectors`` float32 ``[b, d]``, any batch size.

    The graph is compared with torch on random inputs.

    Raises:
        ExportError: the graph cannot be made, or disagrees with torch.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (3, image_size, image_size)
    batches = [{"pixels": torch.randn(rows, *shape, generator=generator)} for rows in _IMAGE_BATCHES]
    return _export(ImageGraph(model), "image", batches, {"pixels": {0: batch_dimension()}})


def export_text_graph(model: DualEncoder, tokenizer: CaptionTokenizer) -> bytes:
    """Export ``ids`` and ``mask``, int64 ``[b, s]``, to ``vectors`` float32 ``[b, d]``, any b and s.

    The graph is compared with torch on random ids.

    Raises:
        ExportError: the graph cannot be made, or disagrees with torch.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, tokenizer.max_tokens), *_TEXT_BATCHES]
    batches = [_padded_batch(rows, tokens, tokenizer, generator) for rows, tokens in shapes]
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
    for session in [open_session(data, light=light) for light in (False, True)]:
        for batch in batches:
            with torch.no_grad():
                expected = graph(**batch).numpy()
            (exported,) = run_graph(session, batch, name)
            check_agreement(exported, expected, name)
    return data


def check_agreement(exported: np.ndarray, expected: np.ndarray, name: str) -> None:
    """Make sure that an exported graph agrees with torch.

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


def batch_dimension() -> Any:  # noqa: ANN401 - a function in one torch, a class in another
    """The first axis of every graph: as many rows as the caller likes."""
    return torch.export.Dim("batch")


def export_module(
    module: nn.Module,
    name: str,
    sample: Sample,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Any,  # noqa: ANN401 - nested as the inputs are
) -> Any:  # noqa: ANN401 (an onnx.ModelProto)
    """Export a module that is on the CPU, and switch it to evaluation mode.

    ``inputs`` and ``outputs`` are names in the graph; ``dynamic`` has the axes of each input that may vary.

    Raises:
        ExportError: torch cannot export it.
    """
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)  # what it logs, prints and warns of is not for the terminal
    silence = redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO())
    with warnings.catch_warnings(), silence[0], silence[1], torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            program: Any = torch.onnx.export(
                module.eval(),
                args=() if isinstance(sample, Mapping) else sample,
                kwargs=dict(sample) if isinstance(sample, Mapping) else None,
                dynamo=True,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                verbose=False,
            )
            graph = program.model_proto.graph
            given = {item.name for item in graph.input}
            if not any(name in given for node in graph.node for name in node.input):
                # Some versions evaluate what they cannot trace.
                raise ValueError("what it returns does not depend on its input")
            return program.model_proto
        except Exception as error:  # the exporter raises whatever its many parts raise
            raise ExportError(
                f"the {name} cannot be exported to ONNX by torch {torch.__version__} ({first_line(error)}): "
                f"{_UPGRADE}"
            ) from error
        finally:
            logging.disable(previous)


def run_graph(session: InferenceSession, given: Mapping[str, Tensor], name: str) -> list[np.ndarray]:
    """Outputs of an exported graph.

    Raises:
        ExportError: it cannot be run, as when an axis is fixed that should vary.
    """
    wanted = {item.name for item in session.get_inputs()}  # an export leaves out what nothing reads
    try:
        outputs = session.run(None, {key: given[key].numpy() for key in given if key in wanted})
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise ExportError(
            f"the {name} graph that torch {torch.__version__} exported cannot be run "
            f"({first_line(error)}): {_UPGRADE}"
        ) from error
    return [np.asarray(output) for output in outputs]


def slim(model: Any) -> bytes:  # noqa: ANN401 (an onnx.ModelProto)
    """The bytes of an exported ``onnx.ModelProto``, without metadata, its large weights in float16."""
    strip_metadata(model)
    _halve_weights(model.graph)
    data: bytes = model.SerializeToString()
    return data


def strip_metadata(model: Any) -> None:  # noqa: ANN401 (an onnx.ModelProto)
    """Take the exporter's stack traces, local paths and intermediate shapes out of a graph."""
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    model.graph.ClearField("value_info")


def _halve_weights(graph: Any) -> None:  # noqa: ANN401
    readers: dict[str, list[Any]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    node_type = type(graph.node[0])
    casts: list[Any] = []
    after: dict[str, list[Any]] = defaultdict(list)
    for tensor in graph.initializer:
        if not _halve(tensor):
            continue
        if all(node.op_type == "Gather" and node.input[0] == tensor.name for node in readers[tensor.name]):
            # An embedding table: cast the few rows that are read, not the whole table.
            for node in readers[tensor.name]:
                wanted = node.output[0]
                node.output[0] = f"{wanted}_float16"
                after[node.output[0]].append(_cast(node_type, node.output[0], wanted))
        else:
            full = tensor.name
            tensor.name = f"{full}_float16"
            casts.append(_cast(node_type, tensor.name, full))
    nodes = [*casts]
    for node in graph.node:
        nodes.append(node)
        nodes.extend(after.get(node.output[0], ()))
    # Protobuf keeps references into the list that is emptied: copy before.
    copies = [node_type.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _halve(tensor: Any) -> bool:  # noqa: ANN401
    """Store a tensor in float16 if it is a large float32 one that fits; whether it was."""
    if tensor.data_type != _FLOAT or not tensor.raw_data:
        return False
    values = np.frombuffer(tensor.raw_data, dtype="<f4")
    if values.size < _MIN_ELEMENTS or not np.abs(values).max() <= _FLOAT16_MAX:
        return False
    tensor.raw_data = values.astype("<f2").tobytes()
    tensor.data_type = _FLOAT16
    return True


def _cast(node_type: Any, source: str, target: str) -> Any:  # noqa: ANN401
    node = node_type(op_type="Cast", input=[source], output=[target], name=f"{target}_cast")
    node.attribute.add(name="to", type=2, i=_FLOAT)  # type 2: an integer
    return node
