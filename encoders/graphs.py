"""What an exported ONNX graph keeps: half the bytes, none of the exporter's diary.

A cold start reads, checks and parses the whole graph, so its size is most of the cost of a first answer.
Weights are stored in float16 and cast back to float32 by the graph itself: arithmetic stays float32, and a
rounded weight (relative error 2^-11) moves no embedding by more than the export check allows.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

# onnx.TensorProto's numbers; onnx itself is not imported, the exporter hands its objects over.
_FLOAT, _FLOAT16 = 1, 10
# Biases and norms are few and touch every value: they stay as they are.
_MIN_ELEMENTS = 4096
_FLOAT16_MAX = float(np.finfo(np.float16).max)


def slim(model: Any) -> bytes:  # noqa: ANN401 (an onnx.ModelProto)
    """Serialise an exported model.

    Args:
        model: an ``onnx.ModelProto``; it is changed.

    Returns:
        The bytes of a graph without stack traces, local paths and intermediate shapes, its large weights in
        float16.
    """
    graph = model.graph
    for node in graph.node:
        node.ClearField("metadata_props")
    graph.ClearField("value_info")
    _halve_weights(graph)
    data: bytes = model.SerializeToString()
    return data


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
            wanted = tensor.name
            tensor.name = f"{wanted}_float16"
            casts.append(_cast(node_type, tensor.name, wanted))
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
