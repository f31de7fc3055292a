"""Both of torch's exporters make graphs that say what torch says, for any batch and length."""

import inspect

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from encoders import onnx_exporter
from encoders.decoder_export import export_begin, export_look, export_step
from encoders.dual import DualEncoder
from encoders.errors import ExportError
from encoders.export import TextGraph, export_image_graph, export_text_graph
from encoders.onnx_exporter import batch_dimension, export_by_tracing, run_graph
from encoders.runtime import open_session
from encoders.text import transformers_tower
from encoders.vision import SmallResNet
from tests.encoders.test_decoder import DECODERS

BERT = {
    "model_type": "bert",
    "vocab_size": 120,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
}
CAN_TRACE = "dynamo" in inspect.signature(torch.onnx.export).parameters


@pytest.fixture(params=["dynamo", "tracing"])
def exporter(request, monkeypatch):
    """Let the graphs of a test be made by one exporter and by nothing else."""
    if request.param == "dynamo" and torch.__version__ < "2.8":
        pytest.skip("what this torch exports by torch.export does not run")
    if request.param == "tracing" and not CAN_TRACE:
        pytest.skip("this torch has no exporter that traces")
    other = {"dynamo": "export_by_tracing", "tracing": "export_by_dynamo"}[request.param]
    monkeypatch.setattr(onnx_exporter, other, lambda *_: pytest.fail(f"{other} was asked"))
    monkeypatch.setattr(onnx_exporter, "_DYNAMO_SINCE", {"dynamo": "2.6", "tracing": "99"}[request.param])
    return request.param


@pytest.fixture
def bert():
    torch.manual_seed(0)
    towers = SmallResNet(widths=(4,), blocks=(1,)), transformers_tower(BERT)
    return DualEncoder(*towers, embedding_dim=8).eval()


def input_shapes(data):
    graph = onnx.load_from_string(data).graph
    return {
        item.name: [axis.dim_param or axis.dim_value for axis in item.type.tensor_type.shape.dim]
        for item in graph.input
    }


def texts(rows, tokens):
    draws = torch.Generator().manual_seed(rows)
    mask = torch.ones(rows, tokens, dtype=torch.int64)
    mask[-1, tokens // 2 :] = 0
    return {"ids": torch.randint(0, 100, (rows, tokens), generator=draws), "mask": mask}


@torch.no_grad()
def test_images_of_any_number(exporter, model, capfd):
    data = export_image_graph(model, 32)
    assert capfd.readouterr() == ("", "")
    assert input_shapes(data) == {"pixels": ["batch", 3, 32, 32]}
    pixels = torch.randn(4, 3, 32, 32)
    (vectors,) = run_graph(open_session(data), {"pixels": pixels}, "image")
    np.testing.assert_allclose(vectors, model.embed_images(pixels).numpy(), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("tower", ["model", "bert"])
def test_texts_of_any_number_and_length(exporter, tower, tokenizer, request, capfd):
    model = request.getfixturevalue(tower)
    data = export_text_graph(model, tokenizer)
    assert capfd.readouterr() == ("", "")
    assert input_shapes(data) == {"ids": ["batch", "tokens"], "mask": ["batch", "tokens"]}
    session = open_session(data)
    for rows, tokens in ((1, 2), (4, 7), (2, 16)):
        given = texts(rows, tokens)
        (vectors,) = run_graph(session, given, "text")
        np.testing.assert_allclose(vectors, model.embed_texts(**given).numpy(), atol=1e-5)


@pytest.mark.parametrize("make", DECODERS.values(), ids=DECODERS)
@torch.no_grad()
def test_a_decoder_steps_on_from_any_state(exporter, make, capfd):
    decoder = make()
    export_begin(decoder)  # which compares it with torch
    data = export_step(decoder)
    assert capfd.readouterr() == ("", "")
    shapes = input_shapes(data)
    assert {shape[0] for shape in shapes.values()} == {"batch"}
    assert "past" not in shapes or shapes["past"][4] == "time"


def test_what_a_decoder_looks_at(exporter, model):
    assert input_shapes(export_look(model, 32)) == {"pixels": ["batch", 3, 32, 32]}


@torch.no_grad()
def test_a_mask_that_nobody_reads_may_still_be_given(exporter, model, tokenizer):
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


def test_a_tower_that_reads_no_input_is_refused(exporter, model, tokenizer):
    class Deaf(nn.Module):
        feature_dim = 8

        def forward(self, ids, mask):
            return torch.ones(5, 8)

    model.text_tower = Deaf()
    with pytest.raises(ExportError, match="text tower cannot be exported to ONNX .*not depend on its input"):
        export_text_graph(model, tokenizer)


@torch.no_grad()
def test_attention_of_torch_itself(exporter, model):
    class Attentive(nn.Module):
        def __init__(self):
            super().__init__()
            self.see = nn.Linear(3, 32)
            self.attend = nn.MultiheadAttention(32, 2, batch_first=True)

        def forward(self, pixels):
            x = self.see(pixels.mean(dim=3).transpose(1, 2))  # [b, 32, 32]
            return self.attend(x, x, x, need_weights=False)[0].mean(dim=1)

    model.image_tower = Attentive().eval()
    pixels = torch.randn(4, 3, 32, 32)
    (vectors,) = run_graph(open_session(export_image_graph(model, 32)), {"pixels": pixels}, "image")
    np.testing.assert_allclose(vectors, model.embed_images(pixels).numpy(), atol=1e-5)
    assert torch.backends.mha.get_fastpath_enabled()


def test_what_onnx_does_not_know_is_one_line(exporter, model, tokenizer, capfd):
    class Exotic(nn.Module):
        feature_dim = 8

        def forward(self, ids, mask):
            return torch.special.bessel_j0(ids.float()).sum(dim=1, keepdim=True).expand(-1, 8)

    model.text_tower = Exotic()
    with pytest.raises(ExportError, match="text tower cannot be exported to ONNX") as failure:
        export_text_graph(model, tokenizer)
    assert "\n" not in str(failure.value)
    assert capfd.readouterr() == ("", "")


@torch.no_grad()
@pytest.mark.skipif(not CAN_TRACE, reason="this torch has no exporter that traces")
@pytest.mark.filterwarnings(
    "ignore:You are using the legacy TorchScript-based ONNX export:DeprecationWarning"
)
@pytest.mark.filterwarnings("ignore:The feature will be removed:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_the_older_exporter_by_itself(model):
    axes = {0: batch_dimension(), 1: torch.export.Dim("tokens")}
    graph = export_by_tracing(
        TextGraph(model).eval(), texts(3, 9), ["ids", "mask"], ["vectors"], {"ids": axes, "mask": axes}
    )
    onnx.checker.check_model(graph)
    (vectors,) = run_graph(open_session(graph.SerializeToString()), texts(2, 5), "text")
    np.testing.assert_allclose(vectors, model.embed_texts(**texts(2, 5)).numpy(), atol=1e-5)
