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

    # Inputs of a module, by name or by place.
    Sample = Mapping[str, Tensor] | tuple[Any, ...]

OPSET = 18
# What older ones make by torch.export fails in ONNX Runtime or has a fixed length.
_DYNAMO_SINCE = "2.8"  # torch's version compares by its numbers
_UPGRADE = "pip install --upgrade torch onnxscript may help, and a run then goes on with --resume"


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
    export = export_by_dynamo if torch.__version__ >= _DYNAMO_SINCE else export_by_tracing
    with silence_exporter(), torch.no_grad():
        try:
            model = export(module.eval(), sample, inputs, outputs, dynamic)
            if not _reads_an_input(model.graph):  # some versions evaluate what they cannot trace
                raise ValueError("what it returns does not depend on its input")
            return model
        except Exception as error:  # the exporter raises whatever its many parts raise
            raise ExportError(
                f"the {name} cannot be exported to ONNX by torch {torch.__version__} ({first_line(error)}): "
                f"{_UPGRADE}"
            ) from error


def export_by_dynamo(
    module: nn.Module,
    sample: Sample,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """The exporter of torch 2.8 and later; arguments and result as those of `export_module`."""
    program: Any = torch.onnx.export(
        module,
        args=() if isinstance(sample, Mapping) else sample,
        kwargs=dict(sample) if isinstance(sample, Mapping) else None,
        dynamo=True,
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_shapes=dynamic,
        opset_version=OPSET,
        verbose=False,
    )
    return program.model_proto


def export_by_tracing(
    module: nn.Module,
    sample: Sample,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """The exporter of torch 2.6 and 2.7; arguments and result as those of `export_module`.

    Their `torch.export` makes graphs that fail in ONNX Runtime or fix the length of captions, by the version
    of onnxscript. A trace does not know a branch that depends on the data or the shapes: callers compare the
    graph with torch on other ones.
    """
    import onnx

    axes = {
        name: {axis: dimension.__name__ for axis, dimension in part.items()}
        for name, part in zip(inputs, _of_each_input(dynamic), strict=True)
    }
    file = io.BytesIO()
    with _traceable():
        torch.onnx.export(
            module,
            args=() if isinstance(sample, Mapping) else sample,
            f=file,  # type: ignore[arg-type]  # annotated as a path, but an open file will do
            kwargs=dict(sample) if isinstance(sample, Mapping) else None,
            dynamo=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes | {name: {0: "batch"} for name in outputs},
            opset_version=OPSET,
            verbose=False,
        )
    return onnx.load_from_string(file.getvalue())


@contextmanager
def _traceable() -> Iterator[None]:
    """Attention by operators that ONNX knows, and no graph on the terminal when one cannot be made."""
    fast, log = torch.backends.mha.get_fastpath_enabled(), torch._C._jit_set_onnx_log_enabled
    torch.backends.mha.set_fastpath_enabled(False)
    # The exporter turns its log on where it means to leave it as it was, and writes past sys.stdout.
    torch._C._jit_set_onnx_log_enabled = lambda enabled: None
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._jit_set_onnx_log_enabled = log


def _of_each_input(dynamic: Any) -> list[Mapping[int, Any]]:  # noqa: ANN401 - nested as the inputs are
    """The dimensions of each input by their axis, in order."""
    if isinstance(dynamic, Mapping) and all(isinstance(axis, int) for axis in dynamic):
        return [dynamic]
    parts = dynamic.values() if isinstance(dynamic, Mapping) else dynamic
    return [axes for part in parts for axes in _of_each_input(part)]


def _reads_an_input(graph: Any) -> bool:  # noqa: ANN401 (an onnx.GraphProto)
    given = {item.name for item in graph.input}
    return any(name in given for node in graph.node for name in node.input)


def run_graph(session: InferenceSession, given: Mapping[str, Tensor], name: str) -> list[np.ndarray]:
    """What an exported graph says.

    Raises:
        ExportError: it cannot be run, as when an axis is fixed that should vary.
    """
    wanted = {item.name for item in session.get_inputs()}  # a trace leaves out what nothing reads
    try:
        outputs = session.run(None, {key: given[key].numpy() for key in given if key in wanted})
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
