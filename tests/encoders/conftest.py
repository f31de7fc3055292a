"""Models small enough to export in a test."""

import onnx
import pytest
import torch

from encoders.dual import DualEncoder
from encoders.export import describe_model, save_bundle
from encoders.presets import EncoderPreset
from encoders.text import SmallTransformer, train_wordpiece
from encoders.vision import SmallResNet

CAPTIONS = (
    "axial CT of the brain depicting glioblastoma",
    "sagittal MR of the spine depicting ependymoma",
    "PA radiograph of the chest, no acute disease",
    "a coronal plane MR scan of the knee on a 45 year old male",
)


def small_preset():
    return EncoderPreset(
        name="small",
        image_encoder="small-resnet",
        text_encoder="small-transformer",
        image_size=32,
        max_tokens=16,
        embedding_dim=8,
        vocab_size=120,
    )


def small_model(vocab_size, *, max_tokens=16, **shape):
    return DualEncoder(
        SmallResNet(widths=(4, 8), blocks=(1, 1)),
        SmallTransformer(vocab_size=vocab_size, max_tokens=max_tokens, width=8, layers=2, heads=2),
        embedding_dim=8,
        **shape,
    ).eval()


@pytest.fixture(scope="session")
def preset():
    return small_preset()


@pytest.fixture(scope="session")
def captions():
    return CAPTIONS


@pytest.fixture(scope="session")
def tokenizer():
    return train_wordpiece(CAPTIONS, 120, 16)


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    return small_model(tokenizer.vocab_size)


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory, preset, tokenizer):
    """A model folder and the torch model it was made from; tests that alter it copy it first."""
    torch.manual_seed(0)
    model = small_model(tokenizer.vocab_size)
    config = describe_model(model, tokenizer, preset, trained_on={"corpus": "drawn", "groups": 3})
    bundle = save_bundle(
        tmp_path_factory.mktemp("models") / "small",
        model,
        tokenizer,
        config,
        extra={"training.jsonl": b"{}\n"},
    )
    return bundle, model


def input_shapes(data):
    """The axes of each input of a graph: numbers, or names of those that vary."""
    graph = onnx.load_from_string(data).graph
    return {
        item.name: [axis.dim_param or axis.dim_value for axis in item.type.tensor_type.shape.dim]
        for item in graph.input
    }
