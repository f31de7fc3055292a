"""From torch to a model folder and back."""

import numpy as np
import pytest
import torch
from torch import nn

from encoders import export
from encoders.bundle import ModelBundle, write_bundle
from encoders.dual import DualEncoder, load_dual_encoder
from encoders.errors import BundleError, ExportError
from encoders.export import ExportSamples, check_agreement, describe_model, export_text_graph, save_bundle
from encoders.onnx_exporter import run_graph
from encoders.runtime import OnnxEncoder, open_session
from encoders.text import transformers_tower
from encoders.vision import SmallResNet


def test_a_saved_model_loads_into_torch_again(saved_model):
    bundle, model = saved_model
    again = load_dual_encoder(bundle)
    assert not again.training
    pixels, ids, mask = torch.randn(2, 3, 32, 32), torch.randint(0, 50, (2, 6)), torch.ones(2, 6).long()
    assert torch.equal(again.embed_images(pixels), model.embed_images(pixels))
    assert torch.equal(again.embed_texts(ids, mask), model.embed_texts(ids, mask))
    assert torch.equal(again.logit_scale, model.logit_scale)


def test_saving_is_silent_and_leaves_the_model_alone(model, tokenizer, preset, captions, tmp_path, capfd):
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    samples = ExportSamples(pixels=np.zeros((3, 3, 32, 32), np.float32), texts=captions)
    config = describe_model(model, tokenizer, preset)
    bundle = save_bundle(tmp_path / "model", model, tokenizer, config, samples=samples)
    assert capfd.readouterr() == ("", "")
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    graph = bundle.read_verified("text.onnx")
    assert __file__.split("/tests/")[0].encode() not in graph, "the graph tells where it was made"


def test_an_existing_folder_is_refused_before_the_work(model, tokenizer, preset, saved_model, monkeypatch):
    monkeypatch.setattr(export, "export_image_graph", lambda *_, **__: pytest.fail("exported first"))
    with pytest.raises(BundleError, match="exists already"):
        save_bundle(saved_model[0].path, model, tokenizer, describe_model(model, tokenizer, preset))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_bert_is_exported_with_its_padding(tokenizer, pooling):
    torch.manual_seed(0)
    config = {
        "model_type": "bert",
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 16,
    }
    towers = SmallResNet(widths=(4,), blocks=(1,)), transformers_tower(config, pooling=pooling)
    model = DualEncoder(*towers, embedding_dim=8, projection="residual").eval()
    session = open_session(export_text_graph(model, tokenizer))
    ids, mask = tokenizer(["axial CT of the brain", "CT", ""])
    (together,) = session.run(None, {"ids": ids, "mask": mask})
    for row, text in zip(together, ["axial CT of the brain", "CT", ""], strict=True):
        ids, mask = tokenizer([text])
        (alone,) = session.run(None, {"ids": ids, "mask": mask})
        np.testing.assert_allclose(alone[0], row, atol=1e-5)


def test_a_graph_that_disagrees_is_refused():
    vectors = np.eye(3, dtype=np.float32)
    check_agreement(vectors, vectors, "image")
    turned = np.array([[1, 0.02, 0]], dtype=np.float32)
    turned /= np.linalg.norm(turned)
    for wrong in (turned, vectors[:1] * 1.1, np.full((1, 3), np.nan, dtype=np.float32)):
        with pytest.raises(ExportError, match="the exported image graph disagrees with torch"):
            check_agreement(wrong, vectors[:1], "image")


def test_a_tower_that_cannot_be_exported_says_so(model, tokenizer):
    class Moody(nn.Module):
        feature_dim = 8

        def forward(self, ids, mask):
            if ids.sum().item() > 3:  # a graph cannot depend on the data
                return torch.ones(len(ids), 8)
            return torch.zeros(len(ids), 8)

    model.text_tower = Moody()
    with pytest.raises(ExportError, match="the text tower cannot be exported to ONNX"):
        export_text_graph(model, tokenizer)


def test_a_graph_made_of_other_weights_is_refused(model, tokenizer, monkeypatch):
    """The check itself, on a graph exported before the weights moved."""
    real = export._verify

    def verify_later(data, graph, name, batches):
        with torch.no_grad():
            graph.model.text_head.weight.add_(torch.randn(graph.model.text_head.weight.shape))
        real(data, graph, name, batches)

    monkeypatch.setattr(export, "_verify", verify_later)
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
    encoder = OnnxEncoder.open(ModelBundle.open(bundle.path))
    pixels = torch.randn(7, 3, 32, 32)
    ids, mask = tokenizer(captions)
    with torch.no_grad():
        images = model.embed_images(pixels).numpy()
        texts = model.embed_texts(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    np.testing.assert_allclose(encoder.embed_pixels(pixels.numpy()), images, atol=1e-5)
    np.testing.assert_allclose(encoder.embed_texts(captions), texts, atol=1e-5)


def test_a_graph_that_cannot_be_run_says_so(model, tokenizer):
    data = export_text_graph(model, tokenizer)
    given = {"ids": torch.ones(2, 4, dtype=torch.int64)}  # and no mask
    with pytest.raises(ExportError, match="text graph that torch .* exported cannot be run .*pip install"):
        run_graph(open_session(data), given, "text")
