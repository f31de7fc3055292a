"""From torch to a model folder and back: graphs that say what torch says, for any batch and length."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from encoders import export
from encoders.bundle import ModelBundle, write_bundle
from encoders.dual import DualEncoder, load_dual_encoder
from encoders.errors import BundleError, ExportError
from encoders.export import (
    check_agreement,
    describe_model,
    export_image_graph,
    export_text_graph,
    run_graph,
    save_bundle,
    slim,
)
from encoders.runtime import OnnxEncoder, open_session
from encoders.text import transformers_tower
from encoders.vision import SmallResNet
from tests.encoders.conftest import input_shapes

BERT = {
    "model_type": "bert",
    "vocab_size": 120,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
}


@pytest.fixture
def bert():
    torch.manual_seed(0)
    towers = SmallResNet(widths=(4,), blocks=(1,)), transformers_tower(BERT, pooling="cls")
    return DualEncoder(*towers, embedding_dim=8, projection="residual").eval()


def texts(rows, tokens):
    generator = torch.Generator().manual_seed(rows)
    mask = torch.ones(rows, tokens, dtype=torch.int64)
    mask[-1, tokens // 2 :] = 0
    return {"ids": torch.randint(0, 100, (rows, tokens), generator=generator), "mask": mask}


def test_a_saved_model_loads_into_torch_again(saved_model):
    bundle, model = saved_model
    again = load_dual_encoder(bundle)
    assert not again.training
    pixels, ids, mask = torch.randn(2, 3, 32, 32), torch.randint(0, 50, (2, 6)), torch.ones(2, 6).long()
    assert torch.equal(again.embed_images(pixels), model.embed_images(pixels))
    assert torch.equal(again.embed_texts(ids, mask), model.embed_texts(ids, mask))
    assert torch.equal(again.logit_scale, model.logit_scale)


def test_saving_is_silent_and_leaves_the_model_alone(model, tokenizer, preset, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(export, "export_image_graph", lambda *_, **__: b"as silent as the other: see below")
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = describe_model(model, tokenizer, preset)
    bundle = save_bundle(tmp_path / "model", model, tokenizer, config)
    assert capfd.readouterr() == ("", "")
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    graph = bundle.read_verified("text.onnx")
    assert __file__.split("/tests/")[0].encode() not in graph, "the graph tells where it was made"


def test_an_existing_folder_is_refused_before_the_work(model, tokenizer, preset, saved_model, monkeypatch):
    monkeypatch.setattr(export, "export_image_graph", lambda *_, **__: pytest.fail("exported first"))
    with pytest.raises(BundleError, match="exists already"):
        save_bundle(saved_model[0].path, model, tokenizer, describe_model(model, tokenizer, preset))


@torch.no_grad()
def test_images_of_any_number_by_a_tower_of_torchs_own_attention(model, capfd):
    class Attentive(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 32)
            self.attention = nn.MultiheadAttention(32, 2, batch_first=True)

        def forward(self, pixels):
            x = self.linear(pixels.mean(dim=3).transpose(1, 2))  # [b, 32, 32]
            return self.attention(x, x, x, need_weights=False)[0].mean(dim=1)

    model.image_tower = Attentive().eval()
    data = export_image_graph(model, 32)
    assert capfd.readouterr() == ("", "")
    assert input_shapes(data) == {"pixels": ["batch", 3, 32, 32]}
    pixels = torch.randn(4, 3, 32, 32)
    (vectors,) = run_graph(open_session(data), {"pixels": pixels}, "image")
    np.testing.assert_allclose(vectors, model.embed_images(pixels).numpy(), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("tower", ["small-transformer", "bert"])
def test_texts_of_any_number_and_length(tower, tokenizer, saved_model, bert):
    bundle, model = saved_model
    if tower == "bert":
        model, data = bert, export_text_graph(bert, tokenizer)
    else:
        data = bundle.read_verified("text.onnx")
    assert input_shapes(data) == {"ids": ["batch", "tokens"], "mask": ["batch", "tokens"]}
    session = open_session(data)
    for rows, tokens in ((1, 2), (4, 7), (2, 16)):
        given = texts(rows, tokens)
        (vectors,) = run_graph(session, given, "text")
        np.testing.assert_allclose(vectors, model.embed_texts(**given).numpy(), atol=1e-5)


@torch.no_grad()
def test_a_mask_that_nobody_reads_may_still_be_given(model, tokenizer):
    class Blind(nn.Module):
        feature_dim = 8

        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(tokenizer.vocab_size, 8)

        def forward(self, ids, mask):
            return self.tokens(ids).mean(dim=1)

    model.text_tower = Blind()
    data = export_text_graph(model, tokenizer)
    (vectors,) = run_graph(open_session(data), texts(2, 5), "text")
    np.testing.assert_allclose(vectors, model.embed_texts(**texts(2, 5)).numpy(), atol=1e-3)


def test_a_tower_that_reads_no_input_is_refused(model, tokenizer):
    class Deaf(nn.Module):
        feature_dim = 8

        def forward(self, ids, mask):
            return torch.ones(5, 8)

    model.text_tower = Deaf()
    with pytest.raises(ExportError, match="text tower cannot be exported to ONNX .*not depend on its input"):
        export_text_graph(model, tokenizer)


def test_what_onnx_does_not_know_is_one_line(model, tokenizer, capfd):
    class Exotic(nn.Module):
        feature_dim = 8

        def forward(self, ids, mask):
            return torch.special.bessel_j0(ids.float()).sum(dim=1, keepdim=True).expand(-1, 8)

    model.text_tower = Exotic()
    with pytest.raises(ExportError, match="text tower cannot be exported to ONNX") as failure:
        export_text_graph(model, tokenizer)
    assert "\n" not in str(failure.value)
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_disagrees_is_refused():
    vectors = np.eye(3, dtype=np.float32)
    check_agreement(vectors, vectors, "image")
    turned = np.array([[1, 0.02, 0]], dtype=np.float32)
    turned /= np.linalg.norm(turned)
    for wrong in (turned, vectors[:1] * 1.1, np.full((1, 3), np.nan, dtype=np.float32)):
        with pytest.raises(ExportError, match="the exported image graph disagrees with torch"):
            check_agreement(wrong, vectors[:1], "image")


def test_a_graph_made_of_other_weights_is_refused(model, tokenizer, monkeypatch):
    """The check itself, on a graph exported before the weights moved."""
    real = export.export_module

    def export_then_move(module, *args, **kwargs):
        graph = real(module, *args, **kwargs)
        with torch.no_grad():
            module.model.text_head.weight.neg_()
        return graph

    monkeypatch.setattr(export, "export_module", export_then_move)
    with pytest.raises(ExportError, match="the exported text graph disagrees with torch: cosine"):
        export_text_graph(model, tokenizer)


def test_weights_of_another_shape_do_not_load(saved_model, tmp_path):
    bundle, _ = saved_model
    files = {name: bundle.read_verified(name) for name in bundle.config.files}
    shape = dict(bundle.config.architecture, embedding_dim=4)
    config = type(bundle.config)(**{**_fields(bundle.config), "architecture": shape})
    altered = write_bundle(tmp_path / "model", config, files)
    with pytest.raises(BundleError, match="model.safetensors does not fit its config"):
        load_dual_encoder(altered)


def _fields(config):
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def test_the_graphs_agree_with_torch_on_pictures_and_captions(saved_model, tokenizer, captions):
    bundle, model = saved_model
    encoder = OnnxEncoder(ModelBundle.open(bundle.path))
    pixels = torch.randn(7, 3, 32, 32)
    ids, mask = tokenizer(captions)
    with torch.no_grad():
        images = model.embed_images(pixels).numpy()
        texts = model.embed_texts(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    np.testing.assert_allclose(encoder.embed_pixels(pixels.numpy()), images, atol=1e-5)
    np.testing.assert_allclose(encoder.embed_texts(captions), texts, atol=1e-5)


def test_a_graph_that_cannot_be_run_says_so(saved_model):
    session = open_session(saved_model[0].read_verified("text.onnx"))
    with pytest.raises(ExportError, match="text graph that torch .* exported cannot be run .*pip install"):
        run_graph(session, {"ids": torch.ones(2, 4, dtype=torch.int64)}, "text")  # and no mask


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


def test_stack_traces_and_paths_are_stripped(parts):
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
