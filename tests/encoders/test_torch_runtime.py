"""The torch embedder says what the ONNX one says."""

import shutil

import numpy as np
import pytest
import torch

from encoders.bundle import ModelBundle
from encoders.errors import BundleError
from encoders.runtime import OnnxEncoder
from encoders.torch_runtime import TorchEncoder, gpu_has_bfloat16

TEXTS = ["axial CT of the brain", "", "sagittal MR", "chest"]


@pytest.fixture(scope="module")
def pair(saved_model):
    return OnnxEncoder(saved_model[0]), TorchEncoder(saved_model[0], device="cpu")


@pytest.fixture(scope="module")
def squares():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def test_they_share_their_interface():
    public = {name for name in vars(OnnxEncoder) if not name.startswith("_")}
    assert public == {name for name in vars(TorchEncoder) if not name.startswith("_")}


def test_they_agree(pair, squares):
    onnx, by_torch = pair
    assert (onnx.fingerprint, onnx.dim, onnx.image_spec) == (
        by_torch.fingerprint,
        by_torch.dim,
        by_torch.image_spec,
    )
    pixels = np.random.default_rng(1).normal(size=(3, 3, 32, 32)).astype(np.float32)
    for ours, theirs in (
        (by_torch.embed_images(squares), onnx.embed_images(squares)),
        (by_torch.embed_pixels(pixels), onnx.embed_pixels(pixels)),
        (by_torch.embed_texts(TEXTS), onnx.embed_texts(TEXTS)),
    ):
        assert ours.dtype == np.float32
        assert ((ours * theirs).sum(axis=1) > 0.9999).all()


def test_bfloat16_is_near_and_of_unit_length(pair, squares, saved_model):
    half = TorchEncoder(saved_model[0], device="cpu", bfloat16=True)
    for ours, theirs in (
        (half.embed_images(squares), pair[1].embed_images(squares)),
        (half.embed_texts(TEXTS), pair[1].embed_texts(TEXTS)),
    ):
        np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
        assert ((ours * theirs).sum(axis=1) > 0.995).all()


def test_nothing_in_nothing_out(pair, squares):
    assert pair[1].embed_images(squares[:0]).shape == (0, 8)
    assert pair[1].embed_pixels(np.zeros((0, 3, 32, 32), np.float32)).shape == (0, 8)
    assert pair[1].embed_texts([]).shape == (0, 8)


def test_altered_weights_are_refused(saved_model, tmp_path):
    folder = shutil.copytree(saved_model[0].path, tmp_path / "copy")
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(BundleError, match="model.safetensors was altered"):
        TorchEncoder(ModelBundle.open(folder))


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_cpu(pair, squares, saved_model):
    on_gpu = TorchEncoder(saved_model[0], device="cuda", bfloat16=False)
    assert ((on_gpu.embed_images(squares) * pair[1].embed_images(squares)).sum(axis=1) > 0.999).all()
    assert ((on_gpu.embed_texts(TEXTS) * pair[1].embed_texts(TEXTS)).sum(axis=1) > 0.999).all()


@pytest.mark.parametrize("has_units", [True, False])
def test_bfloat16_needs_units_for_it(has_units, monkeypatch):
    # A Turing GPU says yes unless it is asked not to count emulation.
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: has_units or including_emulation
    )
    assert gpu_has_bfloat16(torch.device("cuda")) == has_units
    assert not gpu_has_bfloat16(torch.device("cpu"))
