"""Exported graphs at half the size, saying the same."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from encoders.graphs import slim
from encoders.runtime import open_session


def table_and_matrix(table, matrix, bias):
    """``rows = table[ids] @ matrix + bias`` with a stack trace on every node."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "matrix"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["out"]),
    ]
    for node in nodes:
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value='File "/home/somebody/model.py"')
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["b"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", matrix.shape[1]])],
        [
            numpy_helper.from_array(value, name)
            for name, value in (("table", table), ("matrix", matrix), ("bias", bias))
        ],
        value_info=[helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["b", matrix.shape[0]])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def parts():
    random = np.random.default_rng(0)
    return [random.normal(size=shape).astype(np.float32) for shape in ((100, 64), (64, 80), (80,))]


def run(data, ids):
    return open_session(data).run(None, {"ids": np.array(ids)})[0]


def test_large_weights_are_halved_and_the_answer_stays(parts):
    table, matrix, bias = parts
    model = table_and_matrix(table, matrix, bias)
    full = model.SerializeToString()
    small = slim(model)
    assert len(small) < 0.55 * len(full)
    expected = table[[3, 7]] @ matrix + bias
    np.testing.assert_allclose(run(small, [3, 7]), expected, atol=0.05)
    onnx.checker.check_model(onnx.load_from_string(small))
    types = {t.name: t.data_type for t in onnx.load_from_string(small).graph.initializer}
    assert types == {
        "table": TensorProto.FLOAT16,
        "matrix_float16": TensorProto.FLOAT16,
        "bias": TensorProto.FLOAT,
    }


def test_only_the_rows_of_a_table_are_cast(parts):
    nodes = onnx.load_from_string(slim(table_and_matrix(*parts))).graph.node
    assert [node.op_type for node in nodes] == ["Cast", "Gather", "Cast", "MatMul", "Add"]
    assert nodes[2].input[0] == nodes[1].output[0]


def test_the_diary_is_gone(parts):
    model = table_and_matrix(*parts)
    assert b"/home/somebody" in model.SerializeToString()
    small = slim(model)
    assert b"/home/somebody" not in small
    assert not onnx.load_from_string(small).graph.value_info


def test_weights_beyond_float16_stay_float32(parts):
    table, matrix, bias = parts
    matrix[0, 0] = 1e6
    small = slim(table_and_matrix(table, matrix, bias))
    np.testing.assert_allclose(run(small, [3]), table[[3]] @ matrix + bias, rtol=2e-3, atol=0.05)
    matrix[0, 0] = np.nan
    types = {
        t.name: t.data_type for t in onnx.load_from_string(slim(table_and_matrix(*parts))).graph.initializer
    }
    assert types["matrix"] == TensorProto.FLOAT
