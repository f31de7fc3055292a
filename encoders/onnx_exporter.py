"""torch's ONNX exporter, quiet and with its errors in one line, and its graphs run beside torch (torch)."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from encoders.errors import ExportError, first_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

OPSET = 18
_UPGRADE = "pip install --upgrade torch onnxscript may help, and a run then goes on with --resume"


def batch_dimension() -> Any:  # noqa: ANN401 - a function in one torch, a class in another
    """The first axis of every graph: as many rows as the caller likes."""
    return torch.export.Dim("batch")


def export_module(
    module: nn.Module,
    name: str,
    sample: Mapping[str, Tensor] | tuple[Any, ...],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Any,  # noqa: ANN401 - nested as the inputs are
) -> Any:  # noqa: ANN401 (an onnx.ModelProto)
    """Export a module.

    Args:
        module: on the CPU; it is switched to evaluation mode.
        name: for people.
        sample: inputs of it, by name or by place.
        inputs: their names in the graph.
        outputs: names of what it returns.
        dynamic: the axes that may vary, of each input.

    Raises:
        ExportError: torch cannot export it.
    """
    with silence_exporter(), torch.no_grad():
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
            model = program.model_proto
            if not model.graph.node:  # some versions evaluate what they cannot trace
                raise ValueError("what it returns does not depend on its input")
            return model
        except Exception as error:  # the exporter raises whatever its many parts raise
            raise ExportError(
                f"the {name} cannot be exported to ONNX by torch {torch.__version__} ({first_line(error)}): "
                f"{_UPGRADE}"
            ) from error


def run_graph(session: InferenceSession, given: Mapping[str, Tensor], name: str) -> list[np.ndarray]:
    """What an exported graph says.

    Raises:
        ExportError: it cannot be run, as when an axis is fixed that should vary.
    """
    try:
        outputs = session.run(None, {key: value.numpy() for key, value in given.items()})
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise ExportError(
            f"the {name} graph that torch {torch.__version__} exported cannot be run "
            f"({first_line(error)}): {_UPGRADE}"
        ) from error
    return [np.asarray(output) for output in outputs]


@contextmanager
def silence_exporter() -> Iterator[None]:
    """Keep the exporter's prints, log lines and warnings off the terminal."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
